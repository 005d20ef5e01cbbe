"""Label and peer expressions to shorter ones of the same meaning, items in one order however they were written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from operator import is_
from typing import assert_never

from bpfence.ir.expression_text import label_text, peer_text
from bpfence.ir.expressions import (
    ANY_LABELS,
    ANYONE,
    NO_LABELS,
    NOBODY,
    HasObject,
    InPrefixes,
    LabelAll,
    LabelAny,
    LabelExpr,
    LabelNot,
    LabelOperator,
    LabelTest,
    Network,
    OnOwnNode,
    PeerAll,
    PeerAny,
    PeerExpr,
    PeerNot,
)
from bpfence.ir.nodes import Policy, Program, Rule
from bpfence.passes.collapse_prefixes import collapse_prefixes
from bpfence.passes.rewriting import rewrite_policies, rewrite_rules, with_matches, with_subject

_OPPOSITES = {
    LabelOperator.IN: LabelOperator.NOT_IN,
    LabelOperator.NOT_IN: LabelOperator.IN,
    LabelOperator.EXISTS: LabelOperator.ABSENT,
    LabelOperator.ABSENT: LabelOperator.EXISTS,
}
"""A missing label makes NOT_IN and ABSENT true, and IN and EXISTS false: each is exactly the other's negation."""


def simplify_expressions(program: Program) -> Program:
    """The program with every subject, peer and own-address expression simplified."""
    simplifier = _Simplifier()

    def rewrite_rule(rule: Rule) -> Rule:
        peer = simplifier.peer(rule.peer)
        own = rule.own if rule.own is ANYONE else simplifier.peer(rule.own)
        return rule if peer is rule.peer and own is rule.own else with_matches(rule, peer, own, rule.l4)

    def rewrite_policy(policy: Policy) -> Policy:
        subject = simplifier.labels(policy.subject)
        return policy if subject is policy.subject else with_subject(policy, subject)

    return rewrite_policies(rewrite_rules(program, rewrite_rule), rewrite_policy)


def simplify_labels(expr: LabelExpr) -> LabelExpr:
    """Flattened, without constants, duplicates and double negations, conjunctions and unions sorted by their text.

    What is simple already comes back itself.
    """
    return _Simplifier().labels(expr)


def simplify_peer(expr: PeerExpr) -> PeerExpr:
    """As `simplify_labels`; the prefixes of a union are one list, each list the shortest that covers the same."""
    return _Simplifier().peer(expr)


@dataclass(slots=True)
class _Simplifier:
    """Simplifies many expressions, each of equal ones once. A remembered None: it is simple already.

    That way an expression that is simple comes back itself, not its equal, and nothing around it needs to be rebuilt.
    """

    _labels: dict[LabelExpr, LabelExpr | None] = field(default_factory=dict)
    _peers: dict[PeerExpr, PeerExpr | None] = field(default_factory=dict)
    _label_texts: dict[LabelExpr, str] = field(default_factory=dict)

    def labels(self, expr: LabelExpr) -> LabelExpr:
        try:
            return self._labels[expr] or expr
        except KeyError:
            simple = self._simplify_labels(expr)
            self._labels[expr] = None if simple is expr else simple
            return simple

    def peer(self, expr: PeerExpr) -> PeerExpr:
        try:
            return self._peers[expr] or expr
        except KeyError:
            simple = self._simplify_peer(expr)
            self._peers[expr] = None if simple is expr else simple
            return simple

    def _simplify_labels(self, expr: LabelExpr) -> LabelExpr:
        match expr:
            case LabelTest():
                return _simplify_test(expr)
            case LabelNot():
                return _negate_labels(expr, self._simplify_labels(expr.item))
            case LabelAll():
                items = self._label_items(expr)
                if NO_LABELS in items:
                    return NO_LABELS
                return _rebuilt_labels(expr, items)
            case LabelAny():
                items = self._label_items(expr)
                if ANY_LABELS in items:
                    return ANY_LABELS
                return _rebuilt_labels(expr, items)
            case _:
                assert_never(expr)

    def _simplify_peer(self, expr: PeerExpr) -> PeerExpr:
        match expr:
            case HasObject():
                return _rebuilt_object(expr, self.labels(expr.labels))
            case InPrefixes():
                return _rebuilt_prefixes(expr, collapse_prefixes(expr.networks))
            case OnOwnNode():
                return expr
            case PeerNot():
                return _negate_peer(expr, self.peer(expr.item))
            case PeerAll():
                items = self._peer_items(expr)
                return NOBODY if NOBODY in items else _rebuilt_peer(expr, items)
            case PeerAny():
                items = self._peer_items(expr)
                return ANYONE if ANYONE in items else _rebuilt_peer(expr, items)
            case _:
                assert_never(expr)

    def _label_items(self, expr: LabelAll | LabelAny) -> tuple[LabelExpr, ...]:
        """The simplified items, nested nodes of the same kind opened, each once, in the order of their texts."""
        flat: dict[LabelExpr, None] = {}
        kind = type(expr)
        for item in map(self._simplify_labels, expr.items):
            if isinstance(item, kind):
                flat.update(dict.fromkeys(item.items))
            else:
                flat[item] = None
        return tuple(sorted(flat, key=self._label_text)) if len(flat) > 1 else tuple(flat)

    def _peer_items(self, expr: PeerAll | PeerAny) -> tuple[PeerExpr, ...]:
        """As `_label_items`; lists of prefixes in a union become one."""
        flat: dict[PeerExpr, None] = {}
        kind = type(expr)
        for item in map(self.peer, expr.items):
            if isinstance(item, kind):
                flat.update(dict.fromkeys(item.items))
            else:
                flat[item] = None
        return _sorted_peers(dict.fromkeys(_join_prefixes(flat)) if kind is PeerAny else flat)

    def _label_text(self, expr: LabelExpr) -> str:
        try:
            return self._label_texts[expr]
        except KeyError:
            text = self._label_texts[expr] = label_text(expr)
            return text
