"""Selector tree in, canonical text out: the selector's identity, the same for every way of writing the same tree."""

from __future__ import annotations

from typing import assert_never

from bpfence.selectors.syntax import AllOf, AnyOf, Criterion, Everything, Global, Negation, Operator, Selector


def canonical(selector: Selector) -> str:
    """One text per tree; parsing it gives the tree again."""
    match selector:
        case Criterion():
            return _criterion(selector)
        case Everything():
            return "all()"
        case Global():
            return "global()"
        case Negation(item):
            return "!" + canonical(item)
        case AllOf(items):
            return _joined(items, " && ")
        case AnyOf(items):
            return _joined(items, " || ")
        case _:
            assert_never(selector)


def _joined(items: tuple[Selector, ...], operator: str) -> str:
    return "(" + operator.join([canonical(item) for item in items]) + ")"


def _criterion(criterion: Criterion) -> str:
    if criterion.operator is Operator.HAS:
        return f"has({criterion.label})"
    if criterion.operator in (Operator.IN, Operator.NOT_IN):
        members = ", ".join(quoted(value) for value in criterion.values)
        return f"{criterion.label} {criterion.operator} {{{members}}}"
    return f"{criterion.label} {criterion.operator} {quoted(criterion.values[0])}"


def quoted(value: str) -> str:
    """The value as a literal. The language has no escapes: a value never holds both kinds of quotes."""
    return f"'{value}'" if '"' in value else f'"{value}"'
