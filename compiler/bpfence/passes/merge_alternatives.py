"""Merges the alternatives of a rule's L4 part where they differ in one range alone; empty and equal ones go."""

from __future__ import annotations

from bpfence.ir.nodes import DnsNames, L4Match, NamedPort, Program, Ranges, Rule, Side
from bpfence.ir.ranges import normalise
from bpfence.passes.rewriting import rewrite_rules, with_matches

Alternatives = tuple[L4Match, ...]
Criteria = tuple[Ranges | None, ...]
"""Protocols, destination ports, source ports, ICMP types, ICMP codes: each a set, None the set of everything."""

Named = tuple[tuple[NamedPort, ...], tuple[NamedPort, ...], DnsNames | None]
"""Ports that one must match, ports that none may match, names that a query must ask for."""

Split = dict[tuple[Criteria, Named], None]
"""Alternatives, each once, in order."""

_FIELD_COUNT = 5
_NO_NAMES: Named = ((), (), None)


def merge_alternatives(program: Program) -> Program:
    """The program with each rule's L4 alternatives merged, in order of first appearance, until no two can be."""
    known: dict[Alternatives, Alternatives] = {}

    def rewrite(rule: Rule) -> Rule:
        if len(rule.l4) == 1 and _is_merged(rule.l4[0]):
            return rule
        merged = known.get(rule.l4)
        if merged is None:
            merged = known[rule.l4] = _merge_all(rule.l4)
        return rule if merged == rule.l4 else with_matches(rule, rule.peer, rule.own, merged)

    return rewrite_rules(program, rewrite)


def can_match(match: L4Match) -> bool:
    """Whether some packet satisfies the alternative, as far as its ranges tell."""
    if match.dns_names is not None and not match.dns_names.patterns:
        return False
    if match.protocols == () or match.icmp_types == () or match.icmp_codes == ():
        return False
    if match.destination_ports == () and not _has_named(match, "destination"):
        return False
    return match.source_ports != () or _has_named(match, "source")


def _is_merged(match: L4Match) -> bool:
    """A lone alternative without names and without an empty range: nothing to do, said cheaply."""
    return not match.named_ports and not match.not_named_ports and can_match(match)


def _has_named(match: L4Match, side: Side) -> bool:
    return any(port.side == side for port in match.named_ports)


def _merge_all(alternatives: Alternatives) -> Alternatives:
    merged = dict.fromkeys(_split(match) for match in alternatives if can_match(match))
    before = 0
    # A merge leaves one alternative less, so the same number means that no field had two to merge.
    while len(merged) > 1 and len(merged) != before:
        before = len(merged)
        for field in range(_FIELD_COUNT):
            merged = _merge_field(merged, field)
    return tuple(_join(criteria, named) for criteria, named in merged)


def _merge_field(alternatives: Split, field: int) -> Split:
    first = next(iter(alternatives))[0][field]
    if all(criteria[field] == first for criteria, _ in alternatives):
        # They differ elsewhere, or they would be one.
        return alternatives
    groups: dict[tuple[Criteria, Criteria, Named], list[Ranges | None]] = {}
    for criteria, named in alternatives:
        groups.setdefault((criteria[:field], criteria[field + 1 :], named), []).append(criteria[field])
    return dict.fromkeys(((*before, _union(sets), *after), named) for (before, after, named), sets in groups.items())


def _union(sets: list[Ranges | None]) -> Ranges | None:
    if len(sets) == 1:
        return sets[0]
    ranges: list[tuple[int, int]] = []
    for item in sets:
        if item is None:
            return None
        ranges.extend(item)
    return normalise(ranges)


def _split(match: L4Match) -> tuple[Criteria, Named]:
    """Beside named ports of the same side, no numeric ports means the empty set of them, not every port."""
    if not match.named_ports and not match.not_named_ports and match.dns_names is None:
        ports = (match.destination_ports, match.source_ports)
        return (match.protocols, *ports, match.icmp_types, match.icmp_codes), _NO_NAMES
    destination = match.destination_ports
    if destination is None and _has_named(match, "destination"):
        destination = ()
    source = match.source_ports
    if source is None and _has_named(match, "source"):
        source = ()
    criteria = (match.protocols, destination, source, match.icmp_types, match.icmp_codes)
    return criteria, (_sorted_ports(match.named_ports), _sorted_ports(match.not_named_ports), match.dns_names)


def _join(criteria: Criteria, named: Named) -> L4Match:
    """The reverse of `_split`; an empty set of ports is left only where named ports stand beside it."""
    protocols, destination, source, types, codes = criteria
    return L4Match(protocols, destination or None, source or None, types, codes, *named)


def _sorted_ports(ports: tuple[NamedPort, ...]) -> tuple[NamedPort, ...]:
    return tuple(sorted(set(ports), key=lambda port: (port.side, port.protocol, port.name)))
