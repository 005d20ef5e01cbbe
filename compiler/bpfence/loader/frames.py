"""Ethernet frames for test runs: a simulated packet in, the bytes that the kernel would see out."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from bpfence.flows import MULTICAST_LISTENER, NEIGHBOUR_DISCOVERY

Address = IPv4Address | IPv6Address

_ETHERNET = bytes.fromhex("020000000001020000000002")
SYN, SYN_ACK, ACK = 0x02, 0x12, 0x10
_HOP_LIMITS = {**dict.fromkeys(NEIGHBOUR_DISCOVERY, 255), **dict.fromkeys(MULTICAST_LISTENER, 1)}
"""by ICMPv6 type: what RFC 4861 and RFC 3810 require"""


def first_frame(
    source: Address,
    destination: Address,
    protocol: int,
    source_port: int | None = None,
    destination_port: int | None = None,
    icmp_type: int | None = None,
    icmp_code: int | None = None,
    tcp_flags: int = SYN,
) -> bytes:
    """The first packet of a flow, with valid lengths and IPv4 checksum; a TCP packet is a SYN. Ports in
    host order.
    """
    ports = (source_port or 0, destination_port or 0)
    payload = transport_header(protocol, *ports, icmp_type or 0, icmp_code or 0, tcp_flags)
    return _frame(source, destination, protocol, icmp_type or 0, payload)


def error_frame(source: Address, destination: Address, quoted: bytes) -> bytes:
    """An ICMP error (the port can't be reached) about a frame that was sent the other way."""
    kind, code, protocol = (3, 3, 1) if isinstance(source, IPv4Address) else (1, 4, 58)
    payload = struct.pack("!BBHI", kind, code, 0, 0) + quoted[len(_ETHERNET) + 2 :]
    return _frame(source, destination, protocol, kind, payload)


def _frame(source: Address, destination: Address, protocol: int, icmp_type: int, payload: bytes) -> bytes:
    if isinstance(source, IPv4Address):
        return (
            _ETHERNET + b"\x08\x00" + ipv4_header(source.packed, destination.packed, protocol, len(payload)) + payload
        )
    hops = _HOP_LIMITS.get(icmp_type, 64) if protocol == 58 else 64
    header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops) + source.packed + destination.packed
    return _ETHERNET + b"\x86\xdd" + header + payload


def ipv4_header(source: bytes, destination: bytes, protocol: int, payload: int) -> bytes:
    """Twenty bytes without options."""
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + payload, 1, 0, 64, protocol, 0, source, destination)
    return header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:]


def internet_checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def transport_header(
    protocol: int, source_port: int, destination_port: int, icmp_type: int, icmp_code: int, tcp_flags: int = SYN
) -> bytes:
    """The header of a first packet; sixteen zero bytes for protocols without one that is read."""
    match protocol:
        case 6:
            return struct.pack("!HHIIBBHHH", source_port, destination_port, 1, 0, 5 << 4, tcp_flags, 65535, 0, 0)
        case 17:
            return struct.pack("!HHHH", source_port, destination_port, 16, 0) + bytes(8)
        case 132:
            return struct.pack("!HHII", source_port, destination_port, 0, 0) + struct.pack("!BBH", 1, 0, 20) + bytes(16)
        case 1 | 58:
            return struct.pack("!BBHHH", icmp_type, icmp_code, 0, 0x6266, 1) + bytes(8)
        case _:
            return bytes(16)
