"""Named ports resolved: a rule's alternatives as terms of peers and numeric L4 matches.

In: a rule, the subject's own named ports, every number a name has in the cluster. Out: `Term`s, whose union is what
the rule matches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from bpfence.identity.world import PROTOCOL_WORDS, Entity
from bpfence.ir.expressions import ANYONE, HasObject, LabelOperator, LabelTest, PeerExpr, all_peers
from bpfence.ir.nodes import Direction, L4Match, NamedPort, Rule, Side
from bpfence.ir.ranges import contains

PortNumbers = Mapping[tuple[str, int], tuple[int, ...]]
"""(name, protocol) -> the numbers it has, sorted"""


@dataclass(frozen=True, slots=True)
class Term:
    """Matches a packet whose peer satisfies ``peer`` and whose L4 satisfies ``l4`` and that is in none of
    ``excluded``.
    """

    peer: PeerExpr
    l4: L4Match
    excluded: tuple[tuple[PeerExpr, L4Match], ...] = ()


def cluster_ports(entities: Iterable[Entity]) -> PortNumbers:
    """Every (name, protocol) of the entities with all its numbers."""
    numbers: dict[tuple[str, int], set[int]] = {}
    for entity in entities:
        for name, protocol, number in entity.ports:
            numbers.setdefault((name, protocol), set()).add(number)
    return {key: tuple(sorted(values)) for key, values in numbers.items()}


def own_names(rule: Rule, direction: Direction) -> frozenset[tuple[str, int]]:
    """The (name, protocol) pairs that the rule resolves on its subject."""
    own: Side = "destination" if direction is Direction.INGRESS else "source"
    return frozenset(
        (port.name, port.protocol)
        for match in rule.l4
        for port in (*match.named_ports, *match.not_named_ports)
        if port.side == own
    )


def rule_terms(rule: Rule, direction: Direction, own: PortNumbers, cluster: PortNumbers) -> tuple[Term, ...]:
    """The rule without named ports. ``own``: the subject's ports; ``cluster``: everybody's, for names on the peer's
    side.
    """
    peer_side: Side = "source" if direction is Direction.INGRESS else "destination"
    terms: list[Term] = []
    for match in rule.l4:
        terms.extend(_match_terms(rule.peer, match, peer_side, own, cluster))
    return tuple(terms)


def _match_terms(peer: PeerExpr, match: L4Match, peer_side: Side, own: PortNumbers, cluster: PortNumbers) -> list[Term]:
    if not match.named_ports and not match.not_named_ports:
        return [Term(peer, match)]
    plain = replace(match, named_ports=(), not_named_ports=())
    terms = [Term(peer, plain)]
    sides: tuple[Side, Side] = ("source", "destination")
    for side in sides:
        named = [port for port in match.named_ports if port.side == side]
        if named:
            terms = [new for term in terms for new in _with_names(term, named, side, peer_side, own, cluster)]
    excluded = tuple(
        (where, place)
        for port in match.not_named_ports
        for where, place in _named_places(port, peer_side, own, cluster)
    )
    return [replace(term, excluded=excluded) for term in terms]


def _with_names(
    term: Term, named: list[NamedPort], side: Side, peer_side: Side, own: PortNumbers, cluster: PortNumbers
) -> Iterator[Term]:
    """The term with the side's criterion widened to: the numeric ports, or one of the names."""
    numeric = term.l4.source_ports if side == "source" else term.l4.destination_ports
    if numeric is not None:
        yield term
    for port in named:
        if not contains(term.l4.protocols, port.protocol):
            continue
        for where, place in _named_places(port, peer_side, own, cluster):
            yield Term(all_peers(term.peer, where), _narrow(term.l4, place, side))


def _narrow(match: L4Match, place: L4Match, side: Side) -> L4Match:
    if side == "source":
        return replace(match, protocols=place.protocols, source_ports=place.source_ports)
    return replace(match, protocols=place.protocols, destination_ports=place.destination_ports)


def _named_places(
    port: NamedPort, peer_side: Side, own: PortNumbers, cluster: PortNumbers
) -> Iterator[tuple[PeerExpr, L4Match]]:
    """Where the name leads: (peers that have the number under the name, the L4 match of the number)."""
    on_peer = port.side == peer_side
    numbers = (cluster if on_peer else own).get((port.name, port.protocol), ())
    for number in numbers:
        ports = ((number, number),)
        protocols = ((port.protocol, port.protocol),)
        match = (
            L4Match(protocols, source_ports=ports)
            if port.side == "source"
            else L4Match(protocols, destination_ports=ports)
        )
        label = f"port:{PROTOCOL_WORDS[port.protocol]}:{port.name}:{number}"
        yield (HasObject(LabelTest((label,), LabelOperator.EXISTS)) if on_peer else ANYONE), match
