"""The canonical order of expressions, as sort keys: kind of node first, then content. Equal keys: equal expressions."""

from __future__ import annotations

from typing import Any, TypeAlias, assert_never

from bpfence.ir.expression_text import network_key
from bpfence.ir.expressions import (
    HasObject,
    InPrefixes,
    LabelAll,
    LabelAny,
    LabelExpr,
    LabelNot,
    LabelTest,
    LearntName,
    OnOwnNode,
    PeerAll,
    PeerAny,
    PeerExpr,
    PeerNot,
)

SortKey: TypeAlias = tuple[Any, ...]
"""Begins with a number for the kind of node, so that the rest, of whatever types, is compared only
within one kind."""


def label_order(expr: LabelExpr) -> SortKey:
    """Tests by key, operator and values; then negations, conjunctions, unions."""
    match expr:
        case LabelTest():
            return (0, expr.keys, expr.operator, expr.values)
        case LabelNot():
            return (1, label_order(expr.item))
        case LabelAll():
            return (2, *map(label_order, expr.items))
        case LabelAny():
            return (3, *map(label_order, expr.items))
        case _:
            assert_never(expr)


def peer_order(expr: PeerExpr) -> SortKey:
    """Own node, objects, prefixes, names; then negations, conjunctions, unions."""
    match expr:
        case OnOwnNode():
            return (0,)
        case HasObject():
            return (1, label_order(expr.labels))
        case InPrefixes():
            return (2, *map(network_key, expr.networks))
        case LearntName():
            return (3, expr.profile, *expr.patterns)
        case PeerNot():
            return (4, peer_order(expr.item))
        case PeerAll():
            return (5, *map(peer_order, expr.items))
        case PeerAny():
            return (6, *map(peer_order, expr.items))
        case _:
            assert_never(expr)
