"""One transaction at a time: a file lock in the state folder that says who holds it.

The holder may remove the lock with the folder around it. INVARIANT: who got a lock that is no longer the file of that
name tries again, so that two never hold what each takes for the lock.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bpfence.errors import KernelError

_PAUSE = 0.02
"""seconds between two tries of one who waits"""


class LockHeld(KernelError):  # noqa: N818 - a state, like AttachConflict
    """Somebody else's transaction is under way on this node."""


@contextmanager
def node_lock(state: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the node's lock for the block; the kernel drops it when the process ends, however it ends.

    ``wait``: seconds to wait for another holder. Raises LockHeld, and FileNotFoundError when the folder is not there
    (any more).
    """
    descriptor = _locked(state / "lock", time.monotonic() + wait)
    try:
        # what the file says is for people: the lock holds without it
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} ({shlex.join(sys.argv)[:200]})".encode(), 0)
        yield
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _locked(path: Path, until: float) -> int:
    """A descriptor of the lock file that holds the lock. ``until``: of the monotonic clock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            held = not _try_lock(descriptor)
            if not held and _is_still(path, descriptor):
                return descriptor
            if held and time.monotonic() >= until:
                raise LockHeld(
                    f"another bpfence transaction is under way: {_holder(descriptor)}; try again when it is done"
                )
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if held:
            time.sleep(_PAUSE)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the file of that name is the one that is open."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 512, 0).decode(errors="replace") or "its holder has not said who it is"
