"""The whole classification: a program and a world to rows, classes and decisions.

In: `Program`, `World`, the subjects. Out: `Classification`, everything the plan and the analyses need, still with
every decision's rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.decide import RowDecisions, decide_row, grouped
from bpfence.classify.failsafes import failsafe_match, failsafe_place, failsafe_ports, open_failsafes
from bpfence.classify.host_own import OwnRows, own_distinctions, own_rows
from bpfence.classify.host_services import NumberedRow, service_rows
from bpfence.classify.hosts import HostRow, host_rows
from bpfence.classify.l4 import L4Atoms, cut_l4
from bpfence.classify.merge import MergedTables, merge_rows
from bpfence.classify.own_services import Kind, OwnServices
from bpfence.classify.peers import PeerClasses, classify_peers
from bpfence.classify.rows import Row, RowBuilder, Subject, used_rules
from bpfence.classify.services import ServiceCell, fill_service_cells, port_match
from bpfence.classify.stateless import Marks, hosts_may_decide, row_pairs, stateless_marks
from bpfence.identity.inventory import HostSettings
from bpfence.identity.labels import LabelIndex, index_labels
from bpfence.identity.named_ports import PortNumbers, Term, cluster_ports, rule_terms
from bpfence.identity.world import PROTOCOL_WORDS, Entity, World
from bpfence.ir.expressions import HasObject, OnOwnNode, PeerExpr
from bpfence.ir.nodes import Direction, L4Match, Program, Rule, Tier
from bpfence.ir.walk import label_tests, peer_leaves
from bpfence.plan.layout import CELL_STATELESS

RowNumbers = dict[tuple[str, str, Direction], int | None]
"""(entity name, own address as text, direction) -> row; None: unrestricted"""
PROVENANCE_BUDGET = 256 * 1024
"""bytes of cells up to which they carry decision numbers: beyond it numbers would cost cache lines, and the artefact
knows the rules
"""


@dataclass(frozen=True, slots=True)
class Classification:
    """``rows``: distinct rows in first-use order with their decisions. ``row_of``: (entity name, own address as text,
    direction) -> row. ``host_rows``: those of hosts; ``host_row_numbers``: the row of each, None = unrestricted.
    """

    peers: PeerClasses
    l4: L4Atoms
    rows: tuple[RowDecisions, ...]
    row_of: Mapping[tuple[str, str, Direction], int | None]
    merged: MergedTables
    host_rows: tuple[HostRow, ...] = ()
    host_row_numbers: tuple[int | None, ...] = ()
    own_rows: OwnRows = field(default_factory=lambda: OwnRows({}, False))
    """the hosts' rows by the class of the own address"""
    notrack: bool = False
    """flows that need no state are marked in the cells and not remembered"""

    @property
    def left_out(self) -> tuple[int, int]:
        """(cells whose flows are not remembered, all cells) of the distinct rows of workloads, as they are merged.

        Flows of endpoints that nothing restricts need no state either, and have no cells.
        """
        distinct = {self.merged.cells_of_row[row] for row in self.row_of.values() if row is not None}
        if not self.notrack or not distinct:
            return 0, 0
        cells = np.stack([self.merged.rows[number].whole() for number in sorted(distinct)])
        return int(np.count_nonzero(cells & CELL_STATELESS)), cells.size


def subjects_of(entities: Iterable[Entity]) -> Iterator[Subject]:
    """Each endpoint through each of its addresses; a template once, without."""
    for entity in entities:
        for address in entity.addresses or (None,):
            yield Subject(entity, address)


def index_program(program: Program, world: World, extra: Iterable[str] = ()) -> LabelIndex:
    """Label profiles of the world's entities, fine enough for every expression and the ``extra`` keys."""
    keys: set[str] = {*extra, "meta:kind"}
    if _uses_own_node(program):
        keys.add("meta:name")
    for layer in program.layers:
        for tier in layer.tiers:
            for policy in tier.policies:
                for test in label_tests(policy.subject):
                    keys.update(test.keys)
            for rule in _tier_rules(tier):
                for peer in (rule.peer, rule.own):
                    keys.update(_peer_keys(peer))
                keys.update(_port_keys(rule.l4, world))
    return index_labels(world.entities, keys)


def classify(
    program: Program,
    world: World,
    subjects: Sequence[Subject],
    merge: bool = True,
    services: Sequence[ServiceCell] = (),
    hosts: Sequence[Entity] = (),
    settings: HostSettings | None = None,
    extra: Sequence[tuple[PeerExpr, L4Match]] = (),
    notrack: bool = False,
) -> Classification:
    """Decide every packet of every subject, packets to service addresses included.

    ``hosts``: host endpoints and nodes that are subjects too, ``settings``: the node's. ``extra``: distinctions to keep
    although no rule makes them. ``notrack``: mark flows that need no state.
    """
    labels = index_program(program, world)
    builder = RowBuilder(program, world, labels)
    rows: dict[int, tuple[int, Row]] = {}
    row_of: RowNumbers = {}
    for subject in subjects:
        for direction in Direction:
            row = builder.row(subject, direction)
            number = None if row is None else rows.setdefault(id(row), (len(rows), row))[0]
            row_of[subject.entity.name, address_text(subject), direction] = number
    workload_rows = len(rows)
    of_hosts = host_rows(program, world, builder, labels, hosts) if hosts else ()
    host_numbers = tuple(
        None if item.row is None else rows.setdefault(id(item.row), (len(rows), item.row))[0] for item in of_hosts
    )
    ordered = [row for _, row in rows.values()]
    cluster = cluster_ports(world.entities)
    terms = [term for row in ordered for term in _row_terms(row, cluster)]
    nodes = [row.node for row in ordered]
    ports = [port_match(cell.protocol, n) for cell in services for n in (cell.port, *(b[1] for b in cell.backends))]
    places = [*(cell.place for cell in services), *(place for place, _ in extra)]
    asked = {row.host for row in of_hosts}
    places += own_distinctions(of_hosts, [host for host in hosts if host.name in asked], world)
    failsafes = {way: failsafe_ports(settings, way) if settings and asked else () for way in Direction}
    places += [failsafe_place(port) for found in failsafes.values() for port in found]
    ports += [failsafe_match(port) for found in failsafes.values() for port in found]
    peers = classify_peers(world.entities, labels, (*_term_peers(terms), *places), nodes)
    l4 = cut_l4((*_term_l4(terms), *ports, *(match for _, match in extra)))
    judged = [grouped(decide_row(row, peers, l4, cluster)) for row in ordered]
    decided = [
        grouped(fill_service_cells(row, services, peers, l4))
        if at < workload_rows
        else grouped(open_failsafes(row, failsafes[row.row.direction], peers, l4))
        for at, row in enumerate(judged)
    ]
    _add_own_services(OwnServices(services, peers, l4, cluster), subjects, row_of, judged, decided)
    numbered = [NumberedRow(item, number) for item, number in zip(of_hosts, host_numbers, strict=True)]
    at_services = service_rows(hosts, world, numbered, decided, services, l4)
    of_hosts = (*(row.item for row in at_services), *of_hosts)
    host_numbers = (*(row.number for row in at_services), *host_numbers)
    decided, row_of, host_numbers = _without_unused(decided, row_of, host_numbers)
    own = own_rows(of_hosts, host_numbers, peers)
    marks: list[Marks | None] = [None] * len(decided)
    if notrack and not hosts_may_decide(of_hosts, host_numbers, hosts, settings):
        others = {number for number in host_numbers if number is not None}
        marks = stateless_marks(decided, row_pairs(row_of), others, peers, l4)
    merged = _merge(decided, peers, l4, merge, own.columns(), marks)
    return Classification(peers, l4, tuple(decided), row_of, merged, of_hosts, host_numbers, own, notrack)


def _add_own_services(
    own: OwnServices,
    subjects: Iterable[Subject],
    row_of: RowNumbers,
    judged: Sequence[RowDecisions],
    decided: list[RowDecisions],
) -> None:
    """Rows of their own for subjects that are spared at a service that they are behind."""
    made: dict[tuple[int, Kind], int] = {}
    for subject in subjects:
        place = (subject.entity.name, address_text(subject), Direction.EGRESS)
        number, kind = row_of[place], own.kind(subject)
        if number is None or not kind:
            continue
        if (number, kind) not in made:
            row = own.row(subject, kind, judged[number], decided[number])
            made[number, kind] = number if row is None else len(decided)
            decided.extend(() if row is None else (row,))
        row_of[place] = made[number, kind]


def _without_unused(
    rows: list[RowDecisions], row_of: RowNumbers, host_numbers: tuple[int | None, ...]
) -> tuple[list[RowDecisions], RowNumbers, tuple[int | None, ...]]:
    """The rows that somebody has, and everybody's number among them."""
    used = sorted({number for number in (*row_of.values(), *host_numbers) if number is not None})
    if len(used) == len(rows):
        return rows, row_of, host_numbers
    place: dict[int | None, int | None] = {old: new for new, old in enumerate(used)} | {None: None}
    kept = [rows[number] for number in used]
    return kept, {key: place[old] for key, old in row_of.items()}, tuple(place[old] for old in host_numbers)


def _merge(
    rows: Sequence[RowDecisions],
    peers: PeerClasses,
    l4: L4Atoms,
    merge: bool,
    apart: Sequence[NDArray[np.int64]],
    marks: Sequence[Marks | None],
) -> MergedTables:
    merged = merge_rows(rows, peers.count, l4.count, provenance=True, merge=merge, apart=apart, marks=marks)
    if not merge or merged.cell_count * 2 <= PROVENANCE_BUDGET:
        return merged
    return merge_rows(rows, peers.count, l4.count, provenance=False, apart=apart, marks=marks)


def address_text(subject: Subject) -> str:
    """The own address as in ``row_of``; empty for none."""
    return "" if subject.address is None else str(subject.address)


def _row_terms(row: Row, cluster: PortNumbers) -> Iterator[Term]:
    for rule in used_rules((row,)):
        yield from rule_terms(rule, row.direction, row.own_ports, cluster)


def _term_peers(terms: Iterable[Term]) -> Iterator[PeerExpr]:
    for term in terms:
        yield term.peer
        for where, _ in term.excluded:
            yield where


def _term_l4(terms: Iterable[Term]) -> Iterator[L4Match]:
    for term in terms:
        yield term.l4
        for _, place in term.excluded:
            yield place


def _tier_rules(tier: Tier) -> Iterator[Rule]:
    yield from tier.exempt_ingress
    yield from tier.exempt_egress
    for policy in tier.policies:
        for section in (policy.ingress, policy.egress):
            if section is not None:
                yield from section.rules


def _uses_own_node(program: Program) -> bool:
    rules = (rule for layer in program.layers for tier in layer.tiers for rule in _tier_rules(tier))
    return any(isinstance(leaf, OnOwnNode) for rule in rules for leaf in peer_leaves(rule.peer))


def _peer_keys(peer: PeerExpr) -> Iterator[str]:
    for leaf in peer_leaves(peer):
        if isinstance(leaf, HasObject):
            for test in label_tests(leaf.labels):
                yield from test.keys


def _port_keys(matches: tuple[L4Match, ...], world: World) -> Iterator[str]:
    names = {port.name for match in matches for port in (*match.named_ports, *match.not_named_ports)}
    if not names:
        return
    for entity in world.entities:
        for name, protocol, number in entity.ports:
            if name in names:
                yield f"port:{PROTOCOL_WORDS[protocol]}:{name}:{number}"
