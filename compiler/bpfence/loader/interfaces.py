"""Which interface each local endpoint has: the manifest's endpoints and the node's network in, indices out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import numpy as np

from bpfence.emit.artefact import EndpointEntry, Manifest
from bpfence.errors import AttachConflict, BudgetError
from bpfence.identity.inventory import Address
from bpfence.loader.bpffs import WORKLOAD_DIRECTIONS, Direction
from bpfence.loader.evidence import ANNOTATE, find_interfaces
from bpfence.loader.host_interfaces import HostInterface, discover_hosts
from bpfence.plan.hosts import local_table
from bpfence.plan.layout import INTERFACE, INTERFACE_HASH, INTERFACE_PROBES

if TYPE_CHECKING:  # the table's side of this file needs no netlink
    from bpfence.loader.known_interfaces import KnownInterface
    from bpfence.loader.netlink import Netlink


@dataclass(frozen=True, slots=True)
class EndpointInterface:
    """A local endpoint and the interface found for it. ``evidence``: annotation, route, neighbour, or remembered from
    the generation in force. ``hardware``: the interface's own address.
    """

    endpoint: EndpointEntry
    index: int
    name: str
    evidence: str
    hardware: str = ""

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

    ``hosts``: the node's own interfaces. ``addresses``: the node's own addresses. ``known``: what was remembered of the
    generation in force.
    """

    found: tuple[EndpointInterface, ...]
    warnings: tuple[str, ...]
    hosts: tuple[HostInterface, ...] = ()
    addresses: tuple[str, ...] = ()
    known: Mapping[str, KnownInterface] = field(default_factory=dict)

    @property
    def places(self) -> tuple[PlacedInterface, ...]:
        """Every interface that is policed."""
        return (*self.found, *self.hosts)


def discover_interfaces(
    endpoints: Iterable[EndpointEntry], netlink: Netlink, known: Mapping[str, KnownInterface] | None = None
) -> Discovery:
    """Find every endpoint's interface in the current network namespace.

    The annotation decides alone; without one a host route to one of the endpoint's addresses, then a neighbour
    entry (through a bridge to the port behind it). Where nothing leads to an endpoint any more, the interface that it
    has in the generation in force stays its own until it is gone, or another's by annotation or route. An interface
    that carries a default route, or loopback, is nobody's. Raises AttachConflict when endpoints and interfaces do not
    pair one to one.
    """
    listed = tuple(endpoints)
    places = find_interfaces(listed, netlink, known or {})
    found: list[EndpointInterface] = []
    warnings: list[str] = []
    for endpoint in listed:
        place = places[endpoint.name]
        if isinstance(place, str):
            warnings.append(f"{endpoint.name}: {place}; its policy is not enforced on this node")
        else:
            link, evidence = place
            found.append(EndpointInterface(endpoint, link.index, link.name, evidence, link.address))
    _refuse_shared(found)
    return Discovery(tuple(found), tuple(warnings), known=known or {})


def discover(manifest: Manifest, netlink: Netlink, known: Mapping[str, KnownInterface]) -> Discovery:
    """The interfaces of an artefact's endpoints and hosts in the current network namespace. ``known``: what the
    generation in force has them on (see `known_interfaces`). Raises AttachConflict.
    """
    workloads = discover_interfaces(manifest.endpoints, netlink, known)
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
    return Discovery(workloads.found, (*workloads.warnings, *warnings, *wide), hosts, own, known)


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
    """The image of the ``interfaces`` table. ``slots``: a power of two. Raises BudgetError when an interface finds no
    place.
    """
    return place_interfaces({item.index: item.value for item in found}, slots)


def place_interfaces(values: Mapping[int, int], slots: int) -> bytes:
    """The same from interface index -> what the table says: open addressing, at most INTERFACE_PROBES slots from the
    hash.
    """
    table = np.zeros(slots, dtype=INTERFACE.dtype)
    for index, value in sorted(values.items()):
        table[_free_place(table["ifindex"].__getitem__, index, slots)] = (index, value)
    return table.tobytes()


def read_interface_table(image: bytes) -> dict[int, int]:
    """Interface index -> endpoint, or HOST_INTERFACE and a host, as a slot's table says."""
    table = np.frombuffer(image, dtype=INTERFACE.dtype, count=len(image) // INTERFACE.size)
    return {int(entry["ifindex"]): int(entry["endpoint"]) for entry in table if entry["ifindex"]}


def _free_place(taken: Callable[[int], int], index: int, slots: int) -> int:
    start = (index * INTERFACE_HASH & 0xFFFFFFFF) >> 16
    for step in range(INTERFACE_PROBES):
        place = (start + step) & (slots - 1)
        if not taken(place):
            return place
    raise BudgetError(f"the interface table ({slots} slots) has no place near the hash of interface {index}")


def _refuse_shared(found: Iterable[EndpointInterface]) -> None:
    owners: dict[int, list[EndpointInterface]] = defaultdict(list)
    for item in found:
        owners[item.index].append(item)
    for items in owners.values():
        if len(items) > 1:
            names = ", ".join(item.endpoint.name for item in items)
            raise AttachConflict(f"interface {items[0].name} leads to several endpoints ({names}); {ANNOTATE}")
