"""Source addresses, and the control traffic that no policy stops."""

from __future__ import annotations

import pytest

from kernel import frames
from kernel.frames import FRAGMENT, HOP_BY_HOP, ICMPV6
from kernel.images import PLAIN, Tables
from kernel.plane import Plane

pytestmark = pytest.mark.kernel

POD, POD6, LINK = "10.0.0.5", "fd00::5", "fe80::5"
PEER, PEER6 = "10.1.0.7", "fd01::7"


@pytest.fixture(autouse=True)
def closed(plane: Plane) -> None:
    """An endpoint that may neither send nor receive."""
    tables = Tables(PLAIN)
    tables.endpoint(0, 1, [POD, POD6], egress=0, ingress=1)
    plane.fill(tables)


def control(source: str, destination: str, kind: int, hop_limit: int) -> bytes:
    message = frames.icmp_header(kind, payload=bytes(16))
    return frames.ethernet(0x86DD, frames.ipv6(source, destination, ICMPV6, message, hop_limit=hop_limit))


def test_only_own_addresses_may_send(plane: Plane) -> None:
    assert plane.egress(frames.udp("10.0.0.6", 5, PEER, 53)) == "source-check"
    assert plane.egress(frames.udp("fd00::6", 5, PEER6, 53)) == "source-check"
    assert plane.egress(frames.udp(LINK, 5, PEER6, 53)) == "source-check"
    assert plane.egress(frames.udp(POD, 5, PEER, 53)) == "denied"
    assert plane.egress(frames.udp(POD6, 5, PEER6, 53)) == "denied"


def test_an_unrestricted_endpoint_may_not_borrow_addresses(plane: Plane) -> None:
    tables = Tables(PLAIN)
    tables.endpoint(0, 1, [POD])
    plane.fill(tables)
    assert plane.egress(frames.udp(POD, 5, PEER, 53)) == "allowed"
    assert plane.egress(frames.udp("10.0.0.6", 5, PEER, 53)) == "source-check"
    assert plane.egress(frames.udp(POD6, 5, PEER6, 53)) == "source-check"


@pytest.mark.parametrize("kind", [133, 134, 135, 136])
def test_neighbour_discovery_passes(plane: Plane, kind: int) -> None:
    for source in (POD6, LINK, "::"):
        assert plane.egress(control(source, "ff02::1", kind, 255)) == "untracked"
        assert plane.ingress(control(source, POD6, kind, 255)) == "untracked"
    assert plane.ingress(control(LINK, POD6, kind, 254)) == "denied"
    assert plane.egress(control(LINK, "ff02::1", kind, 254)) == "source-check"
    assert plane.egress(control("fd00::6", "ff02::1", kind, 255)) == "source-check"


@pytest.mark.parametrize("kind", [130, 131, 132, 143])
def test_listener_reports_pass(plane: Plane, kind: int) -> None:
    assert plane.egress(control(LINK, "ff02::16", kind, 1)) == "untracked"
    assert plane.ingress(control(LINK, "ff02::1", kind, 1)) == "untracked"
    assert plane.ingress(control(LINK, "ff02::1", kind, 255)) == "denied"
    routed = frames.extension(ICMPV6) + frames.icmp_header(kind, payload=bytes(16))
    frame = frames.ethernet(0x86DD, frames.ipv6(LINK, "ff02::16", HOP_BY_HOP, routed, hop_limit=1))
    assert plane.egress(frame) == "untracked"


@pytest.mark.parametrize("kind", [129, 137, 141, 144])
def test_their_neighbours_do_not_pass(plane: Plane, kind: int) -> None:
    for hop_limit in (1, 255):
        assert plane.ingress(control(LINK, POD6, kind, hop_limit)) == "denied"


def test_a_fragmented_neighbour_message_is_not_exempt(plane: Plane) -> None:
    message = frames.fragment_header(ICMPV6, 0, True) + frames.icmp_header(135, payload=bytes(16))
    frame = frames.ethernet(0x86DD, frames.ipv6(LINK, POD6, FRAGMENT, message, hop_limit=255))
    assert plane.ingress(frame) == "denied"


def test_too_big_always_passes(plane: Plane) -> None:
    assert plane.ingress(frames.icmp(PEER, POD, 3, 4)) == "untracked"
    assert plane.egress(frames.icmp(POD, PEER, 3, 4)) == "untracked"
    assert plane.ingress(frames.icmp(PEER6, POD6, 2)) == "untracked"
    assert plane.ingress(frames.icmp(PEER, POD, 3, 3)) == "denied"
    assert plane.egress(frames.icmp("10.0.0.6", PEER, 3, 4)) == "source-check"


def test_asking_for_an_address_passes(plane: Plane) -> None:
    assert plane.egress(frames.udp("0.0.0.0", 68, "255.255.255.255", 67)) == "untracked"
    assert plane.egress(frames.udp("0.0.0.0", 68, PEER, 67)) == "source-check"
    assert plane.egress(frames.udp("0.0.0.0", 68, "255.255.255.255", 68)) == "source-check"
    assert plane.egress(frames.tcp("0.0.0.0", 68, "255.255.255.255", 67)) == "source-check"
