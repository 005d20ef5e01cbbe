"""Signals that would end the process, put off to points where nothing is half done.

A signal that arrives in the block is only noted. `Interrupts.check` raises it as an exception, which undoes the work
like any other failure; what is not asked any more, because the work is done, passes.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end."""


@dataclass(slots=True)
class Interrupts:
    """``caught``: the first signal noted, 0 for none."""

    caught: int = 0

    def check(self) -> None:
        """Raise Interrupted when a signal has come."""
        if self.caught:
            raise Interrupted(signal.Signals(self.caught).name)

    def note(self, number: int, _: FrameType | None) -> None:
        self.caught = self.caught or number


@contextmanager
def deferred_interrupts() -> Iterator[Interrupts]:
    """SIGINT, SIGTERM and SIGHUP are noted for the length of the block. Those that the process ignores or handles
    already are left to it, as are those of a block around this one; so are all in a thread that is not the main one,
    which gets none.
    """
    noted = Interrupts()
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in _ENDING if signal.getsignal(number) in _DEFAULTS}
    try:
        for number in before:
            signal.signal(number, noted.note)
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
