"""Who may talk to whom where hosts are policed: every endpoint on a flow's way must let it pass.

In: a classification with the world's host endpoints and nodes as subjects, nothing of it merged. Out: for each pair of
`Talker`s, which L4 classes may pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from bpfence.analyse.parties import own_addresses
from bpfence.analyse.path import Check, End, Paths, Way
from bpfence.classify.classification import Classification, classify, subjects_of
from bpfence.classify.services import port_match
from bpfence.identity.inventory import Address, FailsafePort, HostSettings
from bpfence.identity.labels import Bits
from bpfence.identity.named_ports import own_names
from bpfence.identity.world import PROTOCOL_WORDS, Entity, World
from bpfence.ir.expressions import ANYONE, HasObject, InPrefixes, LabelOperator, LabelTest, PeerExpr
from bpfence.ir.nodes import Direction, L4Match, Point, Program
from bpfence.ir.walk import label_tests
from bpfence.plan.layout import CELL_ALLOW, CELL_NEXT

EARLY = (Point.UNTRACKED, Point.PRE_DNAT)


@dataclass(frozen=True, slots=True)
class Talker:
    """One end of connections. ``family``: 4 or 6, 0 for both. ``same``: equal for talkers with equal connections."""

    name: str
    family: int
    end: End
    same: tuple[object, ...]


def polices_hosts(program: Program, world: World) -> bool:
    """Whether host endpoints or policies that select nodes have a say."""
    if any(entity.kind == "hostendpoint" for entity in world.entities):
        return True
    policies = (policy for layer in program.layers for tier in layer.tiers for policy in tier.policies)
    tests = (test for policy in policies for test in label_tests(policy.subject))
    return any("meta:kind" in test.keys and "node" in test.values for test in tests)


def classify_with_hosts(program: Program, world: World, settings_of: Callable[[str], HostSettings]) -> Classification:
    """Everybody as a subject; own addresses and failsafe ports kept apart."""
    hosts = tuple(entity for entity in world.entities if entity.kind in ("hostendpoint", "node"))
    settings = [settings_of(node) for node in sorted({host.node for host in hosts})]
    ports = dict.fromkeys(port for item in settings for port in (*item.failsafe_ingress, *item.failsafe_egress))
    extra = [*(_failsafe(port) for port in ports), *((place, L4Match()) for place in _own_sides(program, world))]
    subjects = tuple(subjects_of(world.pods))
    return classify(program, world, subjects, merge=False, hosts=hosts, extra=extra)


def _failsafe(port: FailsafePort) -> tuple[PeerExpr, L4Match]:
    place = ANYONE if port.network is None else InPrefixes((port.network,))
    return place, port_match(port.protocol, port.port)


def _own_sides(program: Program, world: World) -> Iterator[PeerExpr]:
    """What rules of host endpoints say about their own side, which may be anybody's address."""
    for layer in program.layers:
        if layer.point is Point.ENDPOINT:
            continue
        policies = (policy for tier in layer.tiers for policy in tier.policies)
        for policy in policies:
            for direction in Direction:
                section = policy.section(direction)
                for rule in () if section is None else section.rules:
                    yield rule.own
                    yield from _named(own_names(rule, direction), world)


def _named(names: Iterable[tuple[str, int]], world: World) -> Iterator[PeerExpr]:
    wanted = frozenset(names)
    ports = {port for entity in world.entities for port in entity.ports if (port[0], port[1]) in wanted}
    for name, protocol, number in sorted(ports):
        yield HasObject(LabelTest((f"port:{PROTOCOL_WORDS[protocol]}:{name}:{number}",), LabelOperator.EXISTS))


class HostTable:
    """Allowed L4 classes of pairs of talkers."""

    def __init__(self, classification: Classification, world: World, paths: Paths) -> None:
        self._c = classification
        self._world = world
        self._paths = paths
        merged = classification.merged
        self._allow = [(cells & CELL_ALLOW) != 0 for cells in merged.cells]
        self._next = [(cells & CELL_NEXT) != 0 for cells in merged.cells]
        self._nothing = np.zeros(merged.l4, dtype=bool)
        self._known: dict[tuple[tuple[object, ...], tuple[object, ...]], Bits] = {}
        self._host_rows: dict[tuple[str, Direction, Point], list[int]] = {}
        for position, item in enumerate(classification.host_rows):
            self._host_rows.setdefault((item.host, item.direction, item.point), []).append(position)

    def talkers(self, name_of: Callable[[Entity], str]) -> tuple[Talker, ...]:
        """Workloads and the host endpoints that police something, equal ones once. ``name_of``: a workload's name."""
        found: dict[tuple[object, ...], Talker] = {}
        for entity in self._world.entities:
            if entity.kind == "pod":
                name = name_of(entity)
            elif entity.kind == "hostendpoint" and self._paths.hosts(entity.node).winner(entity) is entity:
                name = f"{entity.name}[HostEndpoint]"
            else:
                continue
            for address in own_addresses(entity, self._world) or (None,):
                talker = self._talker(name, End(entity, address))
                found.setdefault((talker.name, talker.family, talker.same), talker)
        return tuple(found.values())

    def _talker(self, name: str, end: End) -> Talker:
        assert end.entity is not None
        own = "" if end.address is None else str(end.address)
        rows = tuple(self._c.row_of.get((end.entity.name, own, direction)) for direction in Direction)
        family = 0 if end.address is None else end.address.version
        who = "" if end.is_pod else end.entity.name
        return Talker(name, family, end, (who, self._class(end), end.node, *rows))

    def outside(self, version: int, low: Address) -> Talker:
        """The outside address ``low`` and what follows it in its atom; a node's own address stands for the node."""
        node = next((item for item in self._world.entities_at(low) if item.kind == "node"), None)
        end = End(node, low)
        return Talker("", version, end, ("outside", self._class(end), end.node))

    def _class(self, end: End) -> int:
        peers = self._c.peers
        if end.address is not None:
            return int(peers.class_of[peers.atoms.atom_of(end.address)])
        assert end.entity is not None
        return int(peers.templates[end.entity.name])

    def bits(self, source: Talker, destination: Talker) -> Bits:
        """The L4 classes that may pass from one to the other."""
        key = (source.same, destination.same)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._bits(source, destination)
        return known

    def _bits(self, source: Talker, destination: Talker) -> Bits:
        allowed = ~self._nothing
        skipped: dict[tuple[str, Direction], Bits] = {}
        for check in self._paths.checks(Way(source.end, destination.end)):
            if check.closed:
                return self._nothing
            row = self._row(check)
            if row is None:
                continue
            key = (check.subject.name, check.direction)
            spared = skipped.get(key, self._nothing) | self._failsafe(check)
            peer = self._class(check.peer)
            passed = self._allow[row][peer] & ~spared
            allowed &= passed | self._next[row][peer] | spared
            ways = tuple(Direction) if check.point is Point.UNTRACKED else (Direction.INGRESS,)
            for direction in ways if check.point in EARLY else ():
                place = (check.subject.name, direction)
                skipped[place] = skipped.get(place, self._nothing) | passed
        return allowed

    def _row(self, check: Check) -> int | None:
        """Position of the check's cells; None: unrestricted."""
        own = check.own.address
        if check.subject.kind == "pod":
            number = self._c.row_of[check.subject.name, "" if own is None else str(own), check.direction]
        else:
            number = self._host_row(check, own)
        return None if number is None else self._c.merged.cells_of_row[number]

    def _host_row(self, check: Check, own: Address | None) -> int | None:
        found: int | None = None
        for position in self._host_rows.get((check.subject.name, check.direction, check.point), ()):
            place = self._c.host_rows[position].own
            if place is None:
                found = self._c.host_row_numbers[position]
            elif own is not None and place[0] == own.version and place[1] <= int(own) <= place[2]:
                return self._c.host_row_numbers[position]
        return found

    def _failsafe(self, check: Check) -> Bits:
        bits = self._nothing.copy()
        peer = check.peer.address
        for item in check.failsafe:
            if item.network is None or (peer is not None and peer in item.network):
                bits[self._c.l4.matches(port_match(item.protocol, item.port))] = True
        return bits
