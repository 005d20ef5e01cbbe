"""Network and mount namespaces of the calling thread: make one, step into one, step back out."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bpfence.errors import KernelError, PermissionMissing

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18

_CURRENT = "/proc/thread-self/ns/net"


@dataclass(frozen=True, slots=True)
class NetworkNamespace:
    """A network namespace held by an open descriptor. Without a name it ends with its last descriptor and process."""

    descriptor: int

    @classmethod
    def current(cls) -> NetworkNamespace:
        """The namespace this thread is in."""
        return cls(os.open(_CURRENT, os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def create(cls) -> NetworkNamespace:
        """A new, empty namespace (its loopback is down). The thread stays where it is. Raises PermissionMissing,
        KernelError.
        """
        home = cls.current()
        try:
            _call("unshare", CLONE_NEWNET)
            try:
                return cls.current()
            finally:
                _call("setns", home.descriptor, CLONE_NEWNET)
        finally:
            home.close()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is in the namespace for the length of the block. Sockets opened there stay there."""
        home = NetworkNamespace.current()
        try:
            _call("setns", self.descriptor, CLONE_NEWNET)
            try:
                yield
            finally:
                _call("setns", home.descriptor, CLONE_NEWNET)
        finally:
            home.close()

    @property
    def inode(self) -> int:
        """The kernel's number of the namespace."""
        return os.fstat(self.descriptor).st_ino

    def close(self) -> None:
        os.close(self.descriptor)


def current_inode() -> int:
    """The number of the network namespace this thread is in."""
    return os.stat(_CURRENT).st_ino


def enter_private_mounts() -> None:
    """Give this process mounts of its own: what it mounts from now on nobody else sees, and it ends with the
    process.
    """
    _call("unshare", CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_PRIVATE)


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    _call("mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())


def unmount(target: str) -> None:
    """umount(2)."""
    _call("umount2", target.encode(), 0)


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc[name](*arguments) == 0:
        return
    code = ctypes.get_errno()
    if code in (1, 13):
        raise PermissionMissing(f"{name}: {os.strerror(code)}; this needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN)")
    raise KernelError(f"{name}: {os.strerror(code)}")
