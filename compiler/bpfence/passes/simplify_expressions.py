"""Label and peer expressions to shorter ones of the same meaning, items in one order however they were written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar, assert_never

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
from bpfence.passes.rewriting import rewrite_policies, rewrite_rules

_Expr = TypeVar("_Expr", bound=Hashable)

_OPPOSITES = {
    LabelOperator.IN: LabelOperator.NOT_IN,
    LabelOperator.NOT_IN: LabelOperator.IN,
    LabelOperator.EXISTS: LabelOperator.ABSENT,
    LabelOperator.ABSENT: LabelOperator.EXISTS,
}
"""A missing label makes NOT_IN and ABSENT true, and IN and EXISTS false: each is exactly the other's negation."""


def simplify_expressions(program: Program) -> Program:
    """The program with every subject, peer and own-address expression simplified."""
    simple_labels, simple_peer = _once_each(simplify_labels), _once_each(simplify_peer)

    def rewrite_rule(rule: Rule) -> Rule:
        peer = simple_peer(rule.peer)
        own = rule.own if rule.own is ANYONE else simple_peer(rule.own)
        return rule if peer is rule.peer and own is rule.own else replace(rule, peer=peer, own=own)

    def rewrite_policy(policy: Policy) -> Policy:
        subject = simple_labels(policy.subject)
        return policy if subject is policy.subject else replace(policy, subject=subject)

    return rewrite_policies(rewrite_rules(program, rewrite_rule), rewrite_policy)


def simplify_labels(expr: LabelExpr) -> LabelExpr:
    """Flattened, without constants, duplicates and double negations, conjunctions and unions sorted by their text."""
    match expr:
        case LabelTest():
            return _simplify_test(expr)
        case LabelNot():
            return _negate_labels(simplify_labels(expr.item))
        case LabelAll():
            items = _label_items(expr.items, LabelAll)
            if NO_LABELS in items:
                return NO_LABELS
            return items[0] if len(items) == 1 else LabelAll(items)
        case LabelAny():
            items = _label_items(expr.items, LabelAny)
            if ANY_LABELS in items:
                return ANY_LABELS
            return items[0] if len(items) == 1 else LabelAny(items)
        case _:
            assert_never(expr)


def simplify_peer(expr: PeerExpr) -> PeerExpr:
    """As `simplify_labels`; the prefixes of a union are one list, each list the shortest that covers the same."""
    match expr:
        case HasObject():
            labels = simplify_labels(expr.labels)
            return NOBODY if labels == NO_LABELS else HasObject(labels)
        case InPrefixes():
            networks = collapse_prefixes(expr.networks)
            return InPrefixes(networks) if networks else NOBODY
        case OnOwnNode():
            return expr
        case PeerNot():
            return _negate_peer(simplify_peer(expr.item))
        case PeerAll():
            items = _peer_items(expr.items, PeerAll)
            if NOBODY in items:
                return NOBODY
            return items[0] if len(items) == 1 else PeerAll(items)
        case PeerAny():
            items = _peer_items(expr.items, PeerAny)
            if ANYONE in items:
                return ANYONE
            return items[0] if len(items) == 1 else PeerAny(items)
        case _:
            assert_never(expr)


def _once_each(simplify: Callable[[_Expr], _Expr]) -> Callable[[_Expr], _Expr]:
    """Remembers answers for equal expressions. One that is simple already is returned itself, not its equal."""
    changed: dict[_Expr, _Expr | None] = {}

    def simplify_once(expr: _Expr) -> _Expr:
        if expr not in changed:
            simple = simplify(expr)
            changed[expr] = None if simple == expr else simple
        return changed[expr] or expr

    return simplify_once


def _simplify_test(test: LabelTest) -> LabelExpr:
    if test.values:
        return test
    if test.operator is LabelOperator.IN:
        return NO_LABELS
    return ANY_LABELS if test.operator is LabelOperator.NOT_IN else test


def _negate_labels(expr: LabelExpr) -> LabelExpr:
    """The negation of a simple expression, simple again."""
    match expr:
        case LabelNot():
            return expr.item
        case LabelTest() if expr.operator in _OPPOSITES:
            return LabelTest(expr.keys, _OPPOSITES[expr.operator], expr.values)
        case LabelAll(items=()):
            return NO_LABELS
        case LabelAny(items=()):
            return ANY_LABELS
        case _:
            return LabelNot(expr)


def _negate_peer(expr: PeerExpr) -> PeerExpr:
    """The negation of a simple expression, simple again."""
    match expr:
        case PeerNot():
            return expr.item
        case PeerAll(items=()):
            return NOBODY
        case PeerAny(items=()):
            return ANYONE
        case _:
            return PeerNot(expr)


def _label_items(items: Iterable[LabelExpr], node: type[LabelAll] | type[LabelAny]) -> tuple[LabelExpr, ...]:
    """The simplified items, nested nodes of the same kind opened, each once, in the order of their texts."""
    flat: dict[LabelExpr, None] = {}
    for item in map(simplify_labels, items):
        flat.update(dict.fromkeys(item.items if isinstance(item, node) else (item,)))
    return tuple(sorted(flat, key=label_text)) if len(flat) > 1 else tuple(flat)


def _peer_items(items: Iterable[PeerExpr], node: type[PeerAll] | type[PeerAny]) -> tuple[PeerExpr, ...]:
    """As `_label_items`; lists of prefixes in a union become one."""
    flat: dict[PeerExpr, None] = {}
    for item in map(simplify_peer, items):
        flat.update(dict.fromkeys(item.items if isinstance(item, node) else (item,)))
    if node is PeerAny:
        flat = dict.fromkeys(_join_prefixes(flat))
    return _sorted_peers(flat)


def _join_prefixes(items: Iterable[PeerExpr]) -> Iterator[PeerExpr]:
    """The items of a union, with one list of prefixes for each set of conditions beside it: (a & x) | (b & x)."""
    lists: dict[tuple[PeerExpr, ...], list[InPrefixes]] = {}
    for item in items:
        parts = item.items if isinstance(item, PeerAll) else (item,)
        prefixes = [part for part in parts if isinstance(part, InPrefixes)]
        if len(prefixes) == 1:
            lists.setdefault(tuple(part for part in parts if part is not prefixes[0]), []).append(prefixes[0])
        else:
            yield item
    for conditions, joined in lists.items():
        networks = joined[0].networks if len(joined) == 1 else _collapse_lists(joined)
        parts = (InPrefixes(networks), *conditions)
        yield PeerAll(_sorted_peers(parts)) if conditions else parts[0]


def _collapse_lists(lists: list[InPrefixes]) -> tuple[Network, ...]:
    return collapse_prefixes(network for prefixes in lists for network in prefixes.networks)


def _sorted_peers(items: Collection[PeerExpr]) -> tuple[PeerExpr, ...]:
    # The text of a lone list of prefixes may be long, and says nothing about order.
    return tuple(sorted(items, key=peer_text)) if len(items) > 1 else tuple(items)
