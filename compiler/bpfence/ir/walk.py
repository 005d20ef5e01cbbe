"""Visiting expressions: the leaves of a peer expression, the tests of a label expression."""

from __future__ import annotations

from collections.abc import Iterator

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


def label_tests(expression: LabelExpr) -> Iterator[LabelTest]:
    """Every label test, left to right."""
    stack: list[LabelExpr] = [expression]
    while stack:
        match stack.pop():
            case LabelTest() as test:
                yield test
            case LabelNot(item):
                stack.append(item)
            case LabelAll(items) | LabelAny(items):
                stack.extend(reversed(items))


def peer_leaves(expression: PeerExpr) -> Iterator[HasObject | InPrefixes | OnOwnNode | LearntName]:
    """Every leaf, left to right."""
    stack: list[PeerExpr] = [expression]
    while stack:
        match stack.pop():
            case PeerNot(item):
                stack.append(item)
            case PeerAll(items) | PeerAny(items):
                stack.extend(reversed(items))
            case HasObject() | InPrefixes() | OnOwnNode() | LearntName() as leaf:
                yield leaf
