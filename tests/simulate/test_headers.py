"""What `read_frame` finds in a frame, without a kernel to compare with."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from bpfence.simulate.headers import Fragment, Headers, read_frame
from kernel import frames
from kernel.frames import AUTHENTICATION, DESTINATION, FRAGMENT, HOP_BY_HOP, ICMPV6, SCTP, TCP, UDP

A4, B4, A6, B6 = "10.0.0.5", "10.1.0.7", "fd00::5", "fd01::7"
QUERY = frames.udp_header(5, 53)


def read(frame: bytes) -> Headers:
    found = read_frame(frame)
    assert isinstance(found, Headers)
    return found


@pytest.mark.parametrize(("source", "destination"), [(A4, B4), (A6, B6)], ids=["ipv4", "ipv6"])
def test_a_plain_packet(source: str, destination: str) -> None:
    found = read(frames.tcp(source, 4000, destination, 80, 0x12))
    assert (found.source, found.destination) == (ip_address(source), ip_address(destination))
    assert (found.protocol, found.hop_limit, found.source_port, found.destination_port) == (TCP, 64, 4000, 80)
    assert (found.tcp_flags, found.fragment, found.icmp_type) == (0x12, None, None)


def test_icmp_has_no_ports() -> None:
    found = read(frames.icmp(A6, B6, 1, 4, ident=9))
    assert (found.protocol, found.icmp_type, found.icmp_code, found.identifier) == (ICMPV6, 1, 4, 9)
    assert found.source_port is None


def test_icmp_of_the_other_family_has_no_type() -> None:
    assert read(frames.ip(A4, B4, ICMPV6, frames.icmp_header(128))).icmp_type is None


def test_extension_headers_end_at_the_transport_header() -> None:
    authentication = bytes([UDP, 4]) + bytes(22)
    chain = frames.extension(DESTINATION) + frames.extension(AUTHENTICATION, length=3) + authentication + QUERY
    assert read(frames.ethernet(0x86DD, frames.ipv6(A6, B6, HOP_BY_HOP, chain))).destination_port == 53


def test_how_far_the_headers_of_a_first_fragment_reach() -> None:
    plain = frames.ipv4(A4, B4, SCTP, bytes(24), options=bytes(8), fragment=0x2000, ident=7)
    assert read(frames.ethernet(0x0800, plain)).fragment == Fragment(7, 0, 12)
    inside = frames.fragment_header(DESTINATION, 0, True) + frames.extension(UDP, length=1) + QUERY
    assert read(frames.ethernet(0x86DD, frames.ipv6(A6, B6, FRAGMENT, inside))).fragment == Fragment(9, 0, 24)


def test_a_later_fragment_has_no_ports() -> None:
    found = read(frames.ethernet(0x0800, frames.ipv4(A4, B4, UDP, QUERY, fragment=0x2003, ident=7)))
    assert (found.fragment, found.destination_port) == (Fragment(7, 24), None)


def test_an_atomic_fragment_is_a_whole_packet() -> None:
    inside = frames.fragment_header(UDP, 0, False) + QUERY
    found = read(frames.ethernet(0x86DD, frames.ipv6(A6, B6, FRAGMENT, inside)))
    assert (found.fragment, found.destination_port) == (None, 53)


BROKEN = {
    "too long": frames.ipv4(A4, B4, UDP, QUERY, total=29),
    "too short": frames.ipv4(A4, B4, UDP, QUERY, total=27) + b"\0",
    "version": b"\x55" + frames.ipv4(A4, B4, UDP, QUERY)[1:],
    "header length": b"\x44" + frames.ipv4(A4, B4, UDP, QUERY)[1:],
    "source route": frames.ipv4(A4, B4, UDP, QUERY, options=bytes([131, 7, 4]) + bytes(5)),
    "TCP flags": frames.ipv4(A4, B4, TCP, bytes(16), fragment=1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_packet(name: str) -> None:
    assert read_frame(frames.ethernet(0x0800, BROKEN[name])) == "malformed"


@pytest.mark.parametrize("tags", [(0x8100,), (0x88A8, 0x8100)])
def test_tags(tags: tuple[int, ...]) -> None:
    packet = frames.ipv4(A4, B4, UDP, QUERY)
    assert read(frames.ethernet(0x0800, packet, *tags)).destination_port == 53
    assert read_frame(frames.ethernet(0x0806, packet, *tags)) == "not-ip"
    assert read_frame(frames.ethernet(0x0800, packet, *tags, 0x8100, 0x8100)) == "malformed"
    assert read_frame(frames.ethernet(0x0800, b"", *tags)[:15]) == "malformed"
