"""A TCP connection that stays open while policies change: a world and a flow in, "does it still answer" out."""

from __future__ import annotations

import selectors
import socket
import struct

from bpfence.demo.exchange import Exchange
from bpfence.demo.loop import Loop
from bpfence.demo.servers import serve
from bpfence.demo.world import World
from bpfence.flows import Flow


class OpenConnection:
    """A TCP connection between two parties of a world that stays open over policy changes. A context manager."""

    def __init__(self, world: World, flow: Flow, *, served: bool = False) -> None:
        """``served``: a server is there already."""
        self._exchange = Exchange.of(world, flow)
        self._loop = Loop()
        self._echoed = b""
        self._up = False
        self._listeners = () if served else serve(self._loop, [self._exchange])
        self._client = self._exchange.source.socket(self._exchange.family, socket.SOCK_STREAM)

    def __enter__(self) -> OpenConnection:
        self._loop.watch(self._client, selectors.EVENT_WRITE, self._connected)
        self._client.connect_ex((str(self._exchange.target), self._exchange.port))
        self._loop.run(3.0, lambda: self._up)
        self.talk(3.0)
        for listener in self._listeners:
            # the port is free for other servers; the connection has its own socket
            self._loop.forget(listener)
            listener.close()
        return self

    def __exit__(self, *_: object) -> None:
        # a reset instead of a long farewell: the other side may no longer be heard
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._loop.close()

    @property
    def established(self) -> bool:
        return self._up

    def talk(self, seconds: float = 0.4) -> bool:
        """Send a word and wait for its echo."""
        if not self._up:
            return False
        self._echoed = b""
        self._client.send(b"word")
        self._loop.run(seconds, lambda: self._echoed.endswith(b"word"))
        return self._echoed.endswith(b"word")

    def _connected(self) -> None:
        if self._client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._loop.forget(self._client)
            return
        self._up = True
        self._loop.change(self._client, selectors.EVENT_READ, self._read)

    def _read(self) -> None:
        try:
            self._echoed += self._client.recv(2048)
        except OSError:
            self._loop.forget(self._client)
