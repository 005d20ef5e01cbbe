"""One transaction at a time: a file lock in the state folder that says who holds it."""

from __future__ import annotations

import fcntl
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bpfence.errors import KernelError


class LockHeld(KernelError):  # noqa: N818 - a state, like AttachConflict
    """Somebody else's transaction is under way on this node."""


@contextmanager
def node_lock(state: Path) -> Iterator[None]:
    """Hold the node's lock for the block; the kernel drops it when the process ends, however it ends. Raises
    LockHeld.
    """
    descriptor = _locked(state / "lock")
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} ({shlex.join(sys.argv)[:200]})".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int:
    """A descriptor of the lock file that holds the lock. The file may be removed by its holder: then a new one is
    made.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise LockHeld(f"another bpfence transaction is under way: {holder}; try again when it is done") from error
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 512, 0).decode(errors="replace") or "its holder has not said who it is"
