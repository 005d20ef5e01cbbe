"""Changes in folders, told by the kernel: inotify(7) by way of the C library."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bpfence.errors import FeatureMissing, KernelError
from bpfence.loader.descriptor import Descriptor

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_ATTRIB = 0x4
_IGNORED, _OVERFLOW, _DIRECTORY = 0x8000, 0x4000, 0x40000000
_ONLY_FOLDERS = 0x01000000
_WANTED = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ATTRIB
_HEADER = struct.Struct("iIII")
_BUFFER = 65536


@dataclass(frozen=True, slots=True)
class Change:
    """Something in ``folder`` is new, gone, or written. ``name`` empty: the folder itself. ``lost``: so many changes
    came that the kernel did not keep them.
    """

    folder: Path
    name: str
    is_folder: bool = False
    lost: bool = False


class Inotify(Descriptor):
    """An open inotify descriptor, which polls readable when there is something to `read`."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        super().__init__(self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self.fd < 0:
            raise _failure("can't watch files")
        self._folders: dict[int, Path] = {}

    def add(self, folder: Path) -> bool:
        """Watch a folder (not what lies below it); again is fine. False when it is not there. Raises KernelError."""
        number = self._library.inotify_add_watch(self.fd, os.fsencode(folder), _WANTED | _ONLY_FOLDERS)
        if number < 0:
            if ctypes.get_errno() in (errno.ENOENT, errno.ENOTDIR):
                return False
            raise _failure(f"can't watch {folder}")
        self._folders[number] = folder
        return True

    def read(self) -> Iterator[Change]:
        """What has happened since; nothing when nothing has."""
        try:
            data = os.read(self.fd, _BUFFER)
        except BlockingIOError:
            return
        place = 0
        while place < len(data):
            number, mask, _, length = _HEADER.unpack_from(data, place)
            name = data[place + _HEADER.size : place + _HEADER.size + length].rstrip(b"\0")
            place += _HEADER.size + length
            if mask & _IGNORED:
                self._folders.pop(number, None)
            elif mask & _OVERFLOW:
                yield Change(Path(), "", lost=True)
            elif number in self._folders:
                yield Change(self._folders[number], os.fsdecode(name), bool(mask & _DIRECTORY))


def _failure(what: str) -> KernelError:
    code = ctypes.get_errno()
    if code in (errno.EMFILE, errno.ENOSPC):
        limit = "max_user_instances" if code == errno.EMFILE else "max_user_watches"
        return FeatureMissing(f"{what}: the limit is reached; raise it: sysctl fs.inotify.{limit}")
    return KernelError(f"{what}: {os.strerror(code)}")
