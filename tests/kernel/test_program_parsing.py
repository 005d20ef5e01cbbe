"""What lies between the frame and its ports: VLAN tags, options, extension headers, fragments, and too few bytes."""

from __future__ import annotations

import pytest

from kernel import frames
from kernel.frames import AUTHENTICATION, DESTINATION, FRAGMENT, HOP_BY_HOP, ICMP, ICMPV6, ROUTING, SCTP, TCP, UDP
from kernel.images import PLAIN, Tables
from kernel.plane import Plane

pytestmark = pytest.mark.kernel

POD, POD6 = "10.0.0.5", "fd00::5"
PEER, PEER6 = "10.1.0.7", "fd01::7"
GRE = 47
QUERY = frames.udp_header(5, 53)
OTHER = frames.udp_header(5, 54)


@pytest.fixture(autouse=True)
def dns_only(plane: Plane) -> None:
    """The endpoint may send to and receive on UDP 53, nothing else."""
    tables = Tables(PLAIN)
    tables.endpoint(0, 1, [POD, POD6], egress=0, ingress=1)
    tables.port(UDP, 53, 2)
    tables.cell(0, 0, 2)
    tables.cell(1, 0, 2)
    plane.fill(tables)


def ip4(payload: bytes, **header: object) -> bytes:
    return frames.ethernet(0x0800, frames.ipv4(PEER, POD, UDP, payload, **header))


def ip6(following: int, payload: bytes) -> bytes:
    return frames.ethernet(0x86DD, frames.ipv6(PEER6, POD6, following, payload))


@pytest.mark.parametrize("tags", [(), (0x8100,), (0x88A8,), (0x88A8, 0x8100)])
@pytest.mark.parametrize("family", [4, 6])
def test_vlan_tags_are_skipped(plane: Plane, tags, family) -> None:
    def frame(payload: bytes) -> bytes:
        if family == 4:
            return frames.ethernet(0x0800, frames.ipv4(PEER, POD, UDP, payload), *tags)
        return frames.ethernet(0x86DD, frames.ipv6(PEER6, POD6, UDP, payload), *tags)

    assert plane.ingress(frame(QUERY)) == "allowed"
    assert plane.ingress(frame(OTHER)) == "denied"


def test_a_third_vlan_tag_is_malformed(plane: Plane) -> None:
    packet = frames.ipv4(PEER, POD, UDP, QUERY)
    assert plane.ingress(frames.ethernet(0x0800, packet, 0x88A8, 0x8100, 0x8100)) == "malformed"


@pytest.mark.parametrize("length", [4, 20, 40])
def test_ipv4_options_are_skipped(plane: Plane, length: int) -> None:
    assert plane.ingress(ip4(QUERY, options=bytes(length))) == "allowed"
    assert plane.ingress(ip4(OTHER, options=bytes(length))) == "denied"


ROUTES = {
    "loose, stops left": (bytes([131, 7, 4]) + bytes(5), "malformed"),
    "strict, stops left": (bytes([1, 137, 7, 4]) + bytes(4), "malformed"),
    "behind another": (bytes([7, 3, 4, 131, 7, 7]) + bytes(6), "malformed"),
    "cut short": (bytes([1, 1, 131, 2]), "malformed"),
    "at its end": (bytes([131, 7, 8]) + bytes(5), "allowed"),
    "behind the end of the list": (bytes([0, 131, 7, 4]) + bytes(4), "allowed"),
}


@pytest.mark.parametrize("name", ROUTES)
def test_a_source_route_with_stops_left_hides_the_destination(plane: Plane, name: str) -> None:
    options, outcome = ROUTES[name]
    assert plane.ingress(ip4(QUERY, options=options)) == outcome
    packet = frames.ipv4(POD, PEER, UDP, QUERY, options=options)
    assert plane.egress(frames.ethernet(0x0800, packet)) == outcome


@pytest.mark.parametrize(
    "options", [bytes([7, 0, 0, 0]), bytes([7, 1, 0, 0]), bytes([7, 5, 0, 0]), bytes([1, 1, 1, 7])]
)
def test_an_option_whose_length_does_not_fit_is_malformed(plane: Plane, options: bytes) -> None:
    assert plane.ingress(ip4(QUERY, options=options)) == "malformed"


CHAINS = {
    "hop-by-hop": [(HOP_BY_HOP, frames.extension)],
    "routing, done": [(ROUTING, frames.extension)],
    "destination": [(DESTINATION, lambda n: frames.extension(n, length=3))],
    "authentication": [(AUTHENTICATION, lambda n: bytes([n, 4]) + bytes(22))],
    "atomic fragment": [(FRAGMENT, lambda n: frames.fragment_header(n, 0, False))],
    "long options": [(DESTINATION, lambda n: frames.extension(n, length=100))],
    "eight": [(HOP_BY_HOP, frames.extension), *[(DESTINATION, frames.extension)] * 7],
}


def chain(parts: list[tuple[int, object]], payload: bytes) -> bytes:
    following, packet = UDP, payload
    for number, build in reversed(parts):
        packet, following = build(following) + packet, number
    return ip6(following, packet)


@pytest.mark.parametrize("name", CHAINS)
def test_extension_headers_are_walked(plane: Plane, name: str) -> None:
    assert plane.ingress(chain(CHAINS[name], QUERY)) == "allowed"
    assert plane.ingress(chain(CHAINS[name], OTHER)) == "denied"


def test_nine_extension_headers_are_malformed(plane: Plane) -> None:
    assert plane.ingress(chain([(DESTINATION, frames.extension)] * 9, QUERY)) == "malformed"


@pytest.mark.parametrize("count", [8, 9])
def test_a_later_fragment_counts_among_the_headers(plane: Plane, count: int) -> None:
    later = [
        *[(DESTINATION, frames.extension)] * (count - 1),
        (FRAGMENT, lambda n: frames.fragment_header(n, 4, False)),
    ]
    assert plane.ingress(chain(later, bytes(32))) == ("fragment" if count == 8 else "malformed")


def test_segments_left_hide_the_destination(plane: Plane) -> None:
    packet = frames.extension(UDP, kind=4, segments_left=1) + QUERY
    assert plane.ingress(ip6(ROUTING, packet)) == "malformed"


def test_an_extension_beyond_the_packet_is_malformed(plane: Plane) -> None:
    assert plane.ingress(ip6(DESTINATION, frames.extension(UDP)[:4])) == "malformed"
    assert plane.ingress(ip6(DESTINATION, bytes([UDP, 200]) + bytes(6) + QUERY)) == "malformed"
    assert plane.ingress(ip6(DESTINATION, bytes([47, 200]) + bytes(6) + QUERY)) == "malformed"
    assert plane.ingress(ip6(DESTINATION, bytes([47, 1]) + bytes(6) + QUERY)) == "denied"


LEAST = {TCP: 20, UDP: 8, SCTP: 12, 1: 8}


@pytest.mark.parametrize("protocol", LEAST)
def test_a_header_cut_short_is_malformed(plane: Plane, protocol: int) -> None:
    for length in (0, 3, LEAST[protocol] - 1):
        frame = frames.ethernet(0x0800, frames.ipv4(PEER, POD, protocol, bytes(length)))
        assert plane.ingress(frame) == "malformed"
    frame = frames.ethernet(0x0800, frames.ipv4(PEER, POD, protocol, bytes(LEAST[protocol])))
    assert plane.ingress(frame) == "denied"


@pytest.mark.parametrize("length", range(0, 28, 4))
def test_a_frame_cut_short_is_never_judged_by_what_is_left(plane: Plane, length: int) -> None:
    """Behind a VLAN tag, since the kernel refuses a test run of a bare IP frame without its IP header."""
    whole = frames.ipv4(PEER, POD, UDP, QUERY)
    assert plane.ingress(frames.ethernet(0x0800, whole[:length], 0x8100)) == "malformed"


def test_padding_is_not_payload(plane: Plane) -> None:
    packet = frames.ipv4(PEER, POD, UDP, QUERY, total=24) + bytes(20)
    assert plane.ingress(frames.ethernet(0x0800, packet)) == "malformed"


@pytest.mark.parametrize("first_byte", [0x55, 0x65, 0x44, 0x40, 0x05])
def test_a_wrong_version_or_header_length_is_malformed(plane: Plane, first_byte: int) -> None:
    packet = bytes([first_byte]) + frames.ipv4(PEER, POD, UDP, QUERY)[1:]
    assert plane.ingress(frames.ethernet(0x0800, packet)) == "malformed"


def test_ipv4_behind_the_ipv6_ethertype_is_malformed(plane: Plane) -> None:
    assert plane.ingress(frames.ethernet(0x86DD, frames.ipv4(PEER, POD, UDP, QUERY) + bytes(40))) == "malformed"


MORE = 0x2000


def test_later_fragments_follow_the_first(plane: Plane) -> None:
    later = ip4(bytes(32), fragment=185, ident=77)
    assert plane.ingress(later) == "fragment"
    assert plane.ingress(ip4(OTHER + bytes(24), fragment=MORE, ident=77)) == "denied"
    assert plane.ingress(later) == "fragment"
    assert plane.ingress(ip4(QUERY + bytes(24), fragment=MORE, ident=77)) == "allowed"
    assert plane.ingress(later) == "allowed"
    assert plane.ingress(ip4(bytes(32), fragment=MORE | 185, ident=77)) == "allowed"
    assert plane.ingress(ip4(bytes(32), fragment=185, ident=78)) == "fragment"
    backwards = frames.ipv4(POD, PEER, UDP, bytes(32), fragment=185, ident=77)
    assert plane.egress(frames.ethernet(0x0800, backwards)) == "fragment"


def test_first_fragments_are_forgotten(plane: Plane) -> None:
    plane.ingress(ip4(QUERY + bytes(24), fragment=MORE, ident=77))
    plane.age(61)
    assert plane.ingress(ip4(bytes(32), fragment=185, ident=77)) == "fragment"


def test_ipv6_fragments_follow_the_first(plane: Plane) -> None:
    later = ip6(FRAGMENT, frames.fragment_header(UDP, 4, False) + bytes(32))
    assert plane.ingress(later) == "fragment"
    assert plane.ingress(ip6(FRAGMENT, frames.fragment_header(UDP, 0, True) + QUERY + bytes(24))) == "allowed"
    assert plane.ingress(later) == "allowed"
    assert plane.ingress(ip6(FRAGMENT, frames.fragment_header(UDP, 4, False, ident=10) + bytes(32))) == "fragment"


@pytest.mark.parametrize("outer", [True, False], ids=["first", "atomic"])
@pytest.mark.parametrize(("offset", "more"), [(0, True), (0, False), (4, False)], ids=["first", "atomic", "later"])
def test_two_fragment_headers_are_malformed(plane: Plane, outer: bool, offset: int, more: bool) -> None:
    inner = frames.fragment_header(UDP, offset, more) + QUERY
    assert plane.ingress(ip6(FRAGMENT, frames.fragment_header(FRAGMENT, 0, outer) + inner)) == "malformed"


def test_a_second_first_fragment_is_judged_for_itself(plane: Plane) -> None:
    """The datagram that comes about begins with the one that passed."""
    assert plane.ingress(ip4(QUERY + bytes(24), fragment=MORE, ident=77)) == "allowed"
    assert plane.ingress(ip4(OTHER + bytes(24), fragment=MORE, ident=77)) == "denied"
    assert plane.ingress(ip4(bytes(32), fragment=4, ident=77)) == "allowed"


STARTS = [(TCP, 1, "malformed"), (TCP, 2, "fragment"), (TCP, 3, "allowed"), (SCTP, 1, "fragment"), (SCTP, 2, "allowed"),
          (UDP, 1, "allowed"), (ICMP, 1, "allowed"), (GRE, 1, "allowed")]  # fmt: skip


@pytest.mark.parametrize(("protocol", "start", "outcome"), STARTS)
def test_a_later_fragment_leaves_the_headers_of_the_first_alone(plane: Plane, protocol, start, outcome) -> None:
    """``start``: where it begins, in units of 8 bytes."""
    everything_open(plane)
    first = frames.ethernet(0x0800, frames.ipv4(PEER, POD, protocol, bytes(24), fragment=MORE))
    later = frames.ethernet(0x0800, frames.ipv4(PEER, POD, protocol, bytes(24), fragment=start))
    assert plane.ingress(first) == "allowed"
    assert plane.ingress(later) == outcome


def everything_open(plane: Plane) -> None:
    """The endpoint has rows, and they allow all."""
    tables = Tables(PLAIN)
    tables.endpoint(0, 1, [POD, POD6], egress=0, ingress=1)
    tables.images["cells"].view("<u2").fill(0x8000)
    plane.fill(tables)


def fragment6(following: int, offset: int, more: bool, payload: bytes) -> bytes:
    return ip6(FRAGMENT, frames.fragment_header(following, offset, more) + payload)


def test_a_later_fragment_leaves_extension_headers_alone(plane: Plane) -> None:
    """Whoever takes its bytes for those of the first fragment would find other ports."""
    options = frames.extension(UDP, length=1)
    assert plane.ingress(fragment6(DESTINATION, 0, True, options + QUERY)) == "allowed"
    for offset, outcome in ((1, "fragment"), (2, "fragment"), (3, "allowed")):
        assert plane.ingress(fragment6(DESTINATION, offset, False, OTHER)) == outcome


def test_of_two_first_fragments_the_longer_headers_count(plane: Plane) -> None:
    options = frames.extension(UDP, length=1)
    assert plane.ingress(fragment6(DESTINATION, 0, True, options + QUERY)) == "allowed"
    assert plane.ingress(fragment6(UDP, 0, True, QUERY)) == "allowed"
    assert plane.ingress(fragment6(DESTINATION, 2, False, OTHER)) == "fragment"
    plane.age(61)
    assert plane.ingress(fragment6(UDP, 0, True, QUERY)) == "allowed"
    assert plane.ingress(fragment6(UDP, 2, False, OTHER)) == "allowed"


def test_a_first_fragment_without_its_ports_is_malformed(plane: Plane) -> None:
    assert plane.ingress(ip4(QUERY[:4], fragment=MORE)) == "malformed"
    assert plane.ingress(ip6(FRAGMENT, frames.fragment_header(ICMPV6, 0, True))) == "malformed"


def test_a_fragment_over_the_tcp_flags_is_malformed(plane: Plane) -> None:
    frame = frames.ethernet(0x0800, frames.ipv4(PEER, POD, TCP, bytes(16), fragment=1))
    assert plane.ingress(frame) == "malformed"


def test_fragments_in_an_unrestricted_direction_pass(plane: Plane) -> None:
    tables = Tables(PLAIN)
    tables.endpoint(0, 1, [POD], egress=0)
    plane.fill(tables)
    assert plane.ingress(ip4(bytes(32), fragment=185, ident=5)) == "untracked"
