"""Cells decide: every protocol, both directions, both families, and what stands outside the tables."""

from __future__ import annotations

import numpy as np
import pytest

from bpfence.plan.layout import INTERFACE_HASH, OWN4, endpoint_struct
from kernel import frames
from kernel.frames import ICMP, ICMPV6, SCTP, TCP, UDP
from kernel.images import FULL, PLAIN, Tables
from kernel.plane import Plane

pytestmark = pytest.mark.kernel

POD, POD6 = "10.0.0.5", "fd00::5"
PEER, PEER6 = "10.1.0.7", "fd01::7"
WEB, DNS, STREAM, PING, GRE = 1, 2, 3, 4, 5


def restricted(plan=PLAIN) -> Tables:
    """One endpoint, isolated both ways: row 0 egress, row 1 ingress; PEER is of class 1, everybody else of class 0."""
    tables = Tables(plan)
    tables.endpoint(0, 1, [POD, POD6], egress=0, ingress=1)
    tables.peer4("10.1.0.7/32", 1)
    tables.port(TCP, 80, WEB)
    tables.port(UDP, 53, DNS)
    tables.port(SCTP, 80, STREAM)
    tables.icmp(4, 8, PING)
    tables.icmp(6, 128, PING)
    tables.protocol(47, GRE)
    return tables


PACKETS = [
    (WEB, lambda a, b: frames.tcp(a, 40000, b, 80)),
    (DNS, lambda a, b: frames.udp(a, 40000, b, 53)),
    (STREAM, lambda a, b: frames.sctp(a, 40000, b, 80)),
    (PING, lambda a, b: frames.icmp(a, b, 128 if ":" in a else 8, ident=3)),
    (GRE, lambda a, b: frames.ip(a, b, 47, bytes(4))),
]


@pytest.mark.parametrize(("number", "packet"), PACKETS, ids=["tcp", "udp", "sctp", "icmp", "gre"])
@pytest.mark.parametrize(("pod", "peer"), [(POD, PEER), (POD6, PEER6)], ids=["ipv4", "ipv6"])
def test_one_open_cell_opens_one_protocol_in_one_direction(plane: Plane, number, packet, pod, peer) -> None:
    for row in (0, 1):
        plane.forget()
        tables = restricted()
        tables.header["peer6_default"] = 1
        tables.cell(row, 1, number)
        plane.fill(tables)
        for other, build in PACKETS:
            open_here = "allowed" if other == number else "denied"
            assert plane.egress(build(pod, peer)) == (open_here if row == 0 else "denied")
            plane.forget()
            assert plane.ingress(build(peer, pod)) == (open_here if row == 1 else "denied")
            plane.forget()


def test_the_peer_class_is_that_of_the_remote_address(plane: Plane) -> None:
    tables = restricted()
    tables.cell(1, 1, WEB)
    plane.fill(tables)
    assert plane.ingress(frames.tcp(PEER, 1000, POD, 80)) == "allowed"
    assert plane.ingress(frames.tcp("10.1.0.8", 1000, POD, 80)) == "denied"
    assert plane.ingress(frames.tcp(PEER, 1000, POD, 81)) == "denied"
    assert plane.ingress(frames.tcp(PEER, 80, POD, 1000)) == "denied"


def test_every_part_of_an_ipv4_address_counts(plane: Plane) -> None:
    tables = restricted(FULL)
    tables.cell(1, 2, 0)
    tables.peer4("10.1.1.0/24", 2)
    tables.peer4("172.16.9.128/25", 2)
    plane.fill(tables)
    inside = ["10.1.1.0", "10.1.1.255", "172.16.9.128", "172.16.9.255"]
    outside = ["10.1.0.255", "10.1.2.0", "172.16.9.127", "172.16.10.0", "172.17.9.128", "0.0.0.0", "255.255.255.255"]
    assert [plane.ingress(frames.udp(address, 5, POD, 5)) for address in inside] == ["allowed"] * 4
    assert [plane.ingress(frames.udp(address, 6, POD, 5)) for address in outside] == ["denied"] * 7


def test_source_ports_pair_with_destination_ports(plane: Plane) -> None:
    tables = restricted(FULL)
    tables.source_port(UDP, 500, 2)
    tables.pair(DNS, 2, 9)
    tables.cell(1, 1, 9)
    plane.fill(tables)
    assert plane.ingress(frames.udp(PEER, 500, POD, 53)) == "allowed"
    assert plane.ingress(frames.udp(PEER, 501, POD, 53)) == "denied"
    assert plane.ingress(frames.udp(PEER, 500, POD, 54)) == "denied"


def test_icmp_codes_count_where_the_plan_has_them(plane: Plane) -> None:
    tables = restricted(FULL)
    tables.icmp(4, 5, 7, code=1)
    tables.icmp(6, 140, 7, code=2)
    tables.cell(1, 1, 7)
    tables.peer6({"fd01::/64": 1})
    plane.fill(tables)
    assert [plane.ingress(frames.icmp(PEER, POD, 5, code)) for code in (0, 1, 2)] == ["denied", "allowed", "denied"]
    assert [plane.ingress(frames.icmp(PEER6, POD6, 140, code)) for code in (1, 2)] == ["denied", "allowed"]


def test_icmp_of_the_other_family_is_a_plain_protocol(plane: Plane) -> None:
    tables = restricted()
    tables.header["peer6_default"] = 1
    tables.cell(1, 1, PING)
    plane.fill(tables)
    message = frames.icmp_header(8)
    assert plane.ingress(frames.ip(PEER6, POD6, ICMP, message)) == "denied"
    assert plane.ingress(frames.ip(PEER, POD, ICMPV6, frames.icmp_header(128))) == "denied"


def test_an_unrestricted_endpoint_is_tracked_for_policies_to_come(plane: Plane) -> None:
    tables = Tables(PLAIN)
    tables.endpoint(0, 1, [POD])
    plane.fill(tables)
    assert plane.egress(frames.tcp(POD, 5, PEER, 80)) == "allowed"
    assert plane.ingress(frames.tcp(PEER, 80, POD, 5)) == "allowed"
    assert len(plane.connections()) == 1


def test_rows_belong_to_one_address_of_the_endpoint(plane: Plane) -> None:
    tables = restricted()
    tables.endpoint(0, 1, ["10.0.0.6"])
    plane.fill(tables)
    assert plane.ingress(frames.udp(PEER, 5, POD, 53)) == "denied"
    assert plane.ingress(frames.udp(PEER, 5, "10.0.0.6", 53)) == "allowed"


def test_an_address_that_is_not_the_endpoints_meets_its_first_rows(plane: Plane) -> None:
    tables = restricted()
    tables.cell(1, 1, DNS)
    plane.fill(tables)
    assert plane.ingress(frames.udp(PEER, 5, "224.0.0.251", 53)) == "allowed"
    assert plane.ingress(frames.udp(PEER, 5, "224.0.0.251", 54)) == "denied"
    only4 = restricted()
    only4.images["endpoints"][:] = 0
    only4.endpoint(0, 1, [POD], egress=0, ingress=1)
    plane.fill(only4)
    assert plane.ingress(frames.udp(PEER6, 5, "ff02::fb", 5353)) == "denied"


def test_an_interface_without_endpoint_passes(plane: Plane) -> None:
    tables = Tables(PLAIN)
    tables.endpoint(0, 2, [POD], egress=0, ingress=0)
    plane.fill(tables)
    assert plane.ingress(frames.udp(PEER, 5, POD, 53)) == "unknown-endpoint"


def test_interfaces_with_one_hash_are_probed(plane: Plane) -> None:
    tables = Tables(PLAIN)
    alike = [n for n in range(2, 400) if first_slot(n) == first_slot(1)][:3]
    for number, ifindex in enumerate(alike, 1):
        tables.endpoint(number, ifindex, ["10.9.9.9"])
    tables.endpoint(0, 1, [POD], egress=0, ingress=1)
    plane.fill(tables)
    assert len(alike) == 3
    assert plane.ingress(frames.udp(PEER, 5, POD, 53)) == "denied"


def first_slot(ifindex: int) -> int:
    return ((ifindex * INTERFACE_HASH & 0xFFFFFFFF) >> 16) % PLAIN.geometry.interfaces


def test_arp_and_other_ethertypes_pass(plane: Plane) -> None:
    plane.fill(restricted())
    for ethertype in (0x0806, 0x88CC):
        assert plane.ingress(frames.ethernet(ethertype, bytes(46))) == "not-ip"


BREAKERS = {
    "second-level block": lambda images: images["address4_l1"].view(np.uint16).fill(60000),
    "third-level block": lambda images: images["address4_l2"].view(np.uint16).fill(60000),
    "peer class": lambda images: images["address4_l3"].view(np.uint16).fill(60000),
    "L4 class": lambda images: images["ports"].view(np.uint16).fill(60000),
    "row": lambda images: _set_rows(images, 0xFFFFFFFE),
}


def _set_rows(images: dict[str, np.ndarray], row: int) -> None:
    geometry = PLAIN.geometry
    own = images["endpoints"].view(endpoint_struct(geometry.own4, geometry.own6).dtype)["own4"]
    assert own.dtype == OWN4.dtype
    own["egress_row"] = own["ingress_row"] = row


@pytest.mark.parametrize("broken", BREAKERS)
def test_an_index_beyond_its_table_is_a_drop(plane: Plane, broken: str) -> None:
    tables = restricted()
    tables.images["cells"].view(np.uint16).fill(0x8000)
    BREAKERS[broken](tables.images)
    plane.fill(tables)
    assert plane.ingress(frames.udp(PEER, 5, POD, 53)) == "table-error"
    assert plane.egress(frames.udp(POD, 5, PEER, 53)) == "table-error"


def test_an_endpoint_number_beyond_the_table_has_no_rows(plane: Plane) -> None:
    tables = restricted()
    tables.images["interfaces"].view(np.uint32)[1::2] = 1000
    plane.fill(tables)
    assert plane.ingress(frames.udp(PEER, 5, POD, 53)) == "table-error"
