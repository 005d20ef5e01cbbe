"""Packets of other kinds at a host: broadcast, fragments, protocols without ports, errors about what it passes on."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.host_objects import FAR, NODE1, OUT, gnp, hep
from support.host_world import HostWorld, asks

pytestmark = pytest.mark.kernel

HEP = hep("h0")
ROUTERS = "2001:db8:1::"
"""the anycast address of the link's routers"""
WALL = gnp("wall", "hep == 'h0'", "applyOnForward: true, ingress: [{action: Deny}], egress: [{action: Deny}]")


def opened(world: HostWorld, place: str, kind: int, protocol: int = 0, family: int = 4) -> socket.socket:
    made = world.network.places[place].socket(family, kind, protocol)
    made.setblocking(True)
    made.settimeout(0.4)
    return made


@contextmanager
def listening(world: HostWorld, place: str, port: int, address: str = "") -> Iterator[socket.socket]:
    """A UDP socket that answers nothing."""
    with opened(world, place, socket.SOCK_DGRAM, family=6 if ":" in address else 4) as heard:
        heard.bind((address, port))
        yield heard


def hears(heard: socket.socket, wanted: bytes) -> bool:
    try:
        while True:
            if wanted in heard.recv(65536):
                return True
    except TimeoutError:
        return False


def test_a_host_without_an_address_can_ask_for_one(hosts: HostWorld) -> None:
    """A request to everybody on UDP port 67, and what answers to everybody on port 68."""
    hosts.apply("node1", HEP, WALL)
    with listening(hosts, "sly", 67) as server, listening(hosts, "node1", 68) as client:
        for asking in (client, server):
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        client.sendto(b"discover", ("255.255.255.255", 67))
        assert hears(server, b"discover")
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        server.sendto(b"offer", ("255.255.255.255", 68))
        assert hears(client, b"offer")


@pytest.mark.parametrize("target", ["255.255.255.255", "198.51.100.255", "224.0.0.1", "0.0.0.0", "ff02::1", ROUTERS])
def test_what_is_for_everybody_is_for_the_host_too(hosts: HostWorld, target: str) -> None:
    """Groups, broadcast and the routers' anycast address: policies for what is passed on have no say."""
    passed_on = gnp(
        "open", "hep == 'h0'", "applyOnForward: true, ingress: [{action: Allow}], egress: [{action: Allow}]", 2
    )
    closed = gnp(
        "closed",
        "hep == 'h0'",
        "ingress: [{action: Deny, protocol: UDP, destination: {ports: [7777]}}, {action: Allow}]",
        1,
    )
    hosts.apply("node1", HEP, closed, passed_on)
    if target == ROUTERS:
        # every router of the link answers for it, and takes its time
        hosts.set_neighbour("sly", target)
    for port, expected in ((7777, False), (7778, True)):
        with listening(hosts, "node1", port, "::" if ":" in target else "") as heard:
            before = hosts.counted("node1")
            send_to_all(hosts, target, port)
            assert hears(heard, b"everybody") is expected, port
            assert bool((hosts.counted("node1") - before)["denied"]) is not expected


def send_to_all(world: HostWorld, target: str, port: int) -> None:
    family = 6 if ":" in target else 4
    if target == "0.0.0.0":
        world.send_from("sly", "0.0.0.0", target, 17, struct.pack("!HHHH", 4000, port, 17, 0) + b"everybody")
        return
    with opened(world, "sly", socket.SOCK_DGRAM, family=family) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        sender.sendto(b"everybody", (target, port))


def test_later_fragments_follow_the_first(hosts: HostWorld) -> None:
    inside = gnp(
        "some",
        "hep == 'h0'",
        "applyOnForward: true, ingress: [{action: Allow, protocol: UDP, "
        "destination: {ports: [7777]}}], egress: [{action: Allow}]",
    )
    hosts.apply("node1", HEP, inside)
    for family in (4, 6):
        for port, expected in ((7777, True), (7778, False)):
            before = hosts.counted("node1")
            anywhere = "::" if family == 6 else ""
            with listening(hosts, "node1", port, anywhere) as heard, listening(hosts, "far", port, anywhere) as beyond:
                with opened(hosts, "out", socket.SOCK_DGRAM, family=family) as sender:
                    for address in (NODE1[family == 6], FAR[family == 6]):
                        sender.sendto(bytes(4000) + b"end", (address, port))
                assert [hears(heard, b"end"), hears(beyond, b"end")] == [expected, expected], (family, port)
            drops = hosts.counted_since("node1", before, "allowed" if expected else "fragment")
            assert bool(drops["fragment"]) is not expected


NO_PORTS = gnp(
    "kinds",
    "hep == 'h0'",
    "doNotTrack: true, applyOnForward: true, ingress: [{action: Allow, protocol: SCTP, destination: {ports: [9999]}}, "
    "{action: Allow, protocol: 47}, {action: Deny, protocol: SCTP, destination: {ports: [9998]}}, "
    "{action: Deny, protocol: 50}], egress: [{action: Allow, protocol: SCTP, source: {ports: [9999]}}, "
    "{action: Allow, protocol: 47}]",
    1,
)
NORMAL = gnp(
    "normal",
    "hep == 'h0'",
    "ingress: [{action: Deny, protocol: SCTP, destination: {ports: [9997, 9999]}}, "
    "{action: Deny, protocol: 89}, {action: Deny, protocol: 47}, {action: Allow}], egress: [{action: Allow}]",
    9,
)


@pytest.mark.parametrize("family", [4, 6])
def test_other_protocols(hosts: HostWorld, family: int) -> None:
    hosts.apply("node1", HEP, NO_PORTS, NORMAL)
    kinds = [(132, port, passes) for port, passes in ((9999, True), (9998, False), (9997, False), (9996, True))]
    kinds += [(47, 0, True), (50, 0, False), (89, 0, False), (99, 0, True)]
    for protocol, port, passes in kinds:
        with opened(hosts, "node1", socket.SOCK_RAW, protocol, family) as heard:
            with opened(hosts, "out", socket.SOCK_RAW, protocol, family) as sender:
                payload = struct.pack("!HHII", 4000, port, 0, 0) + b"\1\0\0\x14" + b"kind of packet"
                sender.sendto(payload, (NODE1[family == 6], 0))
            assert hears(heard, b"kind of packet") is passes, (protocol, port)
    remembered = {port for _, port, *_ in hosts.connections("node1")}
    assert 9996 in remembered
    assert 9999 not in remembered


@pytest.mark.parametrize("family", [4, 6])
def test_errors_about_what_is_passed_on_reach_the_sender(hosts: HostWorld, family: int) -> None:
    """The node itself sends them, and its own policy would close that."""
    passing = gnp(
        "pass",
        "hep == 'h0'",
        "applyOnForward: true, ingress: [{action: Allow, protocol: UDP, "
        "destination: {ports: [161]}}], egress: [{action: Deny}]",
    )
    hosts.apply("node1", HEP, passing)
    with opened(hosts, "out", socket.SOCK_DGRAM, family=family) as sender:
        sender.connect((FAR[family == 6], 161))
        # the way ends at the node: one hop is too few
        sender.setsockopt(
            *((socket.SOL_IP, socket.IP_TTL) if family == 4 else (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)), 1
        )
        sender.setsockopt(*((socket.SOL_IP, 11) if family == 4 else (socket.IPPROTO_IPV6, 25)), 1)
        sender.send(b"short of hops")
        with pytest.raises(OSError, match="No route to host"):
            sender.recv(100)


def test_pings_and_their_errors_do_not_open_the_host(hosts: HostWorld) -> None:
    hosts.apply("node1", HEP, WALL)
    assert hosts.wrong(asks("out node1 ping no", "node1 out ping no", "out far ping no", "out shop/web ping no")) == []
    assert OUT[0]
