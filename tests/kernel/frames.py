"""Ethernet frames for test runs: just enough of each header. Addresses are text, numbers are in host order."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
TCP, UDP, ICMP, ICMPV6, SCTP = 6, 17, 1, 58, 132
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60


def ethernet(ethertype: int, payload: bytes, *tags: int) -> bytes:
    """``tags``: VLAN ethertypes, outermost first."""
    kinds = [*tags, ethertype]
    vlans = b"".join(struct.pack("!HH", 7, kind) for kind in kinds[1:])
    return bytes(12) + struct.pack("!H", kinds[0]) + vlans + payload


def ipv4(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    options: bytes = b"",
    fragment: int = 0,
    ident: int = 1,
    hop_limit: int = 64,
    total: int | None = None,
) -> bytes:
    """A packet. ``fragment``: the whole field, 0x2000 = more fragments; ``total``: a length other than the true one."""
    words = 5 + len(options) // 4
    length = words * 4 + len(payload) if total is None else total
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, length, ident, fragment, hop_limit, protocol, 0)
    return header + IPv4Address(source).packed + IPv4Address(destination).packed + options + payload


def ipv6(source: str, destination: str, following: int, payload: bytes, *, hop_limit: int = 64) -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(payload), following, hop_limit)
    return header + IPv6Address(source).packed + IPv6Address(destination).packed + payload


def ip(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    """A whole frame of the family that the addresses have."""
    if ":" in source:
        return ethernet(0x86DD, ipv6(source, destination, protocol, payload))
    return ethernet(0x0800, ipv4(source, destination, protocol, payload))


def tcp_header(source_port: int, destination_port: int, flags: int) -> bytes:
    return struct.pack("!HHIIBBHHH", source_port, destination_port, 0, 0, 0x50, flags, 1024, 0, 0)


def udp_header(source_port: int, destination_port: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HHHH", source_port, destination_port, 8 + len(payload), 0) + payload


def icmp_header(kind: int, code: int = 0, ident: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack("!BBHHH", kind, code, 0, ident, 0) + payload


def tcp(source: str, source_port: int, destination: str, destination_port: int, flags: int = SYN) -> bytes:
    return ip(source, destination, TCP, tcp_header(source_port, destination_port, flags))


def udp(source: str, source_port: int, destination: str, destination_port: int) -> bytes:
    return ip(source, destination, UDP, udp_header(source_port, destination_port))


def sctp(source: str, source_port: int, destination: str, destination_port: int) -> bytes:
    return ip(source, destination, SCTP, struct.pack("!HHII", source_port, destination_port, 0, 0))


def icmp(source: str, destination: str, kind: int, code: int = 0, ident: int = 0, payload: bytes = b"") -> bytes:
    """ICMP, or ICMPv6 between IPv6 addresses."""
    protocol = ICMPV6 if ":" in source else ICMP
    return ip(source, destination, protocol, icmp_header(kind, code, ident, payload))


def quote(frame: bytes) -> bytes:
    """What an ICMP error carries of a frame: its IP header and 8 bytes."""
    packet = frame[14:]
    header = 40 if packet[0] >> 4 == 6 else (packet[0] & 15) * 4
    return packet[: header + 8]


def extension(following: int, *, length: int = 0, kind: int = 0, segments_left: int = 0) -> bytes:
    """A hop-by-hop, routing or destination options header of ``(length + 1) * 8`` bytes."""
    return bytes([following, length, kind, segments_left]) + bytes(4 + length * 8)


def fragment_header(following: int, offset: int, more: bool, ident: int = 9) -> bytes:
    """``offset`` in units of 8 bytes."""
    return struct.pack("!BBHI", following, 0, offset << 3 | int(more), ident)
