"""One Calico rule in, the consecutive IR rules that together mean the same out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import assert_never

from bpfence.dialects.calico.context import Context
from bpfence.dialects.calico.model import IcmpFields, Rule
from bpfence.dialects.calico.peers import port_holders, side_expression
from bpfence.dialects.calico.ports import PortCase, port_cases, service_addresses, service_cases
from bpfence.dialects.calico.values import ICMP_NUMBERS, read_cidr, read_protocol
from bpfence.flows import PORT_PROTOCOLS
from bpfence.ir import nodes
from bpfence.ir.expressions import InPrefixes, PeerExpr, all_peers
from bpfence.ir.nodes import Action, Direction, L4Match, Origin, Ranges
from bpfence.ir.ranges import complement, normalise

ACTIONS = {"Allow": Action.ALLOW, "Deny": Action.DENY, "Pass": Action.PASS, "Log": Action.LOG}
EVERY_PROTOCOL = frozenset(range(256))
_WHOLE_FAMILY = {4: InPrefixes((IPv4Network("0.0.0.0/0"),)), 6: InPrefixes((IPv6Network("::/0"),))}
_ICMP_VALUES = (0, 255)


@dataclass(frozen=True, slots=True)
class IcmpCase:
    """One alternative of the protocol and ICMP criteria. None: no criterion."""

    protocols: frozenset[int] | None
    types: Ranges | None = None
    codes: Ranges | None = None


def lower_rule(
    rule: Rule, direction: Direction, namespace: str, origin: Origin, context: Context
) -> tuple[nodes.Rule, ...]:
    """The rules in order, all with the same action and origin; none when the rule can't match any packet.

    ``namespace``: the policy's, empty for a global one.
    """
    families = rule_families(rule)
    if not families:
        return ()
    icmp = tuple(_icmp_cases(rule))
    source = side_expression(rule.source, namespace, context)
    destination = side_expression(rule.destination, namespace, context)
    groups: dict[tuple[PeerExpr, PeerExpr], list[L4Match]] = {}
    for from_case, to_case in _case_pairs(rule, direction, namespace, context):
        matches = [match for case in icmp if (match := _l4_match(from_case, to_case, case)) is not None]
        if matches:
            sides = (all_peers(source, from_case.where), all_peers(destination, to_case.where))
            groups.setdefault(sides, []).extend(matches)
    return tuple(
        _ir_rule(rule, direction, _restricted(sides, families, rule, direction), matches, origin)
        for sides, matches in groups.items()
    )


def rule_families(rule: Rule) -> frozenset[int]:
    """The address families the rule can match: by ipVersion, else the protocol's name, and by every network listed."""
    families = {4, 6}
    if rule.ip_version is not None:
        families = {rule.ip_version}
    elif rule.protocol is not None and (implied := read_protocol(rule.protocol).family) is not None:
        families = {implied}
    for entity in (rule.source, rule.destination):
        for text in (*entity.nets, *entity.not_nets):
            families &= {read_cidr(text).version}
    return frozenset(families)


def _ir_rule(
    rule: Rule, direction: Direction, sides: tuple[PeerExpr, PeerExpr], matches: list[L4Match], origin: Origin
) -> nodes.Rule:
    own, peer = _own_and_peer(direction, *sides)
    return nodes.Rule(ACTIONS[rule.action], peer, tuple(dict.fromkeys(matches)), origin, own)


def _own_and_peer(direction: Direction, source: PeerExpr, destination: PeerExpr) -> tuple[PeerExpr, PeerExpr]:
    match direction:
        case Direction.INGRESS:
            return destination, source
        case Direction.EGRESS:
            return source, destination
        case _:
            assert_never(direction)


def _restricted(
    sides: tuple[PeerExpr, PeerExpr], families: frozenset[int], rule: Rule, direction: Direction
) -> tuple[PeerExpr, PeerExpr]:
    """The remote side limited to the rule's family, unless its networks say so already."""
    source, destination = sides
    remote = rule.source if direction is Direction.INGRESS else rule.destination
    if len(families) > 1 or remote.nets:
        return sides
    limit = _WHOLE_FAMILY[min(families)]
    if direction is Direction.INGRESS:
        return all_peers(limit, source), destination
    return source, all_peers(limit, destination)


def _base_protocols(rule: Rule) -> frozenset[int] | None:
    """By protocol and notProtocol; None: no criterion."""
    if rule.protocol is None and rule.not_protocol is None:
        return None
    base = EVERY_PROTOCOL if rule.protocol is None else frozenset((read_protocol(rule.protocol).number,))
    return base if rule.not_protocol is None else base - {read_protocol(rule.not_protocol).number}


def _case_pairs(
    rule: Rule, direction: Direction, namespace: str, context: Context
) -> Iterator[tuple[PortCase, PortCase]]:
    base = _base_protocols(rule)
    with_ports = PORT_PROTOCOLS if base is None else base & PORT_PROTOCOLS
    from_holders, to_holders = (port_holders(side, namespace, context) for side in (rule.source, rule.destination))
    from_cases = port_cases(rule.source, "source", with_ports, context, from_holders)
    to_cases = port_cases(rule.destination, "destination", with_ports, context, to_holders)
    if direction is Direction.INGRESS and rule.source.services is not None:
        where = service_addresses(rule.source.services, namespace, context)
        from_cases = tuple(_at(where, case) for case in from_cases)
    if direction is Direction.EGRESS and rule.destination.services is not None:
        to_cases = service_cases(rule.destination.services, namespace, context)
    return ((from_case, to_case) for from_case in from_cases for to_case in to_cases)


def _at(where: PeerExpr, case: PortCase) -> PortCase:
    return PortCase(all_peers(where, case.where), case.protocols, case.ports, case.named, case.not_named)


def _icmp_cases(rule: Rule) -> Iterator[IcmpCase]:
    """The alternatives of protocol, icmp and notICMP: a negation of type and code together falls into two boxes."""
    base = _base_protocols(rule)
    excluded = rule.not_icmp
    types, codes = _icmp_ranges(rule.icmp)
    if excluded is None or excluded.type is None:
        yield IcmpCase(base, types, codes)
        return
    everything = EVERY_PROTOCOL if base is None else base
    icmp = everything & ICMP_NUMBERS
    if types is None:
        yield IcmpCase(everything - ICMP_NUMBERS)
    other_types = complement(((excluded.type, excluded.type),), _ICMP_VALUES)
    yield IcmpCase(icmp, _common(types, other_types), codes)
    if excluded.code is not None:
        other_codes = complement(((excluded.code, excluded.code),), _ICMP_VALUES)
        yield IcmpCase(icmp, _common(types, ((excluded.type, excluded.type),)), _common(codes, other_codes))


def _icmp_ranges(fields: IcmpFields | None) -> tuple[Ranges | None, Ranges | None]:
    if fields is None or fields.type is None:
        return None, None
    return ((fields.type, fields.type),), None if fields.code is None else ((fields.code, fields.code),)


def _common(first: Ranges | None, second: Ranges) -> Ranges:
    if first is None:
        return second
    outside = (*complement(first, _ICMP_VALUES), *complement(second, _ICMP_VALUES))
    return complement(outside, _ICMP_VALUES)


def _l4_match(source: PortCase, destination: PortCase, icmp: IcmpCase) -> L4Match | None:
    """The conjunction of three alternatives; None when nothing satisfies it."""
    given = [item for item in (icmp.protocols, source.protocols, destination.protocols) if item is not None]
    protocols = frozenset.intersection(*given) if given else None
    if protocols == frozenset() or () in (icmp.types, icmp.codes):
        return None
    return L4Match(
        None if protocols in (None, EVERY_PROTOCOL) else normalise((number, number) for number in protocols or ()),
        destination_ports=destination.ports,
        source_ports=source.ports,
        icmp_types=icmp.types,
        icmp_codes=icmp.codes,
        named_ports=_live((*source.named, *destination.named), protocols),
        not_named_ports=_live((*source.not_named, *destination.not_named), protocols),
    )


def _live(named: tuple[nodes.NamedPort, ...], protocols: frozenset[int] | None) -> tuple[nodes.NamedPort, ...]:
    """Those of the names that some protocol of the alternative can reach."""
    return tuple(item for item in named if protocols is None or item.protocol in protocols)
