"""Service addresses: on a node with kube-proxy a pod's packet still carries the service's address when policy sees it.

In: the inventory's services and their endpoints. Out: `ServiceCell`s, and rows whose cells for service addresses
repeat what the row says about the backends: allowed exactly when every ready backend is allowed at its target port.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.decide import Decision, LayerOutcome, RowDecisions
from bpfence.classify.l4 import L4Atoms
from bpfence.classify.peers import PeerClasses
from bpfence.classify.rows import ActiveTier, Row
from bpfence.identity.inventory import Address, EndpointsEntry, Inventory, Service, ServicePort
from bpfence.ir.expressions import InPrefixes
from bpfence.ir.nodes import Action, Direction, L4Match, Point


@dataclass(frozen=True, slots=True)
class ServiceCell:
    """One service port at addresses of one family. ``backends``: (address, number) of each ready backend, sorted; of
    the same family.
    """

    service: str
    addresses: tuple[Address, ...]
    protocol: int
    port: int
    backends: tuple[tuple[Address, int], ...]

    @property
    def place(self) -> InPrefixes:
        return InPrefixes(tuple(ip_network(address) for address in self.addresses))

    @property
    def l4(self) -> L4Match:
        return port_match(self.protocol, self.port)

    def target(self, port: int) -> L4Match:
        """The same traffic at a backend's port."""
        return port_match(self.protocol, port)


def port_match(protocol: int, port: int) -> L4Match:
    """Exactly one destination port of one protocol."""
    return L4Match(((protocol, protocol),), destination_ports=((port, port),))


def service_cells(inventory: Inventory) -> tuple[ServiceCell, ...]:
    """Every service address and port, NodePorts at every node's address included; earlier services win where two
    claim one place.
    """
    entries: dict[tuple[str, str], list[EndpointsEntry]] = {}
    for entry in inventory.endpoints:
        entries.setdefault((entry.namespace, entry.service), []).append(entry)
    nodes = _node_addresses(inventory)
    taken: set[tuple[Address, int, int]] = set()
    cells = []
    for service in inventory.services:
        mine = entries.get((service.namespace, service.name), [])
        for port in service.ports:
            for cell in _port_cells(service, port, mine, nodes):
                free = tuple(a for a in cell.addresses if (a, cell.protocol, cell.port) not in taken)
                taken.update((address, cell.protocol, cell.port) for address in free)
                if free:
                    cells.append(replace(cell, addresses=free))
    return tuple(cells)


def _node_addresses(inventory: Inventory) -> tuple[Address, ...]:
    """Of every node, those included that only its host-network pods tell of."""
    found = [address for node in inventory.nodes for address in node.addresses]
    found += [address for pod in inventory.pods if pod.host_network and pod.node for address in pod.addresses]
    return tuple(dict.fromkeys(found))


def _port_cells(
    service: Service, port: ServicePort, entries: Sequence[EndpointsEntry], nodes: tuple[Address, ...]
) -> Iterator[ServiceCell]:
    backends = tuple(sorted(set(_backends(port, entries)), key=lambda item: (item[0].version, item[0].packed, item[1])))
    places = [(service.addresses, port.port)]
    if port.node_port:
        places.append((nodes, port.node_port))
    for addresses, number in places:
        for version in (4, 6):
            here = tuple(sorted({a for a in addresses if a.version == version}, key=int))
            there = tuple(item for item in backends if item[0].version == version)
            if here:
                yield ServiceCell(f"{service.namespace}/{service.name}", here, port.protocol, number, there)


def _backends(port: ServicePort, entries: Iterable[EndpointsEntry]) -> Iterator[tuple[Address, int]]:
    for entry in entries:
        for name, protocol, number in entry.ports:
            if entry.ready and name == port.name and protocol == port.protocol:
                yield entry.address, number


def find_cell(cells: Iterable[ServiceCell], address: Address, protocol: int, port: int | None) -> ServiceCell | None:
    """The service that answers at an address and port."""
    for cell in cells:
        if cell.protocol == protocol and cell.port == port and address in cell.addresses:
            return cell
    return None


def isolates(row: Row) -> bool:
    """Whether some layer of the row denies what nothing allows."""
    return any(denies_at_end(tier) for layer in row.layers for tier in layer.tiers)


def denies_at_end(tier: ActiveTier) -> bool:
    """Whether the tier isolates and its end is not to pass."""
    return bool(tier.isolating) and tier.tier.end is Action.DENY


def no_backend(row: Row, cell: ServiceCell) -> Decision:
    """The decision about a service without a ready backend, for an isolated endpoint."""
    layer = next(layer for layer in row.layers if any(map(denies_at_end, layer.tiers)))
    tier = next(tier for tier in layer.tiers if denies_at_end(tier))
    origins = tuple(section.origin for section in tier.isolating)
    return Decision((LayerOutcome(layer.layer.name, False, "no-backend", tier.tier.name, None, origins),))


def fill_service_cells(
    decided: RowDecisions, cells: Sequence[ServiceCell], peers: PeerClasses, l4: L4Atoms
) -> RowDecisions:
    """The row with its cells at service addresses made from those of the backends. Only egress of workloads has any."""
    row = decided.row
    if row.direction is not Direction.EGRESS or row.point is not Point.ENDPOINT or not cells:
        return decided
    judged = decided.numbers
    numbers = judged.copy()
    decisions = list(decided.decisions)
    allowed = np.array([decision.allowed for decision in decided.decisions], dtype=bool)
    for cell in cells:
        where, atoms = cell_block(cell, row, peers, l4)
        if cell.backends:
            answers = [backend_numbers(backend, cell, judged, peers, l4) for backend in cell.backends]
            numbers[np.ix_(where, atoms)] = first_denied(answers, allowed)
        elif isolates(row):
            decisions.append(no_backend(row, cell))
            numbers[np.ix_(where, atoms)] = len(decisions) - 1
    return RowDecisions(row, numbers, tuple(decisions))


def cell_block(
    cell: ServiceCell, row: Row, peers: PeerClasses, l4: L4Atoms
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where a row's table has the cell: (peer classes, L4 atoms). There are several atoms when source ports matter."""
    return np.flatnonzero(peers.matches(cell.place, row.node)), l4.matches(cell.l4)


def backend_numbers(
    backend: tuple[Address, int], cell: ServiceCell, numbers: NDArray[np.int32], peers: PeerClasses, l4: L4Atoms
) -> NDArray[np.int32]:
    """What a row says about one backend at its target port: a decision number per source port class."""
    address, port = backend
    peer = int(peers.class_of[peers.atoms.atom_of(address)])
    found: NDArray[np.int32] = numbers[peer, l4.matches(cell.target(port))]
    return found


def first_denied(answers: Sequence[NDArray[np.int32]], allowed: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Per source port class: the first decision that denies, else the first of all. ``allowed``: by decision number."""
    result = answers[0]
    for answer in answers[1:]:
        result = np.where(allowed[result] & ~allowed[answer], answer, result)
    return result.astype(np.int32)
