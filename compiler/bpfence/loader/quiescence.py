"""Waiting for programs that are running, without waiting for the kernel's next grace period: the calling thread goes
once over every CPU.

Programs at hooks run in softirqs or with them disabled, where no thread can be scheduled on their CPU. So when a thread
runs on a CPU, whatever program ran there before has ended. That does not hold for a kernel with PREEMPT_RT, nor for
CPUs that the thread may not use: then the answer is no, and the caller waits in another way. So it is where CPUs are
set apart (``isolcpus``, ``nohz_full``) for threads that never leave them: this one would wait there for its turn.
Beside a busy real-time thread elsewhere it waits until the kernel takes the CPU from that one, up to a second by
default.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

MOST_CPUS = 64
"""Beyond this many a grace period is shorter than the journey."""
_REAL_TIME = Path("/sys/kernel/realtime")
_CPUS = Path("/sys/devices/system/cpu")
_SET_APART = ("isolated", "nohz_full")


def crossed_every_cpu() -> bool:
    """Run on every CPU that is online, in turn; True when that was done, so that every program that ran at the time of
    the call has ended. The thread's own choice of CPUs is put back.
    """
    try:
        if _REAL_TIME.exists() and _REAL_TIME.read_text().strip() != "0":
            return False
        before = os.sched_getaffinity(0)
        online = _numbers("online")
        if any(_numbers(name) for name in _SET_APART):
            return False
        if not online or len(online) > MOST_CPUS or not online <= before:
            return False
        return _cross(online, before)
    except (OSError, ValueError):
        return False


def _cross(online: frozenset[int], before: set[int]) -> bool:
    current_cpu = ctypes.CDLL(None).sched_getcpu
    try:
        for cpu in sorted(online):
            os.sched_setaffinity(0, {cpu})  # returns when the thread runs there
            if current_cpu() != cpu:
                return False
    finally:
        os.sched_setaffinity(0, before)
    return True


def _numbers(name: str) -> frozenset[int]:
    """A list of CPUs of the kernel's, like ``0-3,8``; none when it has no such list, or an empty one."""
    path = _CPUS / name
    text = path.read_text().strip() if path.exists() else ""
    parts = (part.partition("-") for part in text.split(",") if part and part != "(null)")
    return frozenset(number for first, _, last in parts for number in range(int(first), int(last or first) + 1))
