"""DNS rules: lowered policies in; a tier that decides about filtered ports, and the policies without filters, out.

A DNS rule opens a port for some names, and closes it for all others where only wider rules would open it: a rule for a
range, for every port, or without ports does not lift the filter, one for exactly that protocol and port does. So what
an endpoint may ask its server is decided in this order: denies; entries for exactly the port, those with names for
their names alone; then the filter's refusal; then, in the tier that follows, everything else.

A filter restricts nothing for an endpoint under no default deny.

Upstream: ``pkg/policy/l4.go`` (merging of L7 rules), ``pkg/policy/distillery.go``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bpfence.ir.expressions import LabelAny, LabelExpr, all_labels
from bpfence.ir.nodes import Action, L4Match, Policy, Rule, Section, Tier

DNS_TIER = "cilium-dns"


def split_dns_rules(policies: Sequence[Policy], order: float) -> tuple[tuple[Tier, ...], tuple[Policy, ...]]:
    """(The tier for filtered ports, before all others of the language; the policies without DNS rules).

    No tier when there is no DNS rule. ``policies``: all that join the language's tier; ``order``: the new tier's.
    """
    filtered = [policy for policy in policies if any(_named(rule) for rule in _egress_rules(policy))]
    if not filtered:
        return (), tuple(policies)
    concerned = _any_of(filtered)
    ports = _filtered_ports(filtered)
    isolated = _any_of([policy for policy in policies if policy.egress is not None and policy.egress.isolates])
    parts = [part for policy in policies for part in _dns_policies(policy, concerned, isolated, ports)]
    parts.sort(key=lambda policy: policy.order)
    return (Tier(DNS_TIER, order, Action.PASS, tuple(parts)),), tuple(map(_without_filters, policies))


def _any_of(policies: Sequence[Policy]) -> LabelExpr:
    return LabelAny(tuple(dict.fromkeys(policy.subject for policy in policies)))


def _filtered_ports(policies: Sequence[Policy]) -> frozenset[int] | None:
    """Every port number with a DNS rule; None when a port name is among them, which can be any number."""
    matches = [match for policy in policies for rule in _egress_rules(policy) for match in _named(rule)]
    if any(match.named_ports for match in matches):
        return None
    return frozenset(low for match in matches for low, _ in match.destination_ports or ())


def _dns_policies(
    policy: Policy, concerned: LabelExpr, isolated: LabelExpr, ports: frozenset[int] | None
) -> Iterator[Policy]:
    """What a policy says about filtered ports: its denies, its entries for single ports, its refusals."""
    if policy.egress is None:
        return
    rules = policy.egress.rules
    denies = tuple(_with_l4(rule, _meeting(rule.l4, ports)) for rule in rules if rule.action is Action.DENY)
    allows = tuple(
        _with_l4(rule, (*_named(rule), *_meeting(_exact(rule), ports))) for rule in rules if rule.action is Action.ALLOW
    )
    refusals = tuple(_refusal(rule) for rule in rules if _named(rule))
    subject = all_labels(policy.subject, concerned)
    refused = policy.subject if policy.egress.isolates else all_labels(policy.subject, isolated)
    for rank, (chosen, whom) in enumerate(((denies, subject), (allows, subject), (refusals, refused))):
        kept = tuple(rule for rule in chosen if rule.l4)
        if kept:
            section = Section(kept, False, policy.egress.origin)
            order = (float(rank), f"{policy.order[1]} {rank}")
            yield Policy(policy.name, whom, None, section, policy.origin, order)


def _egress_rules(policy: Policy) -> tuple[Rule, ...]:
    return () if policy.egress is None else policy.egress.rules


def _named(rule: Rule) -> tuple[L4Match, ...]:
    return tuple(match for match in rule.l4 if match.dns_names is not None)


def _exact(rule: Rule) -> tuple[L4Match, ...]:
    """The alternatives for a protocol and a single port: a number, or a name (which is one number at each peer)."""
    return tuple(match for match in rule.l4 if match.dns_names is None and _is_single_port(match))


def _meeting(l4: tuple[L4Match, ...], ports: frozenset[int] | None) -> tuple[L4Match, ...]:
    """The alternatives that can match a packet to a filtered port."""
    return tuple(match for match in l4 if ports is None or _meets(match, ports))


def _meets(match: L4Match, ports: frozenset[int]) -> bool:
    if match.icmp_types is not None or match.icmp_codes is not None:
        return False
    if match.destination_ports is None or match.named_ports:
        return True
    return any(low <= port <= high for low, high in match.destination_ports for port in ports)


def _is_single_port(match: L4Match) -> bool:
    if match.source_ports is not None or match.not_named_ports:
        return False
    if match.destination_ports is None:
        return bool(match.named_ports)
    return len(match.destination_ports) == 1 and match.destination_ports[0][0] == match.destination_ports[0][1]


def _refusal(rule: Rule) -> Rule:
    l4 = tuple(dict.fromkeys(replace(match, dns_names=None) for match in _named(rule)))
    return Rule(Action.DENY, rule.peer, l4, rule.origin, rule.own)


def _with_l4(rule: Rule, l4: tuple[L4Match, ...]) -> Rule:
    return Rule(rule.action, rule.peer, l4, rule.origin, rule.own)


def _without_filters(policy: Policy) -> Policy:
    """The policy without DNS rules: what they say has been decided before. Its section stays, and isolates."""
    if policy.egress is None or not any(_named(rule) for rule in policy.egress.rules):
        return policy
    plain = (
        _with_l4(rule, tuple(match for match in rule.l4 if match.dns_names is None)) for rule in policy.egress.rules
    )
    return replace(policy, egress=replace(policy.egress, rules=tuple(rule for rule in plain if rule.l4)))
