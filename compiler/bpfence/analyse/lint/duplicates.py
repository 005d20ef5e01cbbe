"""Policies that say the same under two names."""

from __future__ import annotations

from bpfence.analyse.lint import codes
from bpfence.diagnostics import Diagnostics
from bpfence.ir.expressions import LabelExpr, PeerExpr
from bpfence.ir.nodes import Action, L4Match, Policy, Program, Section, Tier

RuleText = tuple[Action, PeerExpr, tuple[L4Match, ...], PeerExpr]
SectionText = tuple[bool, tuple[RuleText, ...]] | None
PolicyText = tuple[LabelExpr, SectionText, SectionText]


def lint_duplicates(program: Program, diagnostics: Diagnostics) -> None:
    """A note at every policy whose subject and rules an earlier one of its tier has too."""
    for layer in program.layers:
        for tier in layer.tiers:
            _lint_tier(tier, diagnostics)


def _lint_tier(tier: Tier, diagnostics: Diagnostics) -> None:
    first: dict[PolicyText, Policy] = {}
    for policy in tier.policies:
        known = first.setdefault(_text(policy), policy)
        if known.origin.policy != policy.origin.policy:
            origin = known.origin
            message = f"this policy says the same as {origin.policy}"
            hint = f"keep one of the two; the other is at {origin.span.path}:{origin.span.line}"
            diagnostics.note(codes.POLICY_TWICE, policy.origin.span, message, hint, policy.origin.policy)


def _text(policy: Policy) -> PolicyText:
    """What it says, without its name and places."""
    return (policy.subject, _section_text(policy.ingress), _section_text(policy.egress))


def _section_text(section: Section | None) -> SectionText:
    if section is None:
        return None
    return section.isolates, tuple((rule.action, rule.peer, rule.l4, rule.own) for rule in section.rules)
