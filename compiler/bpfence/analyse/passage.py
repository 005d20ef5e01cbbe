"""One packet taken along its checks: what each endpoint on the way says, and what that makes together.

In: `Check`s and the packet's L4 facts. Out: `Finding`s, one per check and layer that had something to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bpfence.analyse.judge import Judgement, L4Facts, judge
from bpfence.analyse.path import Check, End, is_failsafe, skips
from bpfence.classify.classification import index_program
from bpfence.classify.decide import LayerOutcome
from bpfence.classify.rows import Place, Row, RowBuilder, Subject, place_of
from bpfence.classify.services import ServiceCell, find_cell, isolates, no_backend
from bpfence.flows import always_passes, host_housekeeping, node_housekeeping
from bpfence.identity.inventory import Address
from bpfence.identity.named_ports import cluster_ports
from bpfence.identity.world import Entity, World
from bpfence.ir.nodes import Direction, Point, Program

EARLY = (Point.UNTRACKED, Point.PRE_DNAT)
"""the points whose decision spares the host endpoint's later ones"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one layer says at one check. ``endpoint``: who was asked."""

    outcome: LayerOutcome
    endpoint: str
    point: Point
    side: Direction


@dataclass(frozen=True, slots=True)
class L4Packet:
    """The packet's L4 facts and its address family."""

    facts: L4Facts
    version: int

    def seen_by(self, check: Check) -> L4Facts:
        """The facts as the check sees them."""
        return self.facts if check.port is None else replace(self.facts, destination_port=check.port)


class Passage:
    """Takes packets along their checks in one program."""

    def __init__(self, program: Program, world: World, services: Sequence[ServiceCell] = ()) -> None:
        self._world = world
        self._services = services
        self._rows = RowBuilder(program, world, index_program(program, world))
        self._cluster = cluster_ports(world.entities)

    def take(self, checks: Iterable[Check], packet: L4Packet) -> tuple[Finding, ...]:
        """All checks in order, but for those that an earlier rule of the same host endpoint makes needless.

        A deny does not end the way: what others would say is part of the answer.
        """
        found: list[Finding] = []
        decided: list[Check] = []
        for check in checks:
            if any(skips(earlier, check) for earlier in decided):
                continue
            judgement = self._ask(check, packet)
            if judgement is None:
                continue
            found += [Finding(layer, check.subject.name, check.point, check.side) for layer in judgement.layers]
            if check.point in EARLY and any(layer.rule is not None for layer in judgement.layers):
                decided.append(check)
        return tuple(found)

    def row(self, check: Check) -> Row | None:
        """What decides at the check; None: nothing restricts it."""
        return self._rows.row(Subject(check.subject, check.own.address), check.direction, check.point)

    def _ask(self, check: Check, packet: L4Packet) -> Judgement | None:
        if check.closed:
            return Judgement((LayerOutcome("calico", False, check.closed),))
        row = self.row(check)
        facts = packet.seen_by(check)
        if row is None:
            return None
        if is_exempt(check, packet.version, facts):
            return _unasked(row, "exempt")
        if is_failsafe(check.failsafe, facts.protocol, facts.destination_port, check.peer.address):
            return _unasked(row, "failsafe")
        cell = self._service(check, facts)
        if cell is None:
            return judge(row, self._place(check.peer), facts, self._cluster)
        return self._judge_service(row, check, cell, facts)

    def _place(self, end: End) -> Place:
        if end.address is None:
            return Place(None, () if end.entity is None else (end.entity,), end.fqdn)
        return replace(place_of(end.address, self._world), fqdn=end.fqdn)

    def _service(self, check: Check, facts: L4Facts) -> ServiceCell | None:
        """The service that a workload's packet is sent to: it still carries the service's address there."""
        address: Address | None = check.peer.address
        if check.subject.kind != "pod" or check.direction is not Direction.EGRESS or address is None:
            return None
        return find_cell(self._services, address, facts.protocol, facts.destination_port)

    def _judge_service(self, row: Row, check: Check, cell: ServiceCell, facts: L4Facts) -> Judgement:
        """As every ready backend is judged at its target port: the first that is denied, else the first."""
        if not cell.backends:
            return self._without_backend(row, check, cell, facts)
        judgements = [
            self._judge_backend(row, check.subject, address, replace(facts, destination_port=port))
            for address, port in cell.backends
        ]
        return next((item for item in judgements if not item.allowed), judgements[0])

    def _judge_backend(self, row: Row, subject: Entity, address: Address, facts: L4Facts) -> Judgement:
        """Where the rules deny a backend that is the subject itself, what spares it is asked."""
        place = place_of(address, self._world)
        found = judge(row, place, facts, self._cluster)
        if found.allowed or address not in subject.addresses:
            return found
        return judge(row, place, facts, self._cluster, itself=True)

    def _without_backend(self, row: Row, check: Check, cell: ServiceCell, facts: L4Facts) -> Judgement:
        if isolates(row):
            return Judgement(no_backend(row, cell).layers)
        return judge(row, self._place(check.peer), facts, self._cluster)


def _unasked(row: Row, reason: str) -> Judgement:
    """The packet passes this check without a policy being asked; later ones are asked."""
    return Judgement(tuple(LayerOutcome(layer.layer.name, True, reason) for layer in row.layers))


def is_exempt(check: Check, version: int, facts: L4Facts) -> bool:
    """Whether no policy decides the packet at the check's endpoint."""
    match check.subject.kind:
        case "hostendpoint":
            return host_housekeeping(version, facts.protocol, facts.icmp_type)
        case "node":
            return node_housekeeping(version, facts.protocol, facts.icmp_type, facts.icmp_code)
        case _:
            return always_passes(version, facts.protocol, facts.icmp_type, facts.icmp_code)
