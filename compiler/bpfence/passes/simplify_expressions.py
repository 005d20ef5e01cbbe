"""Label and peer expressions to shorter ones of the same meaning, items in one order however they were written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import is_
from typing import assert_never

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
    LearntName,
    Network,
    OnOwnNode,
    PeerAll,
    PeerAny,
    PeerExpr,
    PeerNot,
)
from bpfence.ir.nodes import Policy, Program, Rule
from bpfence.passes.collapse_prefixes import collapse_prefixes
from bpfence.passes.expression_order import SortKey, label_order, peer_order
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
        subject = simplify_labels(policy.subject)
        return policy if subject is policy.subject else with_subject(policy, subject)

    return rewrite_policies(rewrite_rules(program, rewrite_rule), rewrite_policy)


def simplify_labels(expr: LabelExpr) -> LabelExpr:
    """Flattened, without constants, duplicates and double negations, conjunctions and unions in canonical order.

    What is simple already comes back itself.
    """
    match expr:
        case LabelTest():
            return _simplify_test(expr)
        case LabelNot():
            return _negate_labels(expr, simplify_labels(expr.item))
        case LabelAll():
            items = _label_items(expr)
            return NO_LABELS if NO_LABELS in items else _rebuilt_labels(expr, items)
        case LabelAny():
            items = _label_items(expr)
            return ANY_LABELS if ANY_LABELS in items else _rebuilt_labels(expr, items)
        case _:
            assert_never(expr)


def simplify_peer(expr: PeerExpr) -> PeerExpr:
    """As `simplify_labels`; the prefixes of a union are one list, each list the shortest that covers the same."""
    return _Simplifier().peer(expr)


@dataclass(slots=True)
class _Simplifier:
    """Simplifies many peers, each of equal ones once. A remembered None: it is simple already.

    That way a peer that is simple comes back itself, not its equal, and nothing around it needs to be rebuilt.
    """

    _peers: dict[PeerExpr, PeerExpr | None] = field(default_factory=dict)

    def peer(self, expr: PeerExpr) -> PeerExpr:
        if isinstance(expr, PeerAny):
            # Unions differ from rule to rule: their items are worth remembering, they themselves are not.
            return self._simplify_peer(expr)
        try:
            return self._peers[expr] or expr
        except KeyError:
            simple = self._simplify_peer(expr)
            self._peers[expr] = None if simple is expr else simple
            return simple

    def _simplify_peer(self, expr: PeerExpr) -> PeerExpr:
        match expr:
            case HasObject():
                return _rebuilt_object(expr, simplify_labels(expr.labels))
            case InPrefixes():
                return _rebuilt_prefixes(expr, collapse_prefixes(expr.networks))
            case OnOwnNode():
                return expr
            case LearntName():
                return expr if expr.patterns else NOBODY
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

    def _peer_items(self, expr: PeerAll | PeerAny) -> tuple[PeerExpr, ...]:
        """The simplified items, nested nodes of the same kind opened, a union's prefixes joined, in canonical order."""
        kind = type(expr)
        flat: list[PeerExpr] = []
        for item in map(self.peer, expr.items):
            flat.extend(item.items if isinstance(item, kind) else (item,))
        if kind is PeerAny and sum(isinstance(item, InPrefixes | PeerAll) for item in flat) > 1:
            flat = list(_join_prefixes(flat))
        return _sorted_peers(flat)


def _simplify_test(test: LabelTest) -> LabelExpr:
    if test.values:
        return test
    if test.operator is LabelOperator.IN:
        return NO_LABELS
    return ANY_LABELS if test.operator is LabelOperator.NOT_IN else test


def _label_items(expr: LabelAll | LabelAny) -> tuple[LabelExpr, ...]:
    """The simplified items, nested nodes of the same kind opened, each once, in canonical order."""
    kind = type(expr)
    # By sort key: these tuples are hashed and compared many times as fast as expressions.
    flat: dict[SortKey, LabelExpr] = {}
    for item in map(simplify_labels, expr.items):
        for part in item.items if isinstance(item, kind) else (item,):
            flat[label_order(part)] = part
    return tuple([flat[key] for key in sorted(flat)])


def _negate_labels(expr: LabelNot, item: LabelExpr) -> LabelExpr:
    """The negation of a simple item, simple again."""
    match item:
        case LabelNot():
            return item.item
        case LabelTest() if item.operator in _OPPOSITES:
            return LabelTest(item.keys, _OPPOSITES[item.operator], item.values)
        case LabelAll(items=()):
            return NO_LABELS
        case LabelAny(items=()):
            return ANY_LABELS
        case _:
            return expr if item is expr.item else LabelNot(item)


def _negate_peer(expr: PeerNot, item: PeerExpr) -> PeerExpr:
    """The negation of a simple item, simple again."""
    match item:
        case PeerNot():
            return item.item
        case PeerAll(items=()):
            return NOBODY
        case PeerAny(items=()):
            return ANYONE
        case _:
            return expr if item is expr.item else PeerNot(item)


def _rebuilt_labels(expr: LabelAll | LabelAny, items: tuple[LabelExpr, ...]) -> LabelExpr:
    if len(items) == 1:
        return items[0]
    return expr if _same(expr.items, items) else type(expr)(items)


def _rebuilt_peer(expr: PeerAll | PeerAny, items: tuple[PeerExpr, ...]) -> PeerExpr:
    if len(items) == 1:
        return items[0]
    return expr if _same(expr.items, items) else type(expr)(items)


def _rebuilt_object(expr: HasObject, labels: LabelExpr) -> PeerExpr:
    if labels == NO_LABELS:
        return NOBODY
    return expr if labels is expr.labels else HasObject(labels)


def _rebuilt_prefixes(expr: InPrefixes, networks: tuple[Network, ...]) -> PeerExpr:
    if not networks:
        return NOBODY
    return expr if networks == expr.networks else InPrefixes(networks)


def _same(before: tuple[object, ...], after: tuple[object, ...]) -> bool:
    return len(before) == len(after) and all(map(is_, before, after))


def _join_prefixes(items: Iterable[PeerExpr]) -> Iterator[PeerExpr]:
    """The items of a union, with one list of prefixes for each set of conditions beside it: (a & x) | (b & x)."""
    lists: dict[tuple[PeerExpr, ...], list[PeerExpr]] = {}
    for item in items:
        parts: tuple[PeerExpr, ...] = item.items if isinstance(item, PeerAll) else (item,)
        conditions: tuple[PeerExpr, ...] = tuple(part for part in parts if not isinstance(part, InPrefixes))
        if len(parts) - len(conditions) == 1:
            lists.setdefault(conditions, []).append(item)
        else:
            yield item
    for conditions, members in lists.items():
        yield members[0] if len(members) == 1 else _join_lists(conditions, members)


def _join_lists(conditions: tuple[PeerExpr, ...], members: list[PeerExpr]) -> PeerExpr:
    parts = (part for item in members for part in (item.items if isinstance(item, PeerAll) else (item,)))
    networks = (network for part in parts if isinstance(part, InPrefixes) for network in part.networks)
    joined = InPrefixes(collapse_prefixes(networks))
    return PeerAll(_sorted_peers((joined, *conditions))) if conditions else joined


def _sorted_peers(items: Iterable[PeerExpr]) -> tuple[PeerExpr, ...]:
    """Each once, in canonical order."""
    flat = {peer_order(item): item for item in items}
    return tuple([flat[key] for key in sorted(flat)])
