"""Packets drawn layer by layer: addresses, transport headers, IPv4 options, IPv6 extension headers, frames.

Everything here is well formed; what is not is made of it in `packet_damage`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random
from typing import TypeVar

TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
FLAGS = (0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x01, 0x00, 0x06, 0x03, 0xC2, 0xFF)
ODD_PROTOCOLS = (0, 2, 4, 41, 43, 44, 47, 50, 51, 59, 60, 89, 103, 135, 136, 139, 253, 255)
LINK_TYPES = (130, 131, 132, 133, 134, 135, 136, 137, 143)
ERRORS = {4: ((3, 0), (3, 1), (3, 3), (3, 4), (11, 0), (12, 0), (5, 1)), 6: ((1, 0), (1, 4), (2, 0), (3, 0), (4, 1))}
SPECIAL = {
    4: ("0.0.0.0", "255.255.255.255", "224.0.0.251", "127.0.0.1", "169.254.1.1"),
    6: ("::", "::1", "ff02::1", "ff02::16", "fe80::5", "febf::1", "fec0::1", "::ffff:10.1.0.10"),
}

Choice = TypeVar("Choice")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What means something where the packets are sent: the endpoint's addresses, addresses, ports, ICMP messages
    (type, code) and protocols that the policy speaks of.
    """

    own: tuple[str, ...]
    peers: tuple[str, ...]
    ports: tuple[int, ...]
    messages: tuple[tuple[int, int], ...]
    protocols: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ends:
    """Addresses as bytes, of one family."""

    source: bytes
    destination: bytes

    @property
    def version(self) -> int:
        return 4 if len(self.source) == 4 else 6

    @property
    def turned(self) -> Ends:
        return Ends(self.destination, self.source)


class PacketMaker:
    """Draws pieces. ``outbound``: the endpoint is the usual sender."""

    def __init__(self, draw: Random, around: Surroundings, outbound: bool) -> None:
        self.draw = draw
        self._around = around
        self._outbound = outbound
        self._own = _by_family(around.own)
        self._peers = _by_family(around.peers)
        self._special = {version: _packed(SPECIAL[version]) for version in (4, 6)}

    def chance(self, share: float) -> bool:
        return self.draw.random() < share

    def ends(self) -> Ends:
        """Mostly the endpoint and an address that policy speaks of; also neighbours of those, and strangers."""
        version = self.draw.choice((4, 6))
        if self.chance(0.05):
            return self._unaddressed(version)
        own = self._own[version] or self._peers[version]
        here = self.draw.choice(own) if self.chance(0.95) else self._elsewhere(version)
        there = self.draw.choice(self._peers[version]) if self.chance(0.85) else self._elsewhere(version)
        ends = Ends(here, there) if self._outbound else Ends(there, here)
        return ends.turned if self.chance(0.03) else ends

    def _unaddressed(self, version: int) -> Ends:
        """As of an endpoint that has no address yet."""
        if version == 4:
            nobody, everybody = bytes(4), b"\xff" * 4
            source = nobody if self.chance(0.7) else self._elsewhere(4)
            return Ends(source, everybody if self.chance(0.8) else self._elsewhere(4))
        return Ends(self.draw.choice(self._special[6]), self.draw.choice(self._special[6]))

    def _elsewhere(self, version: int) -> bytes:
        if self.chance(0.4):
            return self.draw.choice(self._special[version])
        if self.chance(0.3):
            return self.draw.randbytes(4 if version == 4 else 16)
        near = int.from_bytes(self.draw.choice(self._peers[version]), "big") ^ 1 << self.draw.randrange(16)
        return near.to_bytes(4 if version == 4 else 16, "big")

    def transport(self, ends: Ends) -> tuple[int, bytes]:
        """(protocol, header and some payload)."""
        kind = self.draw.random()
        if kind < 0.3:
            return TCP, self._tcp()
        if kind < 0.5:
            return UDP, self._udp(ends)
        if kind < 0.62:
            return SCTP, struct.pack("!HHII", self.port(), self.port(), 1, 0) + self._payload()
        if kind < 0.88:
            return self._icmp(ends)
        odd = self._around.protocols if self.chance(0.5) else ODD_PROTOCOLS
        return self.draw.choice(odd), self.draw.randbytes(self.draw.choice((0, 3, 8, 20, 40)))

    def port(self) -> int:
        return self.draw.choice(self._around.ports) if self.chance(0.93) else self.draw.randrange(65536)

    def _payload(self) -> bytes:
        return self.draw.randbytes(self.draw.choice((0, 1, 7, 8, 16, 40)))

    def _tcp(self) -> bytes:
        flags = 0x02 if self.chance(0.4) else self.draw.choice(FLAGS)
        options = bytes(4 * self.draw.choice((0, 0, 0, 1, 5, 10)))
        offset = (5 + len(options) // 4) << 4
        header = struct.pack("!HHIIBBHHH", self.port(), self.port(), 1, 1, offset, flags, 1024, 0, 0)
        return header + options + self._payload()

    def _udp(self, ends: Ends) -> bytes:
        asking = not any(ends.source) or min(ends.destination) == 0xFF or self.chance(0.02)
        ports = (68, 67) if asking and self.chance(0.8) else (self.port(), self.port())
        payload = self._payload()
        return struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload

    def _icmp(self, ends: Ends) -> tuple[int, bytes]:
        version = ends.version
        protocol = {4: ICMP, 6: ICMPV6}[version if self.chance(0.97) else 10 - version]
        kind = self.draw.random()
        if kind < 0.3:
            message = self.draw.choice(ERRORS[version])
            return protocol, struct.pack("!BBHI", *message, 0, 0) + self._quotation(ends)
        if kind < 0.5 and version == 6:
            message = (self.draw.choice(LINK_TYPES), 0)
        elif kind < 0.9:
            message = self.draw.choice(self._around.messages)
        else:
            message = (self.draw.randrange(256), self.draw.choice((0, 1, 4, 255)))
        return protocol, struct.pack("!BBHHH", *message, 0, self.draw.choice((0, 7, 53)), 1) + self._payload()

    def _quotation(self, ends: Ends) -> bytes:
        """A packet that went the other way, or bytes."""
        if self.chance(0.1):
            return self.draw.randbytes(self.draw.choice((0, 8, 28, 48)))
        protocol = self.draw.choice((TCP, UDP, SCTP, ICMP, ICMPV6))
        inner = struct.pack("!HHI", self.port(), self.port(), 0)
        return self.whole(ends.turned, protocol, inner)

    def whole(self, ends: Ends, protocol: int, payload: bytes) -> bytes:
        """An IP packet without anything special."""
        if ends.version == 4:
            return ipv4(ends, protocol, payload)
        return ipv6(ends, protocol, payload)

    def hop_limit(self, protocol: int) -> int:
        if protocol == ICMPV6 and self.chance(0.9):
            return self.draw.choice((255, 255, 1, 64))
        return self.draw.choice((64, 64, 1, 255, 0, 254))

    def options(self) -> bytes:
        """For an IPv4 header; mostly none."""
        if self.chance(0.85):
            return b""
        parts = b""
        for _ in range(self.draw.randrange(1, 5)):
            parts += self._option()
        return parts[:40].ljust(-(-min(len(parts), 40) // 4) * 4, b"\0")

    def _option(self) -> bytes:
        kind = self.draw.random()
        if kind < 0.4:
            return b"\1"
        if kind < 0.7:
            length = self.draw.choice((2, 3, 4, 8, 11))
            return bytes([self.draw.choice((7, 68, 130, 148, 20)), length]) + self.draw.randbytes(length - 2)
        if kind < 0.95:
            stops = self.draw.choice((0, 1, 2, 3))
            length = 3 + 4 * stops
            pointer = length + 1 if self.chance(0.6) else self.draw.choice((4, length, length - 3))
            claimed = length if self.chance(0.9) else 2
            return bytes([self.draw.choice((131, 137)), claimed, pointer]) + self.draw.randbytes(4 * stops)
        return self.draw.randbytes(3)

    def chain(self, most: int) -> list[tuple[int, bytes]]:
        """IPv6 extension headers but fragment headers: (kind, the header without its first byte)."""
        if self.chance(0.6):
            return []
        count = self.draw.randrange(1, most + 1) if self.chance(0.5) else 1
        return [self._extension() for _ in range(count)]

    def _extension(self) -> tuple[int, bytes]:
        kind = self.draw.choice((HOP_BY_HOP, ROUTING, DESTINATION, AUTHENTICATION))
        length = self.draw.choice((0, 0, 0, 1, 2, 5))
        if kind == AUTHENTICATION:
            return kind, bytes([length + 2]) + self.draw.randbytes((length + 4) * 4 - 2)
        left = self.draw.choice((0, 0, 0, 0, 0, 1)) if kind == ROUTING else self.draw.choice((0, 4))
        return kind, bytes([length, self.draw.choice((0, 2, 4)), left]) + self.draw.randbytes(length * 8 + 4)


def ipv4(
    ends: Ends,
    protocol: int,
    payload: bytes,
    *,
    options: bytes = b"",
    field: int = 0,
    ident: int = 1,
    hop_limit: int = 64,
) -> bytes:
    """``field``: flags and fragment offset as they stand in the header."""
    words = 5 + len(options) // 4
    length = words * 4 + len(payload)
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, length, ident & 0xFFFF, field, hop_limit, protocol, 0)
    return header + ends.source + ends.destination + options + payload


def ipv6(ends: Ends, following: int, payload: bytes, *, hop_limit: int = 64) -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(payload), following, hop_limit)
    return header + ends.source + ends.destination + payload


def joined(chain: Sequence[tuple[int, bytes]], protocol: int, payload: bytes) -> tuple[int, bytes]:
    """(first number, extension headers and payload)."""
    for kind, rest in reversed(chain):
        payload, protocol = bytes([protocol]) + rest + payload, kind
    return protocol, payload


def fragment_header(offset: int, more: bool, ident: int) -> tuple[int, bytes]:
    """As an element of a chain. ``offset``: bytes, a multiple of 8; the bits below, but the last, mean nothing."""
    return FRAGMENT, struct.pack("!BHI", 0, offset | int(more), ident)


def _by_family(addresses: Sequence[str]) -> dict[int, tuple[bytes, ...]]:
    return {n: tuple(a for a in _packed(addresses) if len(a) == size) for n, size in ((4, 4), (6, 16))}


def _packed(addresses: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(ip_address(address).packed for address in addresses)
