"""Who may talk to whom where hosts are policed: every endpoint on a flow's way must let it pass.

In: the program and the world, whose host endpoints and nodes are subjects here. Out: `HostAnswers`. Nothing of the
classification is merged, since a packet may be asked about at several places and ports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bpfence.analyse.endpoint_connectivity import services_at_others, workload_name
from bpfence.analyse.outside import outside_runs
from bpfence.analyse.parties import own_addresses
from bpfence.analyse.path import Arrival, Check, End, Paths, Way
from bpfence.analyse.roles import Role, make_role, meetings
from bpfence.analyse.set_numbers import NOTHING, Numbers, SetNumbers
from bpfence.classify.classification import Classification, classify, subjects_of
from bpfence.classify.services import ServiceCell, port_match
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


def polices_hosts(program: Program, world: World, settings_of: Callable[[str], HostSettings]) -> bool:
    """Whether host endpoints, policies that select nodes, or a setting of some node have a say."""
    if any(entity.kind == "hostendpoint" for entity in world.entities):
        return True
    if any(settings_of(node).workload_to_host == "Drop" for node in world.nodes):
        return True
    policies = (policy for layer in program.layers for tier in layer.tiers for policy in tier.policies)
    tests = (test for policy in policies for test in label_tests(policy.subject))
    return any("meta:kind" in test.keys and "node" in test.values for test in tests)


def classify_with_hosts(
    program: Program, world: World, settings_of: Callable[[str], HostSettings], services: Sequence[ServiceCell]
) -> Classification:
    """Everybody as a subject; own addresses and failsafe ports kept apart."""
    hosts = tuple(entity for entity in world.entities if entity.kind in ("hostendpoint", "node"))
    settings = [settings_of(node) for node in sorted({host.node for host in hosts})]
    ports = dict.fromkeys(port for item in settings for port in (*item.failsafe_ingress, *item.failsafe_egress))
    extra = [*(_failsafe(port) for port in ports), *((place, L4Match()) for place in _own_sides(program, world))]
    subjects = tuple(subjects_of(world.pods))
    return classify(program, world, subjects, merge=False, services=services, hosts=hosts, extra=extra)


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


class HostAnswers:
    """Numbers of what may pass, asked pair by pair, as endpoints of hosts look at both ends."""

    def __init__(
        self,
        program: Program,
        world: World,
        settings_of: Callable[[str], HostSettings],
        services: Sequence[ServiceCell],
    ) -> None:
        self._world = world
        self._services = tuple(services_at_others(services, world))
        self._paths = Paths(world, settings_of)
        self._settings_of = settings_of
        self.classification = classify_with_hosts(program, world, settings_of, self._services)
        self.sets = SetNumbers(self.classification.merged.l4)
        self._table = HostTable(self.classification, self._paths)
        talkers = tuple(self._talkers())
        self._ends = {talker.same: talker.end for talker in talkers}
        self.senders: Role[tuple[object, ...]] = make_role((item.name, item.same, item.family) for item in talkers)
        self.receivers = self.senders
        self.runs = outside_runs(self.classification.peers.atoms, world)
        self._outside = [self._outside_end(run) for run in range(len(self.runs.bounds))]
        self._known: dict[tuple[tuple[object, ...], tuple[object, ...]], int] = {}

    def between(self, sender: int) -> Numbers:
        """From a kind of senders to every kind of receivers."""
        source = self.senders.keys[sender]
        met = meetings(int(self.senders.families[sender]), self.receivers.families)
        wanted: Bits = np.logical_or.reduce(list(met.values()))
        return np.array(
            [
                self._number(source, self._ends[source], other, self._ends[other]) if meets else NOTHING
                for other, meets in zip(self.receivers.keys, wanted.tolist(), strict=True)
            ],
            dtype=np.int64,
        )

    def outwards(self, sender: int) -> Numbers:
        """From a kind of senders to every run of outside addresses."""
        source = self.senders.keys[sender]
        family = int(self.senders.families[sender])
        return self._runs(family, lambda same, end: self._number(source, self._ends[source], same, end))

    def inwards(self, receiver: int) -> Numbers:
        """From every run of outside addresses to a kind of receivers."""
        target = self.receivers.keys[receiver]
        family = int(self.receivers.families[receiver])
        return self._runs(family, lambda same, end: self._number(same, end, target, self._ends[target]))

    def _runs(self, family: int, number_of: Callable[[tuple[object, ...], End], int]) -> Numbers:
        versions = self.runs.families.tolist()
        return np.array(
            [
                number_of(same, end) if family in (0, version) else NOTHING
                for version, (same, end) in zip(versions, self._outside, strict=True)
            ],
            dtype=np.int64,
        )

    def _number(self, source: tuple[object, ...], sender: End, destination: tuple[object, ...], receiver: End) -> int:
        known = self._known.get((source, destination))
        if known is None:
            known = self._known[source, destination] = self.sets.number(self._bits(sender, receiver))
        return known

    def _bits(self, source: End, destination: End) -> Bits:
        """The L4 classes that may pass. One node's host endpoints, and its other addresses, are one host."""
        if source.is_host and destination.is_host and source.node == destination.node:
            return self._table.nothing
        bits = self._table.bits(Way(source, destination))
        for cell in self._cells_at(destination):
            way = Way(source, destination, backends=tuple(self._arrival(*backend) for backend in cell.backends))
            bits = np.where(self._table.at_port(cell.l4), self._table.bits(way, cell), bits)
        return bits

    def _cells_at(self, end: End) -> Iterator[ServiceCell]:
        """The services that answer at the end's address."""
        yield from (cell for cell in self._services if end.address in cell.addresses)

    def _arrival(self, address: Address, port: int) -> Arrival:
        return Arrival(End(_holder(address, self._world), address), port)

    def _talkers(self) -> Iterator[Talker]:
        """Workloads, and host endpoints where they police something."""
        for entity in self._world.entities:
            addresses: tuple[Address | None, ...] = own_addresses(entity, self._world) or (None,)
            if entity.kind == "pod":
                name = workload_name(entity)
            elif entity.kind == "hostendpoint":
                name = f"{entity.name}[HostEndpoint]"
                hosts = self._paths.hosts(entity.node)
                addresses = tuple(item for item in addresses if hosts.winner(entity, item) is entity)
            else:
                continue
            for address in addresses:
                yield self._talker(name, End(entity, address))

    def _talker(self, name: str, end: End) -> Talker:
        assert end.entity is not None
        own = "" if end.address is None else str(end.address)
        rows = tuple(self.classification.row_of.get((end.entity.name, own, direction)) for direction in Direction)
        family = 0 if end.address is None else end.address.version
        who = ("pod",) if end.is_pod else (end.entity.name, own)
        return Talker(name, family, end, (*who, self._table.peer_class(end), self._node(end.node), *rows))

    def _node(self, node: str) -> str:
        """The node as far as it matters which one it is: where its hosts have no say, nobody is asked about it."""
        speaks = self._paths.hosts(node).all or self._table.polices(f"node/{node}")
        return node if speaks or self._settings_of(node).workload_to_host == "Drop" else ""

    def _outside_end(self, run: int) -> tuple[tuple[object, ...], End]:
        """The run's first address and what follows it in its atom; a node's own address stands for the node."""
        address = self.runs.first(run)
        node = next((item for item in self._world.entities_at(address) if item.kind == "node"), None)
        end = End(node, address)
        who = ("outside",) if node is None else (node.name, str(address))
        return (*who, self._table.peer_class(end)), end


def _holder(address: Address, world: World) -> Entity | None:
    """Who has the address, workloads first."""
    holders = world.entities_at(address)
    kinds = ("pod", "node", "hostendpoint", "service")
    return next((item for kind in kinds for item in holders if item.kind == kind), None)


class HostTable:
    """Allowed L4 classes of ways, looked up in the cells of everybody who is asked."""

    def __init__(self, classification: Classification, paths: Paths) -> None:
        self._c = classification
        self._paths = paths
        merged = classification.merged
        self._allow = [(cells & CELL_ALLOW) != 0 for cells in merged.cells]
        self._next = [(cells & CELL_NEXT) != 0 for cells in merged.cells]
        self.nothing: Bits = np.zeros(merged.l4, dtype=bool)
        self._host_rows: dict[tuple[str, Direction, Point], list[int]] = {}
        for position, item in enumerate(classification.host_rows):
            self._host_rows.setdefault((item.host, item.direction, item.point), []).append(position)
        self._hosts = frozenset(item.host for item in classification.host_rows)

    def polices(self, host: str) -> bool:
        """Whether something restricts the host somewhere."""
        return host in self._hosts

    def peer_class(self, end: End) -> int:
        """The peer class of the end."""
        peers = self._c.peers
        if end.address is not None:
            return int(peers.class_of[peers.atoms.atom_of(end.address)])
        assert end.entity is not None
        return int(peers.templates[end.entity.name])

    def at_port(self, match: L4Match) -> Bits:
        """The L4 classes of a match as bits."""
        bits = self.nothing.copy()
        bits[self._c.l4.matches(match)] = True
        return bits

    def bits(self, way: Way, cell: ServiceCell | None = None) -> Bits:
        """The L4 classes that may pass everybody who is asked on the way. ``cell``: the service that the way leads
        through; only the classes at its port mean something then.
        """
        allowed = ~self.nothing
        skipped: dict[tuple[str, Direction], Bits] = {}
        for check in self._paths.checks(way):
            if check.closed:
                return self.nothing
            row = self._row(check)
            if row is None:
                continue
            key = (check.subject.name, check.direction)
            spared = skipped.get(key, self.nothing) | self._seen(check, cell, self._failsafe(check))
            peer = self.peer_class(check.peer)
            passed = self._seen(check, cell, self._allow[row][peer]) & ~spared
            allowed &= passed | self._seen(check, cell, self._next[row][peer]) | spared
            ways = tuple(Direction) if check.point is Point.UNTRACKED else (Direction.INGRESS,)
            for direction in ways if check.point in EARLY else ():
                place = (check.subject.name, direction)
                skipped[place] = skipped.get(place, self.nothing) | passed
        return allowed

    def _seen(self, check: Check, cell: ServiceCell | None, bits: Bits) -> Bits:
        """What the check says about packets, by their classes on the wire: it may see a service's target port."""
        if cell is None or check.port is None:
            return bits
        result = bits.copy()
        result[self._c.l4.matches(cell.l4)] = bits[self._c.l4.matches(port_match(cell.protocol, check.port))]
        return result

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
        bits = self.nothing.copy()
        peer = check.peer.address
        for item in check.failsafe:
            if item.network is None or (peer is not None and peer in item.network):
                bits[self._c.l4.matches(port_match(item.protocol, item.port))] = True
        return bits
