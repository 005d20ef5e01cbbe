"""Rows of hosts: what their host endpoints, and policies that select nodes, decide at each point.

In: the row builder and the node's host endpoints. Out: `HostRows`. A host endpoint sees packets whose own side is not
its own address (what the node forwards), so its row may depend on that address; most policies say nothing about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from bpfence.classify.addresses import cut_addresses
from bpfence.classify.rows import Row, RowBuilder, Subject
from bpfence.identity.inventory import Address, Network
from bpfence.identity.labels import LabelIndex
from bpfence.identity.named_ports import own_names
from bpfence.identity.world import Entity, World
from bpfence.ir.expressions import NODE, HasObject, InPrefixes, OnOwnNode
from bpfence.ir.nodes import Direction, Point, Program, Rule
from bpfence.ir.walk import peer_leaves

AddressRange = tuple[int, int, int]
"""(family, first, last)"""

POINTS = {
    "hostendpoint": (
        (Point.UNTRACKED, Direction.INGRESS),
        (Point.UNTRACKED, Direction.EGRESS),
        (Point.PRE_DNAT, Direction.INGRESS),
        (Point.ENDPOINT, Direction.INGRESS),
        (Point.ENDPOINT, Direction.EGRESS),
        (Point.FORWARD, Direction.INGRESS),
        (Point.FORWARD, Direction.EGRESS),
    ),
    "node": ((Point.ENDPOINT, Direction.INGRESS), (Point.ENDPOINT, Direction.EGRESS)),
}
"""where each kind of subject is asked"""


@dataclass(frozen=True, slots=True)
class HostRow:
    """The row of one host at one point, for own addresses inside ``own``; None: for every other own address."""

    host: str
    direction: Direction
    point: Point
    own: AddressRange | None
    row: Row | None


def row_of_address(rows: Sequence[HostRow], address: Address) -> HostRow | None:
    """Of the rows of one host, point and direction the one for an own address; None when there is none."""
    place = (address.version, int(address))
    exact = (row for row in rows if row.own and row.own[0] == place[0] and row.own[1] <= place[1] <= row.own[2])
    return next(exact, None) or next((row for row in rows if row.own is None), None)


def host_rows(
    program: Program, world: World, builder: RowBuilder, labels: LabelIndex, hosts: Sequence[Entity]
) -> tuple[HostRow, ...]:
    """The rows of the hosts, those left out whose point nothing restricts."""
    finder = _Finder(program, world, builder, labels)
    return tuple(row for host in hosts for point, way in POINTS[host.kind] for row in finder.rows(host, point, way))


class _Finder:
    """Rows by own address."""

    def __init__(self, program: Program, world: World, builder: RowBuilder, labels: LabelIndex) -> None:
        self._program = program
        self._world = world
        self._builder = builder
        self._labels = labels

    def rows(self, host: Entity, point: Point, direction: Direction) -> Iterator[HostRow]:
        """The row of every other address, then the ranges that differ from it, in order."""
        usual = self._builder.row(Subject(host, None), direction, point)
        special = [
            (version, low, high, row)
            for version, low, high in self._ranges(host, point, direction)
            if (row := self._builder.row(Subject(host, _address(version, low)), direction, point)) is not usual
        ]
        if usual is None and not special:
            return
        yield HostRow(host.name, direction, point, None, usual)
        for version, low, high, row in _joined(special):
            yield HostRow(host.name, direction, point, (version, low, high), row)

    def _ranges(self, host: Entity, point: Point, direction: Direction) -> Iterator[AddressRange]:
        """Address ranges inside which every own side criterion of the point is constant."""
        rules = _point_rules(self._program, point)
        if point is Point.ENDPOINT:
            networks = (*self._networks_of_node(host.node), *_own_prefixes(rules))
        else:
            networks = tuple(self._own_networks(rules, direction))
        if networks:
            atoms = cut_addresses(networks)
            yield from (atoms.bounds(atom) for atom in range(atoms.count))

    def _networks_of_node(self, node: str) -> Iterator[Network]:
        """What objects tell of a node's own addresses; it may have more, of which only prefixes can speak."""
        for entity in self._world.entities:
            if entity.node == node and entity.kind in ("node", "hostendpoint"):
                yield from entity.networks

    def _own_networks(self, rules: Iterable[Rule], direction: Direction) -> Iterator[Network]:
        for rule in rules:
            for leaf in peer_leaves(rule.own):
                match leaf:
                    case InPrefixes(networks):
                        yield from networks
                    case HasObject() | OnOwnNode():
                        yield from self._holding(leaf)
                    case _:
                        continue
            names = own_names(rule, direction)
            if names:
                yield from self._naming(names)

    def _holding(self, leaf: HasObject | OnOwnNode) -> Iterator[Network]:
        labels = NODE if isinstance(leaf, OnOwnNode) else leaf.labels
        for entity, chosen in zip(self._world.entities, self._labels.entities(labels), strict=True):
            if chosen:
                yield from entity.networks

    def _naming(self, names: frozenset[tuple[str, int]]) -> Iterator[Network]:
        for entity in self._world.entities:
            if any((name, protocol) in names for name, protocol, _ in entity.ports):
                yield from entity.networks


def _own_prefixes(rules: Iterable[Rule]) -> Iterator[Network]:
    for rule in rules:
        for leaf in peer_leaves(rule.own):
            if isinstance(leaf, InPrefixes):
                yield from leaf.networks


def _point_rules(program: Program, point: Point) -> Iterator[Rule]:
    for layer in program.layers:
        if layer.point is point:
            for tier in layer.tiers:
                yield from (*tier.exempt_ingress, *tier.exempt_egress)
                for policy in tier.policies:
                    for section in (policy.ingress, policy.egress):
                        yield from () if section is None else section.rules


def _joined(ranges: Iterable[tuple[int, int, int, Row | None]]) -> Iterator[tuple[int, int, int, Row | None]]:
    """Adjacent ranges of one row as one."""
    pending: tuple[int, int, int, Row | None] | None = None
    for version, low, high, row in ranges:
        if pending and (pending[0], pending[2] + 1) == (version, low) and pending[3] is row:
            pending = (version, pending[1], high, row)
            continue
        if pending is not None:
            yield pending
        pending = (version, low, high, row)
    if pending is not None:
        yield pending


def _address(version: int, value: int) -> Address:
    return IPv4Address(value) if version == 4 else IPv6Address(value)
