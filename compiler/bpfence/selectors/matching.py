"""Does a selector match a set of labels? Tree and labels in, yes or no out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from bpfence.selectors.syntax import AllOf, AnyOf, Criterion, Everything, Global, Negation, Operator, Selector


def matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether an object with these labels is selected; comparison is byte-exact."""
    match selector:
        case Criterion():
            return _criterion(selector, labels.get(selector.label))
        case Everything() | Global():
            return True
        case Negation(item):
            return not matches(item, labels)
        case AllOf(items):
            return all([matches(item, labels) for item in items])  # noqa: C419 - a generator would double the stack depth
        case AnyOf(items):
            return any([matches(item, labels) for item in items])  # noqa: C419
        case _:
            assert_never(selector)


def _criterion(criterion: Criterion, value: str | None) -> bool:
    if value is None:
        return criterion.operator in (Operator.NOT_EQUAL, Operator.NOT_IN)
    match criterion.operator:
        case Operator.HAS:
            return True
        case Operator.EQUAL | Operator.IN:
            return value in criterion.values
        case Operator.NOT_EQUAL | Operator.NOT_IN:
            return value not in criterion.values
        case Operator.CONTAINS:
            return criterion.values[0] in value
        case Operator.STARTS_WITH:
            return value.startswith(criterion.values[0])
        case Operator.ENDS_WITH:
            return value.endswith(criterion.values[0])
        case _:
            assert_never(criterion.operator)
