"""The whole classification: a program and a world to rows, classes and decisions.

In: `Program`, `World`, the subjects. Out: `Classification`, everything the plan and the analyses need, still with
every decision's rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bpfence.classify.decide import RowDecisions, decide_row
from bpfence.classify.hosts import HostRow, host_rows
from bpfence.classify.l4 import L4Atoms, cut_l4
from bpfence.classify.merge import MergedTables, merge_rows
from bpfence.classify.peers import PeerClasses, classify_peers
from bpfence.classify.rows import Row, RowBuilder, Subject, used_rules
from bpfence.classify.services import ServiceCell, fill_service_cells, port_match
from bpfence.identity.labels import LabelIndex, index_labels
from bpfence.identity.named_ports import PortNumbers, Term, cluster_ports, rule_terms
from bpfence.identity.world import PROTOCOL_WORDS, Entity, World
from bpfence.ir.expressions import HasObject, OnOwnNode, PeerExpr
from bpfence.ir.nodes import Direction, L4Match, Program, Rule, Tier
from bpfence.ir.walk import label_tests, peer_leaves

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
    extra: Sequence[tuple[PeerExpr, L4Match]] = (),
) -> Classification:
    """Decide every packet of every subject, packets to service addresses included.

    ``hosts``: host endpoints and nodes that are subjects too. ``extra``: distinctions to keep although no rule makes
    them.
    """
    labels = index_program(program, world)
    builder = RowBuilder(program, world, labels)
    rows: dict[int, tuple[int, Row]] = {}
    row_of: dict[tuple[str, str, Direction], int | None] = {}
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
    places = [*(cell.place for cell in services), *(place for place, _ in extra)]
    ports = [port_match(cell.protocol, n) for cell in services for n in (cell.port, *(b[1] for b in cell.backends))]
    peers = classify_peers(world.entities, labels, (*_term_peers(terms), *places), nodes)
    l4 = cut_l4((*_term_l4(terms), *ports, *(match for _, match in extra)))
    decided = tuple(
        fill_service_cells(decide_row(row, peers, l4, cluster), services if at < workload_rows else (), peers, l4)
        for at, row in enumerate(ordered)
    )
    merged = _merge(decided, peers, l4, merge)
    return Classification(peers, l4, decided, row_of, merged, of_hosts, host_numbers)


def _merge(rows: tuple[RowDecisions, ...], peers: PeerClasses, l4: L4Atoms, merge: bool) -> MergedTables:
    merged = merge_rows(rows, peers.count, l4.count, provenance=True, merge=merge)
    if not merge or sum(cells.nbytes for cells in merged.cells) <= PROVENANCE_BUDGET:
        return merged
    return merge_rows(rows, peers.count, l4.count, provenance=False)


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
