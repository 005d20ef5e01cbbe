"""The walks that passes share: a function over one node in, the rebuilt program out.

What a function leaves alone keeps its identity, up to the whole program. That makes a pass that finds nothing to do
cheap, and tells the legality check what it has seen before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from operator import is_
from typing import TypeVar

from bpfence.ir.expressions import LabelExpr, PeerExpr
from bpfence.ir.nodes import L4Match, Layer, Policy, Program, Rule, Section, Tier

_Node = TypeVar("_Node")

RuleRewrite = Callable[[Rule], Rule | None]
PolicyRewrite = Callable[[Policy], Policy | None]


def rewrite_rules(program: Program, rewrite: RuleRewrite) -> Program:
    """Every rule, exemptions included, replaced by what ``rewrite`` makes of it; None leaves it out."""

    def rewrite_exemptions(tier: Tier) -> Tier:
        ingress = _rewritten(tier.exempt_ingress, rewrite)
        egress = _rewritten(tier.exempt_egress, rewrite)
        if ingress is tier.exempt_ingress and egress is tier.exempt_egress:
            return tier
        return replace(tier, exempt_ingress=ingress, exempt_egress=egress)

    def rewrite_section(section: Section | None) -> Section | None:
        if section is None:
            return None
        rules = _rewritten(section.rules, rewrite)
        return section if rules is section.rules else Section(rules, section.isolates, section.origin)

    def rewrite_policy(policy: Policy) -> Policy:
        ingress, egress = rewrite_section(policy.ingress), rewrite_section(policy.egress)
        if ingress is policy.ingress and egress is policy.egress:
            return policy
        return Policy(policy.name, policy.subject, ingress, egress, policy.origin, policy.order)

    return rewrite_policies(_rewrite_tiers(program, rewrite_exemptions), rewrite_policy)


def rewrite_policies(program: Program, rewrite: PolicyRewrite) -> Program:
    """Every policy replaced by what ``rewrite`` makes of it; None leaves it out."""

    def rewrite_tier(tier: Tier) -> Tier:
        policies = _rewritten(tier.policies, rewrite)
        return tier if policies is tier.policies else replace(tier, policies=policies)

    return _rewrite_tiers(program, rewrite_tier)


# Written out, here and for sections and policies above: `dataclasses.replace` takes five times as long, and there are
# a hundred thousand rules.


def with_matches(rule: Rule, peer: PeerExpr, own: PeerExpr, l4: tuple[L4Match, ...]) -> Rule:
    """The rule, matching something else."""
    return Rule(rule.action, peer, l4, rule.origin, own)


def with_subject(policy: Policy, subject: LabelExpr) -> Policy:
    """The policy, for other endpoints."""
    return Policy(policy.name, subject, policy.ingress, policy.egress, policy.origin, policy.order)


def _rewrite_tiers(program: Program, rewrite: Callable[[Tier], Tier]) -> Program:
    def rewrite_layer(layer: Layer) -> Layer:
        tiers = _rewritten(layer.tiers, rewrite)
        return layer if tiers is layer.tiers else replace(layer, tiers=tiers)

    layers = _rewritten(program.layers, rewrite_layer)
    return program if layers is program.layers else Program(layers)


def _rewritten(nodes: tuple[_Node, ...], rewrite: Callable[[_Node], _Node | None]) -> tuple[_Node, ...]:
    results = [rewrite(node) for node in nodes]
    if all(map(is_, nodes, results)):
        return nodes
    return tuple(result for result in results if result is not None)
