"""Changes in folders, told by the kernel: inotify(7) by way of the C library."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bpfence.errors import FeatureMissing, KernelError
from bpfence.loader.descriptor import Descriptor

_MODIFY, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_ATTRIB = 0x4
_IGNORED, _OVERFLOW, _DIRECTORY = 0x8000, 0x4000, 0x40000000
_ONLY_FOLDERS = 0x01000000
_MOVED = _MOVED_FROM | _MOVED_TO | _MOVE_SELF
_WANTED = _MODIFY | _CLOSE_WRITE | _MOVED | _CREATE | _DELETE | _DELETE_SELF | _ATTRIB
_HEADER = struct.Struct("iIII")
_BUFFER = 65536


Kind = Literal["being written", "new", "whole", "gone", "other"]
_KINDS: tuple[tuple[int, Kind], ...] = (
    (_MODIFY, "being written"),
    (_CREATE, "new"),
    (_CLOSE_WRITE | _MOVED_TO, "whole"),
    (_MOVED_FROM | _DELETE | _IGNORED, "gone"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """Something in ``folder`` is new, gone, or written. ``name`` empty: the folder itself. ``lost``: so many changes
    came that the kernel did not keep them. ``kind``: ``being written`` until it is ``whole``, which is also what was
    moved there; a ``new`` file may be empty yet.
    """

    folder: Path
    name: str
    is_folder: bool = False
    lost: bool = False
    kind: Kind = "other"


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

    def keep(self, folders: Collection[Path]) -> None:
        """Watch no others any more."""
        for number, folder in list(self._folders.items()):
            if folder not in folders:
                del self._folders[number]
                self._library.inotify_rm_watch(self.fd, number)  # fails where the folder has gone, and its watch too

    def read(self) -> Iterator[Change]:
        """All that has happened since; nothing when nothing has."""
        while True:
            try:
                data = os.read(self.fd, _BUFFER)
            except BlockingIOError:
                return
            yield from self._changes(data)

    def _changes(self, data: bytes) -> Iterator[Change]:
        place = 0
        while place < len(data):
            number, mask, _, length = _HEADER.unpack_from(data, place)
            name = data[place + _HEADER.size : place + _HEADER.size + length].rstrip(b"\0")
            place += _HEADER.size + length
            folder = self._folders.pop(number, None) if mask & _IGNORED else self._folders.get(number)
            if mask & _OVERFLOW:
                yield Change(Path(), "", lost=True)
            elif folder is not None:
                kind: Kind = next((kind for bits, kind in _KINDS if mask & bits), "other")
                yield Change(folder, os.fsdecode(name), bool(mask & _DIRECTORY), kind=kind)


def _failure(what: str) -> KernelError:
    code = ctypes.get_errno()
    if code in (errno.EMFILE, errno.ENOSPC):
        limit = "max_user_instances" if code == errno.EMFILE else "max_user_watches"
        return FeatureMissing(f"{what}: the limit is reached; raise it: sysctl fs.inotify.{limit}")
    return KernelError(f"{what}: {os.strerror(code)}")
