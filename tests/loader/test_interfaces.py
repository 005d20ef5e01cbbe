"""Which interface leads to which endpoint, and the table that says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from bpfence.emit.artefact import EndpointEntry
from bpfence.errors import AttachConflict, BudgetError
from bpfence.loader.interfaces import (
    EndpointInterface,
    discover_interfaces,
    interface_table,
    read_interface_table,
)
from bpfence.loader.known_interfaces import KnownInterface
from bpfence.loader.netlink import HostRoute, Link, Neighbour, Netlink
from bpfence.plan.layout import INTERFACE_HASH, INTERFACE_PROBES


@dataclass
class Machine:
    """A node's links, routes and neighbours, written down."""

    kinds: dict[str, str]
    routes: list[tuple[str, str]] = field(default_factory=list)
    known: list[tuple[str, str, str]] = field(default_factory=list)
    ports: dict[tuple[str, str], str] = field(default_factory=dict)
    uplink: str = "eth0"

    def index(self, name: str) -> int:
        return list(self.kinds).index(name) + 1

    def links(self) -> tuple[Link, ...]:
        return tuple(Link(self.index(name), name, kind, 0, name == "lo", "") for name, kind in self.kinds.items())

    def host_routes(self) -> tuple[HostRoute, ...]:
        return tuple(HostRoute(address, self.index(name)) for address, name in self.routes)

    def neighbours(self) -> tuple[Neighbour, ...]:
        return tuple(Neighbour(address, self.index(name), hardware) for address, name, hardware in self.known)

    def bridge_ports(self) -> dict[tuple[int, str], int]:
        return {(self.index(bridge), hardware): self.index(port) for (bridge, hardware), port in self.ports.items()}

    def default_route_interfaces(self) -> frozenset[int]:
        return frozenset({self.index(self.uplink)})


KINDS = {"lo": "", "eth0": "", "veth1": "veth", "veth2": "veth", "br0": "bridge"}


def pod(name: str, *addresses: str, interface: str = "", number: int = 0) -> EndpointEntry:
    return EndpointEntry(id=number, name=name, identity=1, addresses=addresses, interface=interface)


def found(machine: Machine, *pods: EndpointEntry) -> dict[str, tuple[str, str]]:
    discovery = discover_interfaces(pods, cast(Netlink, machine))
    return {item.endpoint.name: (item.name, item.evidence) for item in discovery.found}


def test_host_routes_of_both_families() -> None:
    machine = Machine(KINDS, routes=[("10.0.0.1", "veth1"), ("fd00:0::2", "veth2")])
    pods = pod("a/one", "10.0.0.1"), pod("a/two", "10.0.0.2", "fd00::2")
    assert found(machine, *pods) == {"a/one": ("veth1", "route"), "a/two": ("veth2", "route")}


def test_annotation_comes_first() -> None:
    machine = Machine(KINDS, routes=[("10.0.0.1", "veth1")])
    assert found(machine, pod("a/one", "10.0.0.1", interface="veth2")) == {"a/one": ("veth2", "annotation")}


def test_annotation_of_a_missing_interface_does_not_fall_back() -> None:
    machine = Machine(KINDS, routes=[("10.0.0.1", "veth1")])
    discovery = discover_interfaces([pod("a/one", "10.0.0.1", interface="veth9")], cast(Netlink, machine))
    assert discovery.found == ()
    assert "veth9" in discovery.warnings[0]


@pytest.mark.parametrize("name", ["eth0"])
def test_annotation_of_the_uplink_is_refused(name: str) -> None:
    with pytest.raises(AttachConflict, match="default route"):
        found(Machine(KINDS), pod("a/one", "10.0.0.1", interface=name))


def test_neighbour_through_a_bridge_leads_to_its_port() -> None:
    machine = Machine(KINDS, known=[("10.0.0.1", "br0", "02:01")], ports={("br0", "02:01"): "veth2"})
    assert found(machine, pod("a/one", "10.0.0.1")) == {"a/one": ("veth2", "neighbour")}


def test_neighbour_behind_hardware_is_another_machine() -> None:
    machine = Machine({**KINDS, "eth1": ""}, known=[("10.0.0.1", "eth1", "02:01")])
    assert found(machine, pod("a/one", "10.0.0.1")) == {}


def test_route_over_the_uplink_is_nobodys() -> None:
    assert found(Machine(KINDS, routes=[("10.0.0.1", "eth0")]), pod("a/one", "10.0.0.1")) == {}


def test_one_interface_for_two_endpoints_is_refused() -> None:
    machine = Machine(KINDS, routes=[("10.0.0.1", "veth1"), ("10.0.0.2", "veth1")])
    with pytest.raises(AttachConflict, match="a/one, a/two"):
        found(machine, pod("a/one", "10.0.0.1"), pod("a/two", "10.0.0.2"))


def test_two_interfaces_for_one_endpoint_are_refused() -> None:
    machine = Machine(KINDS, routes=[("10.0.0.1", "veth1"), ("fd00::1", "veth2")])
    with pytest.raises(AttachConflict, match="several interfaces"):
        found(machine, pod("a/one", "10.0.0.1", "fd00::1"))


def home(machine: Machine, name: str, *, attached: bool = True, hardware: str = "") -> KnownInterface:
    return KnownInterface(machine.index(name), name, hardware, attached)


def remembered(machine: Machine, known: dict[str, KnownInterface], *pods: EndpointEntry) -> dict[str, tuple[str, str]]:
    discovery = discover_interfaces(pods, cast(Netlink, machine), known)
    return {item.endpoint.name: (item.name, item.evidence) for item in discovery.found}


def test_what_was_found_once_is_remembered() -> None:
    machine = Machine(KINDS)
    known = {"a/one": home(machine, "veth1"), "a/gone": home(machine, "veth2")}
    assert remembered(machine, known, pod("a/one", "10.0.0.1")) == {"a/one": ("veth1", "remembered")}
    # the annotation names what is not there
    annotated = pod("a/one", "10.0.0.1", interface="veth9")
    assert remembered(machine, known, annotated) == {"a/one": ("veth1", "remembered")}
    # the node's own word comes first
    moved = Machine(KINDS, routes=[("10.0.0.1", "veth2")])
    assert remembered(moved, known, pod("a/one", "10.0.0.1")) == {"a/one": ("veth2", "route")}
    annotated = pod("a/one", "10.0.0.1", interface="veth2")
    assert remembered(machine, known, annotated) == {"a/one": ("veth2", "annotation")}


@pytest.mark.parametrize(
    ("name", "hardware", "attached", "same"),
    [
        ("veth1", "02:01", True, True), ("veth1", "02:01", False, True), ("veth1", "02:02", True, True),
        ("veth7", "02:01", True, True), ("veth1", "02:02", False, False), ("veth1", "", False, False),
        ("veth7", "02:01", False, False), ("veth7", "", True, False),
    ],
)  # fmt: skip
def test_two_signs_tell_that_an_interface_is_still_the_same(
    name: str, hardware: str, attached: bool, same: bool
) -> None:
    link = Link(7, "veth1", "veth", 0, False, "02:01")
    assert KnownInterface(7, name, hardware, attached).is_still(link) is same
    assert not KnownInterface(8, name, hardware, attached).is_still(link)


def test_a_remembered_interface_that_is_anothers_by_now() -> None:
    machine = Machine(KINDS, routes=[("10.0.0.2", "veth1")])
    known = {"a/one": home(machine, "veth1")}
    pods = pod("a/one", "10.0.0.1"), pod("a/two", "10.0.0.2")
    assert remembered(machine, known, *pods) == {"a/two": ("veth1", "route")}


def test_a_neighbour_takes_nothing_away() -> None:
    machine = Machine(KINDS, known=[("10.0.0.2", "veth1", "02:01"), ("10.0.0.2", "veth2", "02:02")])
    pods = pod("a/one", "10.0.0.1"), pod("a/two", "10.0.0.2")
    both = {"a/one": home(machine, "veth1"), "a/two": home(machine, "veth2")}
    assert remembered(machine, both, *pods) == {"a/one": ("veth1", "remembered"), "a/two": ("veth2", "neighbour")}
    one = {"a/one": both["a/one"]}
    assert remembered(machine, one, *pods) == {"a/one": ("veth1", "remembered"), "a/two": ("veth2", "neighbour")}
    machine.known.pop()
    assert remembered(machine, both, *pods)["a/two"] == ("veth2", "remembered")
    with pytest.raises(AttachConflict, match="a/one, a/two"):
        remembered(machine, one, *pods)


def test_two_interfaces_that_say_they_are_one_endpoint_are_refused() -> None:
    machine = Machine(KINDS, known=[("10.0.0.1", "veth1", "02:01"), ("10.0.0.1", "veth2", "02:02")])
    with pytest.raises(AttachConflict, match=r"several interfaces \(veth1, veth2\)"):
        found(machine, pod("a/one", "10.0.0.1"))
    machine.known.pop()
    with pytest.raises(AttachConflict, match="lead to veth1, and veth2, where it is policed, is still there"):
        remembered(machine, {"a/one": home(machine, "veth2")}, pod("a/one", "10.0.0.1"))


def test_a_way_out_that_was_remembered() -> None:
    """Hardware that now has the default route is the node's; a pod's interface stays a pod's."""
    machine = Machine({**KINDS, "eth1": ""}, uplink="eth1", routes=[("10.0.0.1", "eth1")])
    assert remembered(machine, {"a/one": home(machine, "eth1")}, pod("a/one", "10.0.0.1")) == {}
    machine = Machine(KINDS, uplink="veth1", routes=[("10.0.0.1", "veth1")])
    known = {"a/one": home(machine, "veth1")}
    assert remembered(machine, known, pod("a/one", "10.0.0.1")) == {"a/one": ("veth1", "remembered")}
    annotated = pod("a/one", "10.0.0.1", interface="veth1")
    assert remembered(machine, known, annotated) == {"a/one": ("veth1", "annotation")}
    with pytest.raises(AttachConflict, match="default route"):
        found(machine, annotated)


def placed(*indices: int) -> list[EndpointInterface]:
    return [
        EndpointInterface(pod(f"a/{n}", number=n), index, f"veth{index}", "route") for n, index in enumerate(indices)
    ]


def test_table_is_found_by_the_programs_search() -> None:
    indices = list(range(2, 258))
    image = interface_table(placed(*indices), 1024)
    table = read_interface_table(image)
    assert table == {index: n for n, index in enumerate(indices)}
    for index, endpoint in table.items():
        start = (index * INTERFACE_HASH & 0xFFFFFFFF) >> 16
        places = [(start + step) % 1024 * 8 for step in range(INTERFACE_PROBES)]
        entry = index.to_bytes(4, "little") + endpoint.to_bytes(4, "little")
        assert entry in [image[place : place + 8] for place in places]


def test_table_without_room_is_refused() -> None:
    with pytest.raises(BudgetError):
        interface_table(placed(*range(2, 12)), 8)
