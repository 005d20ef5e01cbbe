"""Real traffic between the parties of a world: flows in, "was it answered" out. TCP, UDP and ping, all at once, in
one loop.
"""

from __future__ import annotations

import selectors
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

from bpfence.demo.exchange import Exchange
from bpfence.demo.loop import Loop
from bpfence.demo.servers import serve
from bpfence.demo.world import World
from bpfence.errors import UsageError
from bpfence.flows import Flow
from bpfence.loader.frames import internet_checksum

_ECHO_REQUEST = {4: 8, 6: 128}
_ECHO_REPLY = {4: 0, 6: 129}


def send_flows(
    world: World, flows: Sequence[Flow], seconds: float = 0.4, expected: Sequence[bool] | None = None, patience: int = 3
) -> tuple[bool, ...]:
    """Whether each flow was answered. All at once; what has no answer within ``seconds`` counts as unanswered.

    Flows that ``expected`` says should be answered, and were not, are tried again up to ``patience`` times with
    more time, so that a busy machine does not look like a firewall; a denied flow stays denied however often it is
    tried.
    """
    exchanges = [Exchange.of(world, flow) for flow in flows]
    answered = send_all(exchanges, seconds)
    for attempt in range(patience if expected else 0):
        again = [n for n, ok in enumerate(answered) if not ok and expected and expected[n]]
        if not again:
            break
        second = send_all([exchanges[n] for n in again], seconds * (attempt + 2))
        answered = _merge(answered, again, second)
    return tuple(answered)


def _merge(answers: list[bool], places: list[int], fresh: list[bool]) -> list[bool]:
    merged = list(answers)
    for place, answer in zip(places, fresh, strict=True):
        merged[place] = answer
    return merged


def send_all(exchanges: Sequence[Exchange], seconds: float, *, served: bool = False) -> list[bool]:
    """One round: every exchange once, with servers at every destination. ``served``: the servers are there already."""
    loop = Loop()
    answers = [False] * len(exchanges)
    try:
        if not served:
            serve(loop, exchanges)
        for number, exchange in enumerate(exchanges):
            _ask(loop, exchange, number, answers)
        loop.run(seconds, lambda: all(answers))
    finally:
        loop.close()
    return answers


def _ask(loop: Loop, exchange: Exchange, number: int, answers: list[bool]) -> None:
    match exchange.protocol:
        case 6:
            _ask_tcp(loop, exchange, number, answers)
        case 17:
            _ask_udp(loop, exchange, number, answers)
        case 1 | 58:
            _ask_echo(loop, exchange, number, answers)
        case other:
            raise UsageError(f"no traffic for protocol {other}")


def _ask_tcp(loop: Loop, exchange: Exchange, number: int, answers: list[bool]) -> None:
    """Connect, send a byte, get it back."""
    client = _client(exchange, socket.SOCK_STREAM)

    def connected() -> None:
        if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            loop.forget(client)
            return
        client.send(b"?")
        loop.change(client, selectors.EVENT_READ, read)

    def read() -> None:
        answers[number] = _received(client, b"?")
        loop.forget(client)

    loop.watch(client, selectors.EVENT_WRITE, connected)
    client.connect_ex((str(exchange.target), exchange.port))


def _ask_udp(loop: Loop, exchange: Exchange, number: int, answers: list[bool]) -> None:
    client = _client(exchange, socket.SOCK_DGRAM)

    def read() -> None:
        answers[number] = _received(client, b"?")

    if client.connect_ex((str(exchange.target), exchange.port)) == 0:
        client.send(b"?")
    loop.watch(client, selectors.EVENT_READ, read)


def _ask_echo(loop: Loop, exchange: Exchange, number: int, answers: list[bool]) -> None:
    """Ping with a raw socket; the answer is told from others by its identifier and destination."""
    protocol = socket.IPPROTO_ICMP if exchange.family == 4 else socket.IPPROTO_ICMPV6
    client = _client(exchange, socket.SOCK_RAW, protocol)
    identifier = 0x4200 + number

    def read() -> None:
        packet = client.recv(2048)
        header = packet[(packet[0] & 15) * 4 :] if exchange.family == 4 else packet
        if len(header) >= 8 and header[0] == _ECHO_REPLY[exchange.family]:
            answers[number] |= struct.unpack_from("!H", header, 4)[0] == identifier

    client.connect((str(exchange.target), 0))
    loop.watch(client, selectors.EVENT_READ, read)
    with suppress(OSError):  # a drop on the way out is told to the sender
        client.send(echo_request(exchange.family, identifier))


def echo_request(family: int, identifier: int) -> bytes:
    """An ICMP or ICMPv6 echo request; the kernel fills in ICMPv6's checksum."""
    message = struct.pack("!BBHHH", _ECHO_REQUEST[family], 0, 0, identifier, 1) + b"bpfence "
    if family == 6:
        return message
    return message[:2] + struct.pack("!H", internet_checksum(message)) + message[4:]


def _client(exchange: Exchange, kind: int, protocol: int = 0) -> socket.socket:
    """A socket of the asking party, with the source address that the flow means."""
    client = exchange.source.socket(exchange.family, kind, protocol)
    client.bind((str(exchange.own), exchange.source_port))
    return client


def _received(client: socket.socket, wanted: bytes) -> bool:
    try:
        return client.recv(2048) == wanted
    except OSError:
        return False
