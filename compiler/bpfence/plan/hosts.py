"""Hosts in the tables: their rows by point and own address, failsafe ports, the node's own addresses and NodePorts.

In: the classification's rows of hosts and what is known about the node. Out: `PlannedHosts`, contents in numpy form.
The node's own addresses come in twice: those of the inventory here, those of its interfaces when it is applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.classification import Classification
from bpfence.classify.fingerprints import equal_rows
from bpfence.classify.merge import RowCells
from bpfence.classify.services import ServiceCell
from bpfence.errors import BudgetError
from bpfence.identity.inventory import Address, FailsafePort, HostSettings
from bpfence.identity.world import Entity
from bpfence.ir.nodes import Direction, Point
from bpfence.plan.l4 import depends_on_source
from bpfence.plan.layout import (
    CELL_ALLOW,
    CELL_NEXT,
    FAILSAFE,
    FAILSAFE_EGRESS,
    FAILSAFE_INGRESS,
    HOST,
    HOST_DROPS_WORKLOADS,
    HOST_POINTS,
    HOST_ROWS,
    LOCAL_ADDRESS,
    LOCAL_MIX,
    LOCAL_PROBES,
    NODE_PORTS_BYTES,
    UNRESTRICTED,
)
from bpfence.plan.plan import Features, Geometry, capacity

PORT_PLACES = {6: 0, 17: 1, 132: 2}
EVERY_INTERFACE = "*"
_PLACES = {(Direction(direction), Point(point)): index for index, (direction, point) in enumerate(HOST_POINTS)}
_AT_WORKLOADS = ("pre-dnat", "forward")


@dataclass(frozen=True, slots=True)
class HostFacts:
    """``entities``: the hosts that are asked, in the order of their numbers. ``own``: the node's addresses."""

    entities: tuple[Entity, ...]
    settings: HostSettings
    own: tuple[Address, ...]
    services: tuple[ServiceCell, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedHosts:
    """``table``: HOST records; ``own_rows``: row offsets, shape (hosts, HOST_ROWS, peer classes), empty when no row
    depends on the own address. ``node``, ``every``: 1 + a host's number, or 0. ``early_sources``: what comes in is told
    apart by source ports before connection tracking.
    """

    table: NDArray[np.void]
    own_rows: NDArray[np.uint32]
    failsafes: NDArray[np.void]
    failsafe_ports: NDArray[np.uint8]
    node_ports: NDArray[np.uint8]
    own: tuple[Address, ...]
    node: int
    every: int
    flags: int
    early_sources: bool = False

    @property
    def present(self) -> bool:
        return len(self.table) > 0

    @property
    def restricted(self) -> frozenset[tuple[str, str]]:
        """The points at which some host is restricted."""
        bits = int(np.bitwise_or.reduce(self.table["restricted"], initial=0))
        return frozenset(place for index, place in enumerate(HOST_POINTS) if bits >> index & 1)

    def failsafe_bits(self, direction: int) -> int:
        """``1 << (port & 63)`` of every failsafe port in the direction, a FAILSAFE_* bit."""
        ports = {int(port["port"]) & 63 for port in self.failsafes if port["directions"] & direction}
        return sum(1 << number for number in ports)

    def features(self, features: Features) -> Features:
        """The features with those that hosts need."""
        if not self.present:
            return features
        every = int(self.table[self.every - 1]["restricted"]) if self.every else 0
        at_workloads = any(every >> index & 1 for index, (_, point) in enumerate(HOST_POINTS) if point in _AT_WORKLOADS)
        return replace(
            features,
            hosts=True,
            hosts_at_workloads=at_workloads or self.node > 0,
            untracked=("ingress", "untracked") in self.restricted,
            early_sources=self.early_sources,
            own_rows=self.own_rows.size > 0,
            own_untracked=self._own_untracked(),
        )

    def _own_untracked(self) -> bool:
        if not self.own_rows.size:
            return False
        places = [index for index, (_, point) in enumerate(HOST_POINTS) if point == "untracked"]
        return bool((self.own_rows[:, places] != self.table["rows"][:, places, None]).any())

    def geometry(self, geometry: Geometry) -> Geometry:
        """The geometry with the hosts' capacities."""
        if not self.present:
            return geometry
        return replace(
            geometry,
            hosts=capacity(len(self.table), 4),
            own_rows=capacity(self.own_rows.size, 1024) if self.own_rows.size else 0,
            failsafes=capacity(len(self.failsafes), 32),
            local_addresses=capacity(4 * len(self.own), 1024),
        )


def _nothing() -> PlannedHosts:
    return PlannedHosts(
        np.zeros(0, HOST.dtype),
        np.zeros(0, np.uint32),
        np.zeros(0, FAILSAFE.dtype),
        np.zeros(0, np.uint8),
        np.zeros(0, np.uint8),
        (),
        0,
        0,
        0,
    )


NO_HOSTS = _nothing()


def plan_hosts(facts: HostFacts, classification: Classification, offsets: Sequence[int]) -> PlannedHosts:
    """``offsets``: first cell of each classification row."""
    hosts = facts.entities
    if not hosts:
        return NO_HOSTS
    rows = _rows_by_class(hosts, classification, np.array([*offsets, UNRESTRICTED], dtype=np.uint32))
    usual = _usual_rows(hosts, classification, offsets)
    table = np.zeros(len(hosts), dtype=HOST.dtype)
    table["rows"] = usual
    every_row = np.concatenate([usual[:, :, None], rows], axis=2)
    restricted = (every_row != UNRESTRICTED).any(axis=2)
    table["restricted"] = (restricted << np.arange(HOST_ROWS)).sum(axis=1)
    return PlannedHosts(
        table,
        rows if classification.own_rows.needed else np.zeros(0, np.uint32),
        _failsafes(facts.settings),
        _failsafe_ports(facts.settings),
        _node_ports(facts),
        facts.own,
        _number(hosts, lambda host: host.kind == "node"),
        _number(hosts, lambda host: host.kind == "hostendpoint" and host.interface == EVERY_INTERFACE),
        HOST_DROPS_WORKLOADS if facts.settings.workload_to_host == "Drop" else 0,
        _early_sources(classification),
    )


def _early_sources(classification: Classification) -> bool:
    """Whether the verdict of some row for what comes in, before connection tracking, depends on the source port."""
    place = (Direction.INGRESS, Point.UNTRACKED)
    named = zip(classification.host_rows, classification.host_row_numbers, strict=True)
    rows = {row for item, row in named if (item.direction, item.point) == place and row is not None}
    for (_, *where), numbers in classification.own_rows.numbers.items():
        rows |= {row for row in numbers.tolist() if row >= 0} if tuple(where) == place else set()
    merged = classification.merged
    verdicts = (merged.rows[merged.cells_of_row[row]] for row in sorted(rows))
    return any(_tells_sources_apart(classification, row) for row in verdicts)


def _tells_sources_apart(classification: Classification, row: RowCells) -> bool:
    alike, _ = equal_rows(np.ascontiguousarray((row.cells & (CELL_ALLOW | CELL_NEXT)).T))
    return depends_on_source(classification.l4, alike[row.l4_of[classification.merged.l4_of]])


def _number(hosts: Sequence[Entity], wanted: object) -> int:
    assert callable(wanted)
    return next((number for number, host in enumerate(hosts, 1) if wanted(host)), 0)


def _usual_rows(hosts: Sequence[Entity], classification: Classification, offsets: Sequence[int]) -> NDArray[np.uint32]:
    """Shape (hosts, HOST_ROWS): the rows for own addresses that nothing tells apart."""
    result = np.full((len(hosts), HOST_ROWS), UNRESTRICTED, dtype=np.uint32)
    numbers = {host.name: number for number, host in enumerate(hosts)}
    for item, row in zip(classification.host_rows, classification.host_row_numbers, strict=True):
        if item.own is None and row is not None and item.host in numbers:
            result[numbers[item.host], _PLACES[item.direction, item.point]] = offsets[row]
    return result


def _rows_by_class(
    hosts: Sequence[Entity], classification: Classification, offsets: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Shape (hosts, HOST_ROWS, merged peer classes). ``offsets``: its last element stands for no row."""
    merged = classification.merged
    first = np.zeros(merged.peers, dtype=np.int64)
    first[merged.peer_of[::-1]] = np.arange(len(merged.peer_of))[::-1]
    result = np.full((len(hosts), HOST_ROWS, merged.peers), UNRESTRICTED, dtype=np.uint32)
    if not classification.own_rows.needed:
        return result[:, :, :0]
    numbers = {host.name: number for number, host in enumerate(hosts)}
    for (host, direction, point), rows in classification.own_rows.numbers.items():
        if host in numbers:
            result[numbers[host], _PLACES[direction, point]] = offsets[rows[first]]
    return result


def _failsafes(settings: HostSettings) -> NDArray[np.void]:
    sides = ((FAILSAFE_INGRESS, settings.failsafe_ingress), (FAILSAFE_EGRESS, settings.failsafe_egress))
    entries = [(bit, port) for bit, ports in sides for port in ports if port.protocol in PORT_PLACES]
    table = np.zeros(len(entries), dtype=FAILSAFE.dtype)
    for record, (bit, port) in zip(table, entries, strict=True):
        record["port"], record["protocol"], record["directions"] = port.port, port.protocol, bit
        if port.network is not None:
            record["family"] = port.network.version
            record["network"] = network_words(port.network.network_address)
            record["mask"] = network_words(port.network.netmask)
    return table


def _failsafe_ports(settings: HostSettings) -> NDArray[np.uint8]:
    table = np.zeros(3 * 65536, dtype=np.uint8)
    for bit, ports in ((FAILSAFE_INGRESS, settings.failsafe_ingress), (FAILSAFE_EGRESS, settings.failsafe_egress)):
        _mark(table, bit, ports)
    return table


def _mark(table: NDArray[np.uint8], bit: int, ports: Iterable[FailsafePort]) -> None:
    for port in ports:
        place = PORT_PLACES.get(port.protocol)
        if place is not None:
            table[place * 65536 + port.port] |= bit


def _node_ports(facts: HostFacts) -> NDArray[np.uint8]:
    """A bit for each port at which some service answers at all addresses that the node has in one family."""
    bits = np.zeros(NODE_PORTS_BYTES * 8, dtype=np.uint8)
    for cell in facts.services:
        own = {address for address in facts.own if address.version == cell.addresses[0].version}
        if own and own <= set(cell.addresses) and cell.backends and cell.protocol in PORT_PLACES:
            bits[PORT_PLACES[cell.protocol] * 65536 + cell.port] = 1
    return np.packbits(bits, bitorder="little")


def network_words(address: Address) -> list[int]:
    """The bytes of an address in network order as four 32-bit words of this machine, IPv4 in the first."""
    raw = address.packed.ljust(16, b"\0")
    return [int.from_bytes(raw[at : at + 4], "little") for at in range(0, 16, 4)]


def local_table(addresses: Iterable[Address], slots: int) -> bytes:
    """The image of the ``local_addresses`` table. ``slots``: a power of two. BudgetError when one finds no place."""
    table = np.zeros(slots, dtype=LOCAL_ADDRESS.dtype)
    for address in sorted(set(addresses), key=lambda item: (item.version, item.packed)):
        words = network_words(address)
        start = local_hash(words)
        places = ((start + step) & (slots - 1) for step in range(LOCAL_PROBES))
        place = next((place for place in places if not table["family"][place]), None)
        if place is None:
            raise BudgetError(f"the table of the node's addresses ({slots} slots) has no place for {address}")
        table[place] = (words, address.version)
    return table.tobytes()


def local_hash(words: Sequence[int]) -> int:
    """The first slot that is looked at, before it is cut to the table's size; the C code does the same."""
    total = sum(word * mix for word, mix in zip(words, LOCAL_MIX, strict=True)) & 0xFFFFFFFF
    return (total ^ total >> 15) * LOCAL_MIX[0] >> 16 & 0xFFFF
