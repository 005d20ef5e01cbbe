"""A loop over sockets: which to watch and what to do when they are ready in; turns until a condition or a deadline
out.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field


@dataclass(slots=True)
class Loop:
    """Sockets with what to do when they can be read or written."""

    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    stack: ExitStack = field(default_factory=ExitStack)

    def watch(self, sock: socket.socket, events: int, act: Callable[[], None]) -> None:
        self.stack.callback(sock.close)
        self.selector.register(sock, events, act)

    def change(self, sock: socket.socket, events: int, act: Callable[[], None]) -> None:
        self.selector.modify(sock, events, act)

    def forget(self, sock: socket.socket) -> None:
        self.selector.unregister(sock)

    def run(self, seconds: float, done: Callable[[], bool]) -> None:
        """Turn until everything is done or the time is over."""
        end = time.monotonic() + seconds
        while not done() and (left := end - time.monotonic()) > 0:
            for key, _ in self.selector.select(left):
                key.data()

    def close(self) -> None:
        self.stack.close()
        self.selector.close()
