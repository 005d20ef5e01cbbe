"""Which interface leads to which local endpoint: the manifest's endpoints and the node's links, routes and
neighbours in, indices out.
"""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import numpy as np

from bpfence.emit.artefact import EndpointEntry, Manifest
from bpfence.errors import AttachConflict, BudgetError
from bpfence.identity.inventory import Address
from bpfence.loader.bpffs import WORKLOAD_DIRECTIONS, Direction
from bpfence.loader.host_interfaces import HostInterface, discover_hosts
from bpfence.plan.hosts import local_table
from bpfence.plan.layout import INTERFACE, INTERFACE_HASH, INTERFACE_PROBES

if TYPE_CHECKING:  # the table's side of this file needs no netlink
    from bpfence.loader.netlink import HostRoute, Link, Neighbour, Netlink

_POD_KINDS = frozenset(("veth", "netkit", "tun", "ipvlan", "macvlan", "macvtap", "dummy"))
"""What a pod's interface can be when only a neighbour entry points at it; a neighbour behind hardware is another
machine.
"""
_ANNOTATE = "name each pod's own interface in its annotation bpfence.io/interface"


@dataclass(frozen=True, slots=True)
class EndpointInterface:
    """A local endpoint and the interface found for it. ``evidence``: annotation, route or neighbour."""

    endpoint: EndpointEntry
    index: int
    name: str
    evidence: str

    @property
    def value(self) -> int:
        """What the interface table says about it."""
        return self.endpoint.id

    @property
    def title(self) -> str:
        return self.endpoint.name

    @property
    def directions(self) -> tuple[Direction, ...]:
        return WORKLOAD_DIRECTIONS


PlacedInterface = EndpointInterface | HostInterface


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found, in the manifest's order, and one line for each endpoint without an interface.

    ``hosts``: the node's own interfaces. ``addresses``: the node's own addresses.
    """

    found: tuple[EndpointInterface, ...]
    warnings: tuple[str, ...]
    hosts: tuple[HostInterface, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[PlacedInterface, ...]:
        """Every interface that is policed."""
        return (*self.found, *self.hosts)


@dataclass(frozen=True, slots=True)
class _Facts:
    by_name: dict[str, Link]
    by_index: dict[int, Link]
    routes: dict[bytes, int]
    neighbours: dict[bytes, int]
    uplinks: frozenset[int]


def discover_interfaces(endpoints: Iterable[EndpointEntry], netlink: Netlink) -> Discovery:
    """Find every endpoint's interface in the current network namespace.

    The annotation decides alone; without one a host route to one of the endpoint's addresses, then a neighbour
    entry (through a bridge to the port behind it). An interface that carries a default route, or loopback, is
    nobody's. Raises AttachConflict when endpoints and interfaces do not pair one to one.
    """
    facts = _facts(netlink)
    found: list[EndpointInterface] = []
    warnings: list[str] = []
    for endpoint in endpoints:
        match _find(endpoint, facts):
            case (int() as index, str() as evidence):
                found.append(EndpointInterface(endpoint, index, facts.by_index[index].name, evidence))
            case why:
                warnings.append(f"{endpoint.name}: {why}; its policy is not enforced on this node")
    _refuse_shared(found)
    return Discovery(tuple(found), tuple(warnings))


def discover(manifest: Manifest, netlink: Netlink) -> Discovery:
    """The interfaces of an artefact's endpoints and hosts in the current network namespace. Raises AttachConflict."""
    workloads = discover_interfaces(manifest.endpoints, netlink)
    if not manifest.hosts:
        return workloads
    addresses = netlink.own_addresses()
    taken = {item.index for item in workloads.found}
    hosts, warnings = discover_hosts(manifest, netlink.links(), addresses, taken)
    prefixes = [ip_network(text, strict=False) for text in netlink.local_prefixes()]
    single = {str(net.network_address) for net in prefixes if net.prefixlen == net.max_prefixlen}
    wide = tuple(
        f"{net}: packets to it end in the node by a local route, which policies of hosts take for packets that are "
        "passed on"
        for net in prefixes
        if net.prefixlen < net.max_prefixlen
    )
    own = tuple(sorted({text for _, text in addresses} | single))
    return Discovery(workloads.found, (*workloads.warnings, *warnings, *wide), hosts, own)


def own_tables(manifest: Manifest, discovery: Discovery) -> dict[str, bytes]:
    """The images of the tables that are facts of the node: its interfaces and its addresses. Raises BudgetError."""
    tables = {"interfaces": interface_table(discovery.places, manifest.geometry["interfaces"])}
    if manifest.hosts:
        own = own_addresses(manifest, discovery)
        tables["local_addresses"] = local_table(own, manifest.geometry["local_addresses"])
    return tables


def own_addresses(manifest: Manifest, discovery: Discovery) -> frozenset[Address]:
    """The addresses at which packets end in the node: those that objects tell of, and those that it has."""
    known = {ip_address(text) for text in (*manifest.node_addresses, *discovery.addresses)}
    return frozenset(known - manifest.workloads.keys())


def interface_table(found: Iterable[PlacedInterface], slots: int) -> bytes:
    """The image of the ``interfaces`` table: open addressing, at most INTERFACE_PROBES slots from the hash.

    ``slots``: a power of two. Raises BudgetError when an interface finds no place.
    """
    table = np.zeros(slots, dtype=INTERFACE.dtype)
    for item in sorted(found, key=lambda one: one.index):
        place = _free_place(table["ifindex"].__getitem__, item.index, slots)
        table[place] = (item.index, item.value)
    return table.tobytes()


def read_interface_table(image: bytes) -> dict[int, int]:
    """Interface index -> endpoint, or HOST_INTERFACE and a host, as a slot's table says."""
    table = np.frombuffer(image, dtype=INTERFACE.dtype)
    return {int(entry["ifindex"]): int(entry["endpoint"]) for entry in table if entry["ifindex"]}


def _free_place(taken: Callable[[int], int], index: int, slots: int) -> int:
    start = (index * INTERFACE_HASH & 0xFFFFFFFF) >> 16
    for step in range(INTERFACE_PROBES):
        place = (start + step) & (slots - 1)
        if not taken(place):
            return place
    raise BudgetError(f"the interface table ({slots} slots) has no place near the hash of interface {index}")


def _facts(netlink: Netlink) -> _Facts:
    links = netlink.links()
    by_index = {link.index: link for link in links}
    ports = netlink.bridge_ports() if any(link.kind == "bridge" for link in links) else {}
    uplinks = netlink.default_route_interfaces() | {link.index for link in links if link.loopback}
    return _Facts(
        by_name={link.name: link for link in links},
        by_index=by_index,
        routes=_route_map(netlink.host_routes(), by_index),
        neighbours=_neighbour_map(netlink.neighbours(), by_index, ports),
        uplinks=uplinks,
    )


def _route_map(routes: Iterable[HostRoute], links: dict[int, Link]) -> dict[bytes, int]:
    return {_packed(route.address): route.index for route in routes if route.index in links}


def _neighbour_map(
    neighbours: Iterable[Neighbour], links: dict[int, Link], ports: dict[tuple[int, str], int]
) -> dict[bytes, int]:
    """Address -> interface; behind a bridge the port that the hardware address was seen on."""
    result: dict[bytes, int] = {}
    for item in neighbours:
        link = links.get(item.index)
        if link is None:
            continue
        index = ports.get((link.index, item.hardware), 0) if link.kind == "bridge" else item.index
        if index in links and links[index].kind in _POD_KINDS:
            result[_packed(item.address)] = index
    return result


def _find(endpoint: EndpointEntry, facts: _Facts) -> tuple[int, str] | str:
    """(index, evidence), or why there is none."""
    if endpoint.interface:
        link = facts.by_name.get(endpoint.interface)
        if link is None or link.loopback:
            return f"its annotation names interface {endpoint.interface}, which is not there"
        if link.index in facts.uplinks:
            raise AttachConflict(
                f"{endpoint.name}: its annotation names {link.name}, which carries the node's default route"
            )
        return link.index, "annotation"
    addresses = [_packed(address) for address in endpoint.addresses]
    for evidence, known in (("route", facts.routes), ("neighbour", facts.neighbours)):
        found = sorted({known[address] for address in addresses if address in known} - facts.uplinks)
        if len(found) > 1:
            names = ", ".join(facts.by_index[index].name for index in found)
            raise AttachConflict(f"{endpoint.name}: its addresses lead to several interfaces ({names}); {_ANNOTATE}")
        if found:
            return found[0], evidence
    return "no interface leads to " + (", ".join(endpoint.addresses) or "it (it has no address)")


def _refuse_shared(found: Iterable[EndpointInterface]) -> None:
    owners: dict[int, list[EndpointInterface]] = defaultdict(list)
    for item in found:
        owners[item.index].append(item)
    for items in owners.values():
        if len(items) > 1:
            names = ", ".join(item.endpoint.name for item in items)
            raise AttachConflict(f"interface {items[0].name} leads to several endpoints ({names}); {_ANNOTATE}")


def _packed(address: str) -> bytes:
    """An address however it is written: 4 or 16 bytes in network order."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
