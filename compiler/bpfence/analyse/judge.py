"""One packet judged by the IR, rule by rule: the exact path to its verdict in every layer.

In: a `Row` and the packet's peer and L4 facts. Out: `LayerOutcome`s, the same type that the decision tables carry.
"""

from __future__ import annotations

from dataclasses import dataclass

from bpfence.classify.decide import UNDECIDED, LayerOutcome, end_reason, open_outcome, rule_reason, spared_outcome
from bpfence.classify.rows import ActiveLayer, ActiveTier, Place, Row, place_matches
from bpfence.flows import ICMP_PROTOCOLS, PORT_PROTOCOLS
from bpfence.identity.named_ports import PortNumbers, Term, rule_terms
from bpfence.ir.nodes import Action, L4Match, Rule
from bpfence.ir.ranges import contains
from bpfence.selectors.fqdn import any_matches


@dataclass(frozen=True, slots=True)
class L4Facts:
    """The L4 part of a packet; None where the protocol has no such field or it can't be read."""

    protocol: int
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """``layers``: one outcome per layer with an active tier; ``logged``: LOG rules met on the way."""

    layers: tuple[LayerOutcome, ...]
    logged: tuple[Rule, ...] = ()

    @property
    def allowed(self) -> bool:
        return all(layer.allowed for layer in self.layers)

    @property
    def undecided(self) -> bool:
        """Whether the next point of the host endpoint is asked."""
        return self.allowed and any(layer.reason == UNDECIDED for layer in self.layers)


def judge(row: Row, peer: Place, l4: L4Facts, cluster: PortNumbers, *, itself: bool = False) -> Judgement:
    """The verdict of one direction. ``cluster``: every named port of the world. ``itself``: the peer is the subject,
    which sends to itself through a service.
    """
    peer = _with_query(row, peer, l4, cluster)
    logged: list[Rule] = []
    layers = tuple(_judge_layer(layer, row, peer, l4, cluster, logged, itself) for layer in row.layers)
    return Judgement(layers, tuple(logged))


def _with_query(row: Row, peer: Place, l4: L4Facts, cluster: PortNumbers) -> Place:
    """The peer; where DNS rules look into the packet, its name is what is asked for, not one that was learnt."""
    if not peer.fqdn:
        return peer
    rules = (rule for layer in row.layers for tier in layer.tiers for rule in tier.rules)
    named = (rule for rule in rules if any(match.dns_names is not None for match in rule.l4))
    terms = (term for rule in named for term in rule_terms(rule, row.direction, row.own_ports, cluster))
    asks = any(
        term.l4.dns_names is not None and l4_matches(term.l4, l4) and place_matches(term.peer, peer, row.node)
        for term in terms
    )
    return Place(peer.address, peer.holders, query=peer.fqdn) if asks else peer


def _judge_layer(
    layer: ActiveLayer, row: Row, peer: Place, l4: L4Facts, cluster: PortNumbers, logged: list[Rule], itself: bool
) -> LayerOutcome:
    for tier in layer.tiers:
        if itself and tier.tier.spares_itself:
            return spared_outcome(layer, tier)
        outcome = _judge_tier(layer.layer.name, tier, row, peer, l4, cluster, logged)
        if outcome is not None:
            return outcome
    return open_outcome(layer)


def _judge_tier(
    layer: str, tier: ActiveTier, row: Row, peer: Place, l4: L4Facts, cluster: PortNumbers, logged: list[Rule]
) -> LayerOutcome | None:
    for rule in tier.rules:
        if not rule_matches(rule, row, peer, l4, cluster):
            continue
        if rule.action is Action.LOG:
            logged.append(rule)
            continue
        if rule.action is Action.PASS:
            return None
        exempt = any(rule is item for item in tier.tier.exemptions(row.direction))
        reason = "exempt" if exempt else rule_reason(tier)
        return LayerOutcome(layer, rule.action is Action.ALLOW, reason, tier.tier.name, rule)
    if tier.isolating and tier.tier.end is Action.DENY:
        origins = tuple(section.origin for section in tier.isolating)
        return LayerOutcome(layer, False, end_reason(tier), tier.tier.name, None, origins)
    return None


def rule_matches(rule: Rule, row: Row, peer: Place, l4: L4Facts, cluster: PortNumbers) -> bool:
    """Whether the rule matches the packet (its own side is settled by the row)."""
    return any(
        _term_matches(term, peer, l4, row.node) for term in rule_terms(rule, row.direction, row.own_ports, cluster)
    )


def _term_matches(term: Term, peer: Place, l4: L4Facts, node: str) -> bool:
    if not l4_matches(term.l4, l4) or not place_matches(term.peer, peer, node):
        return False
    names = term.l4.dns_names
    if names is not None and not any_matches(names.patterns, names.profile, peer.query, any_query=True):
        return False
    return not any(l4_matches(place, l4) and place_matches(where, peer, node) for where, place in term.excluded)


def l4_matches(match: L4Match, l4: L4Facts) -> bool:
    """Whether the L4 facts satisfy a match without named ports. The name that a query asks for is not among them."""
    ports = l4.protocol in PORT_PROTOCOLS
    icmp = l4.protocol in ICMP_PROTOCOLS
    return (
        contains(match.protocols, l4.protocol)
        and contains(match.destination_ports, l4.destination_port if ports else None)
        and contains(match.source_ports, l4.source_port if ports else None)
        and contains(match.icmp_types, l4.icmp_type if icmp else None)
        and contains(match.icmp_codes, l4.icmp_code if icmp else None)
    )
