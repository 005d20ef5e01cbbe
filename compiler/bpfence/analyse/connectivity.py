"""Who may talk to whom: every allowed connection between workloads, and between workloads and the outside.

In: an `Analysed` program. Out: `Connection`s, sorted. Replicas are collapsed to their controlling owner; a connection
is listed when some replica
has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import numpy as np
from numpy.typing import NDArray

from bpfence.analyse.host_connectivity import HostTable, classify_with_hosts, polices_hosts
from bpfence.analyse.l4_sets import L4Description, describe_l4
from bpfence.analyse.parties import own_addresses
from bpfence.analyse.path import Paths
from bpfence.classify.classification import Classification, address_text, classify, subjects_of
from bpfence.classify.rows import Subject
from bpfence.identity.inventory import HostSettings
from bpfence.identity.labels import Bits
from bpfence.identity.world import Entity, World
from bpfence.ir.nodes import Direction, Program
from bpfence.plan.layout import CELL_ALLOW


@dataclass(frozen=True, slots=True, order=True)
class Connection:
    """``protocol``: ``ANY`` when ``everything``, else TCP, UDP, SCTP, ICMP, ICMPv6 or a number. ``ports``: inclusive
    ranges (ICMP: types).
    """

    source: str
    destination: str
    protocol: str
    ports: tuple[tuple[int, int], ...]
    everything: bool

    def document(self) -> dict[str, object]:
        """One row of the JSON of `list`."""
        return {
            "src": self.source,
            "dst": self.destination,
            "protocol": self.protocol,
            "ports": [list(ports) for ports in self.ports],
            "all": self.everything,
        }


def workload_name(entity: Entity) -> str:
    """``namespace/name[Kind]`` of the controlling owner."""
    kind, name = entity.owner
    return f"{entity.namespace}/{name}[{kind}]"


def default_settings(_node: str) -> HostSettings:
    """What a node does without any configuration."""
    return HostSettings()


def list_connections(
    program: Program, world: World, settings_of: Callable[[str], HostSettings] = default_settings
) -> tuple[Connection, ...]:
    """Every allowed connection. A workload to itself, and outside to outside, are not listed.

    ``settings_of``: what a node does with its own traffic.
    """
    if polices_hosts(program, world):
        return _list_with_hosts(program, world, settings_of)
    subjects = tuple(subjects_of(world.pods))
    table = _Connectivity(classify(program, world, subjects), world)
    allowed: dict[tuple[str, str, int], Bits] = {}
    for source, destination, family, bits in (*table.between_workloads(subjects), *table.with_outside(subjects)):
        key = (source, destination, family)
        allowed[key] = allowed[key] | bits if key in allowed else bits
    return tuple(sorted(table.describe(allowed)))


def _list_with_hosts(
    program: Program, world: World, settings_of: Callable[[str], HostSettings]
) -> tuple[Connection, ...]:
    """The same through hosts that are policed, pair by pair."""
    classification = classify_with_hosts(program, world, settings_of)
    table = _Connectivity(classification, world)
    hosts = HostTable(classification, world, Paths(world, settings_of))
    allowed: dict[tuple[str, str, int], Bits] = {}
    for source, destination, family, bits in (*_between(hosts), *_with_outside(hosts, table)):
        key = (source, destination, family)
        allowed[key] = allowed[key] | bits if key in allowed else bits
    return tuple(sorted(table.describe(allowed)))


def _between(hosts: HostTable) -> Iterator[tuple[str, str, int, Bits]]:
    """Pairs of workloads and host endpoints; two host endpoints of one node are one host."""
    talkers = hosts.talkers(workload_name)
    for source in talkers:
        for destination in talkers:
            local = source.end.is_host and destination.end.is_host and source.end.node == destination.end.node
            if source.name == destination.name or local or not _meet(source.family, destination.family):
                continue
            bits = hosts.bits(source, destination)
            if bits.any():
                yield source.name, destination.name, source.family or destination.family, bits


def _with_outside(hosts: HostTable, table: _Connectivity) -> Iterator[tuple[str, str, int, Bits]]:
    """The same talkers and ranges of outside addresses."""
    runs = [(v, low, high, hosts.outside(v, make_address(v, low))) for v, low, high, _ in table.outside_runs()]
    for talker in hosts.talkers(workload_name):
        known: dict[tuple[object, ...], tuple[Bits, Bits]] = {}
        answers = []
        for version, low, high, other in runs:
            if not _meet(talker.family, version) or (talker.end.is_host and other.end.node == talker.end.node):
                continue
            if other.same not in known:
                known[other.same] = hosts.bits(talker, other), hosts.bits(other, talker)
            answers.append((version, low, high, *known[other.same]))
        for version, low, high, bits in join_runs((v, a, b, out) for v, a, b, out, _ in answers):
            yield talker.name, range_name(version, low, high), version, bits
        for version, low, high, bits in join_runs((v, a, b, back) for v, a, b, _, back in answers):
            yield range_name(version, low, high), talker.name, version, bits


def _meet(one: int, other: int) -> bool:
    return one == other or 0 in (one, other)


def join_runs(runs: Iterable[tuple[int, int, int, Bits]]) -> Iterator[tuple[int, int, int, Bits]]:
    """Adjacent runs with equal answers as one; runs without any allowed connection left out."""
    pending: tuple[int, int, int, Bits] | None = None
    for version, low, high, bits in runs:
        if pending and pending[0] == version and pending[2] + 1 == low and np.array_equal(pending[3], bits):
            pending = (version, pending[1], high, bits)
            continue
        if pending is not None and pending[3].any():
            yield pending
        pending = (version, low, high, bits)
    if pending is not None and pending[3].any():
        yield pending


def range_name(version: int, low: int, high: int) -> str:
    """``LO-HI[External]``."""
    return f"{make_address(version, low)}-{make_address(version, high)}[External]"


class _Connectivity:
    """Allow bits per row and peer class over L4 classes."""

    def __init__(self, classification: Classification, world: World) -> None:
        self._c = classification
        self._world = world
        merged = classification.merged
        self._allow = [(cells & CELL_ALLOW) != 0 for cells in merged.cells]
        self._everything = np.ones(merged.l4, dtype=bool)
        self._atom_class = merged.peer_of[classification.peers.class_of]

    def _row(self, subject: Subject, direction: Direction) -> NDArray[np.bool_] | None:
        number = self._c.row_of[subject.entity.name, address_text(subject), direction]
        return None if number is None else self._allow[self._c.merged.cells_of_row[number]]

    def _class(self, subject: Subject) -> int:
        peers = self._c.peers
        if subject.address is None:
            return int(self._c.merged.peer_of[peers.templates[subject.entity.name]])
        return int(self._atom_class[peers.atoms.atom_of(subject.address)])

    def _signature(self, subject: Subject) -> tuple[str, int, int, int, int]:
        """Subjects of one workload with equal signatures have equal connections."""
        rows = [
            self._c.row_of[subject.entity.name, address_text(subject), d] for d in (Direction.EGRESS, Direction.INGRESS)
        ]
        egress, ingress = (-1 if row is None else self._c.merged.cells_of_row[row] for row in rows)
        return workload_name(subject.entity), _family(subject), self._class(subject), egress, ingress

    def between_workloads(self, subjects: tuple[Subject, ...]) -> Iterator[tuple[str, str, int, Bits]]:
        """(source, destination, family, allowed L4 classes) of every pair of workloads with an allowed connection."""
        distinct = list({self._signature(subject): subject for subject in subjects}.items())
        for (source, family, source_class, _, _), sender in distinct:
            egress = self._row(sender, Direction.EGRESS)
            for (destination, other, destination_class, _, _), receiver in distinct:
                if source == destination or (family != other and 0 not in (family, other)):
                    continue
                ingress = self._row(receiver, Direction.INGRESS)
                bits = self._side(egress, destination_class) & self._side(ingress, source_class)
                if bits.any():
                    yield source, destination, family or other, bits

    def _side(self, row: NDArray[np.bool_] | None, peer: int) -> Bits:
        return self._everything if row is None else row[peer]

    def with_outside(self, subjects: tuple[Subject, ...]) -> Iterator[tuple[str, str, int, Bits]]:
        """The same between workloads and ranges of outside addresses."""
        distinct = {self._signature(subject): subject for subject in subjects}
        runs = list(self.outside_runs())
        for (name, family, _, _, _), subject in distinct.items():
            mine = [run for run in runs if family in (0, run[0])]
            for direction in Direction:
                row = self._row(subject, direction)
                for version, low, high, bits in join_runs((v, a, b, self._side(row, peer)) for v, a, b, peer in mine):
                    outside = range_name(version, low, high)
                    yield (
                        (name, outside, version, bits)
                        if direction is Direction.EGRESS
                        else (outside, name, version, bits)
                    )

    def outside_runs(self) -> Iterator[tuple[int, int, int, int]]:
        """(family, first, last, merged class) of address runs that are no endpoint's or service's own address."""
        atoms = self._c.peers.atoms
        taken = {
            atoms.atom_of(a)
            for entity in self._world.entities
            if entity.kind in ("pod", "service", "hostendpoint")
            for a in own_addresses(entity, self._world)
        }
        for atom in range(atoms.count):
            if atom not in taken:
                version, low, high = atoms.bounds(atom)
                yield version, low, high, int(self._atom_class[atom])

    def describe(self, allowed: dict[tuple[str, str, int], Bits]) -> Iterator[Connection]:
        """Connections from bit vectors; both families of a pair of workloads joined."""
        pairs: dict[tuple[str, str], dict[int, Bits]] = {}
        for (source, destination, family), bits in allowed.items():
            pairs.setdefault((source, destination), {})[family] = bits
        known: dict[tuple[tuple[int, bytes], ...], L4Description] = {}
        for (source, destination), families in pairs.items():
            key = tuple(sorted((family, bits.tobytes()) for family, bits in families.items()))
            if key not in known:
                known[key] = describe_l4(self._c.l4, self._c.merged.l4_of, families)
            description = known[key]
            if description.everything:
                yield Connection(source, destination, "ANY", (), True)
                continue
            for protocol, ports in description.protocols:
                yield Connection(source, destination, protocol, ports, False)


def _family(subject: Subject) -> int:
    """4 or 6; 0 for a template, which meets both."""
    return 0 if subject.address is None else subject.address.version


def make_address(version: int, value: int) -> IPv4Address | IPv6Address:
    return IPv4Address(value) if version == 4 else IPv6Address(value)
