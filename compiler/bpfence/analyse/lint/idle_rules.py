"""Warnings about rules that never decide anything, with the rules that decide instead."""

from __future__ import annotations

from collections.abc import Sequence

from bpfence.analyse.lint import codes
from bpfence.analyse.lint.usage import Taker, Usage
from bpfence.diagnostics import Diagnostics
from bpfence.ir.nodes import Action

SHOWN = 3
WORDS = {Action.ALLOW: "allowed", Action.DENY: "denied", Action.PASS: "passed on"}


def lint_idle_rules(usage: Usage, diagnostics: Diagnostics) -> None:
    """A warning where everything the rule matches is decided otherwise, a note where the rule is only unnecessary."""
    for place in usage.idle:
        rule, takers = usage.rules[place], usage.takers(place)
        hint = f"decided instead by {_listed(takers)}"
        if all(taker.action is not rule.action for taker in takers):
            message = f"this rule never takes effect: all that it matches {_outcome(takers)} before"
            diagnostics.warning(codes.RULE_OVERRULED, rule.origin.span, message, hint, rule.origin.policy)
        else:
            message = f"this rule changes nothing: all that it matches {_outcome(takers)} without it"
            diagnostics.note(codes.RULE_REDUNDANT, rule.origin.span, message, hint, rule.origin.policy)


def _outcome(takers: Sequence[Taker]) -> str:
    words = " or ".join(sorted({WORDS[taker.action] for taker in takers}))
    return f"in this cluster is {words}"


def _listed(takers: Sequence[Taker]) -> str:
    more = f" and {len(takers) - SHOWN} more" if len(takers) > SHOWN else ""
    return ", ".join(map(_words, takers[:SHOWN])) + more


def _words(taker: Taker) -> str:
    if taker.kind == "exempt":
        return "an exemption of the language (a pod and its own node)"
    where = f"{taker.origin.policy} ({taker.origin.span.path}:{taker.origin.span.line})"
    return f"the end of tier {taker.tier}, isolated by {where}" if taker.kind == "end" else _rule_words(taker)


def _rule_words(taker: Taker) -> str:
    origin = taker.origin
    return f"{origin.policy} {origin.field.removeprefix('spec.')} ({origin.span.path}:{origin.span.line})"
