"""Label selectors of this dialect: to label expressions of the IR, and matched against plain labels for the lints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bpfence.dialects.kubernetes.model import LabelSelector, SelectorRequirement
from bpfence.dialects.label_syntax import DOES_NOT_EXIST, EXISTS, IN, NOT_IN
from bpfence.ir.expressions import LabelExpr, LabelOperator, LabelTest, all_labels

Qualifier = Literal["label", "namespace"]

_OPERATORS = {
    IN: LabelOperator.IN,
    NOT_IN: LabelOperator.NOT_IN,
    EXISTS: LabelOperator.EXISTS,
    DOES_NOT_EXIST: LabelOperator.ABSENT,
}


def label_expression(selector: LabelSelector, qualifier: Qualifier) -> LabelExpr:
    """The selector's tests on the object's own labels, or on its Namespace's."""
    labels = sorted(selector.match_labels.items())
    tests = [LabelTest((f"{qualifier}:{key}",), LabelOperator.IN, (value,)) for key, value in labels]
    tests += [_requirement(item, qualifier) for item in selector.match_expressions]
    return all_labels(*tests)


def _requirement(item: SelectorRequirement, qualifier: Qualifier) -> LabelTest:
    values = tuple(sorted(set(item.values)))
    return LabelTest((f"{qualifier}:{item.key}",), _OPERATORS[item.operator], values)


def selector_matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether an object with these labels satisfies the selector."""
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    return all(requirement_holds(item, labels) for item in selector.match_expressions)


def requirement_holds(item: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    """One ``matchExpressions`` item; NotIn and DoesNotExist hold when the key is absent."""
    operator = _OPERATORS[item.operator]
    value = labels.get(item.key)
    match operator:
        case LabelOperator.IN:
            return value is not None and value in item.values
        case LabelOperator.NOT_IN:
            return value is None or value not in item.values
        case LabelOperator.EXISTS:
            return value is not None
        case LabelOperator.ABSENT:
            return value is None
        case _:
            raise ValueError(f"{item.operator!r} is no selector operator")


def selector_keys(selector: LabelSelector) -> tuple[str, ...]:
    """Every key that the selector names."""
    return (*selector.match_labels, *(item.key for item in selector.match_expressions))
