"""Traffic as fast as it goes, from processes of its own; and a connection that must not suffer from it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bpfence.demo.world import Place

_LOT = 256
"""Packets between two looks at the clock."""
SOURCE_PORT = 40000
_POLITE = 10
"""The flood takes what the others leave of the machine."""


@dataclass(frozen=True, slots=True)
class Flood:
    """UDP from a place to a target's ports in turn. ``pause``: seconds between lots of one packet per port."""

    source: Place
    target: str
    ports: Sequence[int]
    size: int = 64
    pause: float = 0.0


@contextmanager
def flooding(floods: Sequence[Flood], seconds: float) -> Iterator[None]:
    """Everything is sent for the length of the block, ``seconds`` at most."""
    children = [_start(flood, seconds) for flood in floods]
    try:
        yield
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _start(flood: Flood, seconds: float) -> int:
    child = os.fork()
    if child:
        return child
    try:
        os.nice(_POLITE)
        with flood.source.namespace.inside():
            _send(flood, time.monotonic() + seconds)
    finally:
        os._exit(0)


def _send(flood: Flood, end: float) -> None:
    with contextlib.ExitStack() as stack:
        ways = [stack.enter_context(_connected(flood, port)) for port in flood.ports]
        payload, parent = bytes(flood.size), os.getppid()
        while time.monotonic() < end and os.getppid() == parent:
            for _ in range(1 if flood.pause else _LOT):
                for way in ways:
                    with contextlib.suppress(OSError):
                        way.send(payload)
            time.sleep(flood.pause)


def _connected(flood: Flood, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("", SOURCE_PORT + port))
    made.connect((flood.target, port))
    return made


@dataclass(slots=True)
class Sink:
    """Sockets at a place that take what comes and answer nothing."""

    place: Place
    ports: Sequence[int]
    sockets: dict[int, socket.socket] = field(default_factory=dict)

    def __enter__(self) -> Sink:
        with self.place.namespace.inside():
            for port in self.ports:
                made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                made.setblocking(False)
                made.bind(("", port))
                self.sockets[port] = made
        return self

    def __exit__(self, *_: object) -> None:
        for made in self.sockets.values():
            made.close()

    def received(self, port: int) -> int:
        """Packets that have come since the last call; the socket's room is the limit."""
        number = 0
        with contextlib.suppress(BlockingIOError):
            while self.sockets[port].recv(2048) is not None:
                number += 1
        return number


@dataclass(slots=True)
class Stream:
    """An established TCP connection whose bytes are numbered."""

    client: socket.socket
    server: socket.socket
    sent: int = 0
    read: int = 0

    @classmethod
    def open(cls, client: Place, server: Place, address: str, port: int) -> Stream:
        with server.namespace.inside(), socket.create_server((address, port)) as listener:
            with client.namespace.inside():
                made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            made.settimeout(10)
            made.connect((address, port))
            accepted, _ = listener.accept()
        accepted.setblocking(False)
        made.setblocking(False)
        return cls(made, accepted)

    def push(self) -> None:
        """Send what goes and read what has come. AssertionError for a wrong byte, OSError when it is broken."""
        with contextlib.suppress(BlockingIOError):
            self.sent += self.client.send(bytes((self.sent + at) & 0xFF for at in range(1024)))
        self.pull()

    def pull(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = self.server.recv(1 << 16)
            assert data, "the connection was closed"
            assert data == bytes((self.read + at) & 0xFF for at in range(len(data)))
            self.read += len(data)

    def finish(self, seconds: float = 10.0) -> bool:
        """Whether everything sent arrives."""
        end = time.monotonic() + seconds
        while self.read < self.sent and time.monotonic() < end:
            self.pull()
            time.sleep(0.005)
        return self.read == self.sent

    def close(self) -> None:
        self.client.close()
        self.server.close()
