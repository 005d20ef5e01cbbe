"""Echo servers in a world's namespaces: the exchanges that will be asked for in, listening sockets out."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterable

from bpfence.demo.exchange import Exchange
from bpfence.demo.loop import Loop
from bpfence.demo.world import Place

TCP, UDP = 6, 17


def serve(loop: Loop, exchanges: Iterable[Exchange]) -> tuple[socket.socket, ...]:
    """An echo server for every destination, protocol and port asked for. Pings are answered by the kernel."""
    wanted = {(e.destination.name, e.protocol, e.port): e.destination for e in exchanges if e.protocol in (TCP, UDP)}
    return tuple(listen(loop, place, protocol, port) for (_, protocol, port), place in wanted.items())


def listen(loop: Loop, place: Place, protocol: int, port: int) -> socket.socket:
    """One echo server, TCP or UDP."""
    return (_serve_tcp if protocol == TCP else _serve_udp)(loop, place, port)


def _serve_tcp(loop: Loop, place: Place, port: int) -> socket.socket:
    server = _bound(place, socket.SOCK_STREAM, port)
    server.listen(64)
    loop.watch(server, selectors.EVENT_READ, lambda: _accept(loop, server))
    return server


def _serve_udp(loop: Loop, place: Place, port: int) -> socket.socket:
    server = _bound(place, socket.SOCK_DGRAM, port)
    loop.watch(server, selectors.EVENT_READ, lambda: _echo_datagram(server))
    return server


def _bound(place: Place, kind: int, port: int) -> socket.socket:
    """A socket that hears both address families."""
    server = place.socket(6, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", port))
    return server


def _accept(loop: Loop, server: socket.socket) -> None:
    try:
        peer, _ = server.accept()
    except BlockingIOError:
        return
    peer.setblocking(False)
    loop.watch(peer, selectors.EVENT_READ, lambda: _echo_stream(loop, peer))


def _echo_stream(loop: Loop, peer: socket.socket) -> None:
    try:
        data = peer.recv(2048)
    except OSError:
        data = b""
    if data:
        peer.send(data)
    else:
        loop.forget(peer)


def _echo_datagram(server: socket.socket) -> None:
    try:
        data, sender = server.recvfrom(2048)
        server.sendto(data, sender)
    except OSError:
        return
