"""Where a bpf file system is that outlives this process: `ip netns exec` gives each command mounts of its own, without
one, and they end with the command.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from bpfence.errors import KernelError

BPF_FS_MAGIC = 0xCAFE4A11
_INIT = 1


class _Statfs(ctypes.Structure):
    """``struct statfs``: the type comes first; the rest is room."""

    _fields_ = (("type", ctypes.c_long), ("rest", ctypes.c_char * 248))


def holds_bpf(path: Path) -> bool:
    """Whether the nearest existing ancestor of ``path``, or itself, lies in a bpf file system."""
    # not Path.exists: where nobody may look, nothing is found
    while not os.path.exists(path) and path != path.parent:
        path = path.parent
    found = _Statfs()
    if ctypes.CDLL(None).statfs(os.fsencode(path), ctypes.byref(found)):
        return False
    return bool(found.type & 0xFFFFFFFF == BPF_FS_MAGIC)


def lasting_root(root: Path) -> Path:
    """``root``, an absolute path, as it can be reached in a bpf file system that is there after this process. Where
    none is mounted in the mount namespace of this process, those of the machine's first process and of its parent are
    looked at. Raises KernelError when one that is mounted now would end with this process.
    """
    if os.geteuid() or holds_bpf(root):  # who is not root is told so later on
        return root
    here, parent = _mounts_of("self"), str(os.getppid())
    for process in (str(_INIT), parent):
        elsewhere = Path("/proc") / process / "root" / root.relative_to("/")
        if _mounts_of(process) not in (0, here) and holds_bpf(elsewhere):
            return elsewhere
    if _mounts_of(parent) not in (0, here):
        raise KernelError(
            f"no bpf file system is mounted for {root}, and one that is mounted now would be gone with this command, "
            "whose mounts are its own (`ip netns exec` makes them so): run `mount -t bpf bpf /sys/fs/bpf` outside "
            "first, or enter the namespace with `nsenter --net=...`"
        )
    return root


def _mounts_of(process: str) -> int:
    """The inode of a process's mount namespace; 0 when it can't be seen."""
    try:
        return os.stat(f"/proc/{process}/ns/mnt").st_ino
    except OSError:
        return 0
