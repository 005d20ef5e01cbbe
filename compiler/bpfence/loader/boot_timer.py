"""A timer of the clock that goes on while the machine sleeps: timerfd(2) on CLOCK_BOOTTIME."""

from __future__ import annotations

import ctypes
import os
import time

from bpfence.errors import KernelError

_ABSOLUTE = 1
_CLOSE_ON_EXEC = os.O_CLOEXEC


class _Moment(ctypes.Structure):
    """``struct timespec``."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    """``struct itimerspec``."""

    _fields_ = (("interval", _Moment), ("first", _Moment))


def timer_at(moment: float) -> int:
    """A descriptor that polls readable from ``moment`` (CLOCK_BOOTTIME, seconds) on. Raises KernelError."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor: int = library.timerfd_create(time.CLOCK_BOOTTIME, _CLOSE_ON_EXEC)
    if descriptor < 0:
        raise KernelError(f"can't make a timer: {os.strerror(ctypes.get_errno())}")
    # a moment of zero would switch the timer off
    whole = max(int(moment), 0)
    first = _Moment(whole, max(1, int((moment - whole) * 1e9)))
    if library.timerfd_settime(descriptor, _ABSOLUTE, ctypes.byref(_Setting(_Moment(0, 0), first)), None):
        code = ctypes.get_errno()
        os.close(descriptor)
        raise KernelError(f"can't set a timer: {os.strerror(code)}")
    return descriptor
