"""The meaning of IR expressions, decided by brute force on one object, one address or one packet at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from bpfence.ir.expressions import (
    HasObject,
    InPrefixes,
    LabelAll,
    LabelAny,
    LabelExpr,
    LabelNot,
    LabelOperator,
    LabelTest,
    LearntName,
    OnOwnNode,
    PeerAll,
    PeerAny,
    PeerExpr,
    PeerNot,
)
from bpfence.ir.nodes import Action, Direction, DnsNames, L4Match, Layer, NamedPort, Program, Ranges, tier_rules
from bpfence.selectors.fqdn import any_matches

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Place:
    """An address with the labels of every object that has it.

    ``own_node``: it is the subject's node's. ``fqdn``: the name it was learnt for.
    """

    address: IPv4Address | IPv6Address
    objects: tuple[Labels, ...] = ()
    own_node: bool = False
    fqdn: str = ""


@dataclass(frozen=True)
class Packet:
    """A field is None where the packet has none. ``named``: ports that the endpoints have under a name."""

    protocol: int
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    named: frozenset[tuple[NamedPort, int]] = frozenset()
    query: str = ""


def selects(expr: LabelExpr, labels: Labels) -> bool:
    """Whether the object with these labels satisfies the expression."""
    match expr:
        case LabelTest():
            return _holds(expr, next((labels[key] for key in expr.keys if key in labels), None))
        case LabelAll(items):
            return all(selects(item, labels) for item in items)
        case LabelAny(items):
            return any(selects(item, labels) for item in items)
        case LabelNot(item):
            return not selects(item, labels)


def means(expr: PeerExpr, place: Place) -> bool:
    """Whether the address satisfies the expression."""
    match expr:
        case HasObject(labels):
            return any(selects(labels, item) for item in place.objects)
        case InPrefixes(networks):
            return any(place.address in network for network in networks)
        case OnOwnNode():
            return place.own_node
        case LearntName(patterns, profile):
            return any_matches(patterns, profile, place.fqdn)
        case PeerAll(items):
            return all(means(item, place) for item in items)
        case PeerAny(items):
            return any(means(item, place) for item in items)
        case PeerNot(item):
            return not means(item, place)


def matches(alternatives: tuple[L4Match, ...], packet: Packet) -> bool:
    """Whether the packet satisfies one of the alternatives."""
    return any(_satisfies(alternative, packet) for alternative in alternatives)


def _holds(test: LabelTest, value: str | None) -> bool:
    match test.operator:
        case LabelOperator.IN:
            return value in test.values
        case LabelOperator.NOT_IN:
            return value not in test.values
        case LabelOperator.EXISTS:
            return value is not None
        case LabelOperator.ABSENT:
            return value is None
        case LabelOperator.CONTAINS:
            return value is not None and test.values[0] in value
        case LabelOperator.STARTS_WITH:
            return value is not None and value.startswith(test.values[0])
        case LabelOperator.ENDS_WITH:
            return value is not None and value.endswith(test.values[0])


def _satisfies(match: L4Match, packet: Packet) -> bool:
    return (
        _in(match.protocols, packet.protocol)
        and _in(match.icmp_types, packet.icmp_type)
        and _in(match.icmp_codes, packet.icmp_code)
        and _port_matches(match, "destination", match.destination_ports, packet)
        and _port_matches(match, "source", match.source_ports, packet)
        and not any(_is_named(port, packet) for port in match.not_named_ports)
        and (match.dns_names is None or _asks_for(match.dns_names, packet.query))
    )


def _asks_for(names: DnsNames, query: str) -> bool:
    return any_matches(names.patterns, names.profile, query, any_query=True)


def _in(ranges: Ranges | None, value: int | None) -> bool:
    if ranges is None:
        return True
    return value is not None and any(low <= value <= high for low, high in ranges)


def _port_matches(match: L4Match, side: str, ranges: Ranges | None, packet: Packet) -> bool:
    names = [port for port in match.named_ports if port.side == side]
    number = packet.destination_port if side == "destination" else packet.source_port
    if not names:
        return _in(ranges, number)
    return (ranges is not None and _in(ranges, number)) or any(_is_named(port, packet) for port in names)


def _is_named(port: NamedPort, packet: Packet) -> bool:
    number = packet.destination_port if port.side == "destination" else packet.source_port
    return port.protocol == packet.protocol and number is not None and (port, number) in packet.named


def decide(
    program: Program, subject: Labels, own: Place, peer: Place, packet: Packet, direction: Direction
) -> tuple[tuple[str, ...], ...]:
    """What each layer does with the packet, in words: every rule noted on the way with its origin, then the verdict."""
    return tuple(tuple(_layer_steps(layer, subject, own, peer, packet, direction)) for layer in program.layers)


def _layer_steps(
    layer: Layer, subject: Labels, own: Place, peer: Place, packet: Packet, direction: Direction
) -> Iterator[str]:
    for tier in layer.tiers:
        selecting = tuple(
            policy
            for policy in tier.policies
            if policy.section(direction) is not None and selects(policy.subject, subject)
        )
        if not selecting:
            continue
        hits = (
            rule
            for rule in tier_rules(tier, selecting, direction)
            if means(rule.peer, peer) and means(rule.own, own) and matches(rule.l4, packet)
        )
        for rule in hits:
            yield f"{rule.action} {rule.origin}"
            if rule.action in (Action.ALLOW, Action.DENY):
                return
            if rule.action is Action.PASS:
                break
        else:
            isolates = any(policy.section(direction).isolates for policy in selecting)  # type: ignore[union-attr]
            if isolates and tier.end is Action.DENY:
                yield f"end of {tier.name}"
                return
    yield "unmatched"
