"""Leaves out rules that no packet can match. Sections stay: without any rule they still isolate and activate a tier."""

from __future__ import annotations

from bpfence.ir.expressions import NOBODY, PeerAny, PeerExpr
from bpfence.ir.nodes import Program, Rule
from bpfence.passes.merge_alternatives import can_match
from bpfence.passes.rewriting import rewrite_rules


def drop_dead_rules(program: Program) -> Program:
    """The program without rules whose peer or own address is nobody's, or whose L4 part no packet satisfies."""
    return rewrite_rules(program, _keep_rule)


def _keep_rule(rule: Rule) -> Rule | None:
    if _is_nobody(rule.peer) or _is_nobody(rule.own):
        return None
    return rule if any(map(can_match, rule.l4)) else None


def _is_nobody(peer: PeerExpr) -> bool:
    # The type first: comparing whole expressions would cost more than the rest of the pass.
    return type(peer) is PeerAny and peer == NOBODY
