"""Selector trees to label expressions: Calico's implicit and inherited labels become qualified keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from bpfence.dialects.calico.selectors import ACCOUNT_LABEL, ACCOUNT_PREFIX, NAMESPACE_LABEL, NAMESPACE_PREFIX
from bpfence.ir.expressions import (
    ANY_LABELS,
    POD,
    LabelAll,
    LabelAny,
    LabelExpr,
    LabelNot,
    LabelOperator,
    LabelTest,
    all_labels,
)
from bpfence.selectors import AllOf, AnyOf, Criterion, Everything, Global, Negation, Operator, Selector, matches

ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator"
_NAME = "projectcalico.org/name"
_ACCOUNT_KEY = "meta:serviceaccount"

LONGEST_ACCOUNT = 62
"""Service accounts with longer names give their pods no implicit label."""

_OWN_PROFILES = LabelTest(("meta:profiles",), LabelOperator.EXISTS)


@dataclass(frozen=True, slots=True)
class Exceptions:
    """Pods to which the usual rules for implicit and inherited labels do not apply.

    ``long_accounts``: the inventory's account names beyond `LONGEST_ACCOUNT`. ``own_profiles``: whether there are pods
    with other profiles than those of their namespace and account; their own labels hold all that they inherit.
    """

    long_accounts: tuple[str, ...] = ()
    own_profiles: bool = False


NO_EXCEPTIONS = Exceptions()

_OPERATORS = {
    Operator.EQUAL: LabelOperator.IN,
    Operator.NOT_EQUAL: LabelOperator.NOT_IN,
    Operator.IN: LabelOperator.IN,
    Operator.NOT_IN: LabelOperator.NOT_IN,
    Operator.CONTAINS: LabelOperator.CONTAINS,
    Operator.STARTS_WITH: LabelOperator.STARTS_WITH,
    Operator.ENDS_WITH: LabelOperator.ENDS_WITH,
    Operator.HAS: LabelOperator.EXISTS,
}


def label_expression(selector: Selector, exceptions: Exceptions = NO_EXCEPTIONS) -> LabelExpr:
    """The selector over qualified keys."""
    match selector:
        case Criterion():
            return _criterion(selector, exceptions)
        case Everything() | Global():
            return ANY_LABELS
        case Negation(item):
            return LabelNot(label_expression(item, exceptions))
        case AllOf(items):
            return all_labels(*(label_expression(item, exceptions) for item in items))
        case AnyOf(items):
            return LabelAny(tuple(label_expression(item, exceptions) for item in items))
        case _:
            assert_never(selector)


def _criterion(criterion: Criterion, exceptions: Exceptions) -> LabelExpr:
    if criterion.label == ORCHESTRATOR_LABEL:
        return _orchestrator(criterion)
    if criterion.label == ACCOUNT_LABEL and exceptions.long_accounts:
        return _account(criterion, exceptions.long_accounts)
    if criterion.label.startswith((NAMESPACE_PREFIX, ACCOUNT_PREFIX)) and exceptions.own_profiles:
        usual = LabelAll((LabelNot(_OWN_PROFILES), _test(criterion, label_keys(criterion.label))))
        return LabelAny((usual, LabelAll((_OWN_PROFILES, _test(criterion, (f"label:{criterion.label}",))))))
    return _test(criterion, label_keys(criterion.label))


def _test(criterion: Criterion, keys: tuple[str, ...]) -> LabelTest:
    return LabelTest(keys, _OPERATORS[criterion.operator], criterion.values)


def label_keys(label: str) -> tuple[str, ...]:
    """Where an object's value of a Calico label comes from, first source first: implicit, own, inherited."""
    own = f"label:{label}"
    if label == NAMESPACE_LABEL:
        return ("meta:namespace",)
    if label == ACCOUNT_LABEL:
        return (_ACCOUNT_KEY,)
    if label.startswith(NAMESPACE_PREFIX):
        key = label.removeprefix(NAMESPACE_PREFIX)
        return (own, "meta:namespace" if key == _NAME else f"namespace:{key}")
    if label.startswith(ACCOUNT_PREFIX):
        key = label.removeprefix(ACCOUNT_PREFIX)
        return (own, _ACCOUNT_KEY if key == _NAME else f"serviceaccount:{key}")
    return (own,)


def _orchestrator(criterion: Criterion) -> LabelExpr:
    """``k8s`` for every pod, whatever its labels say; other objects have what they are labelled with."""
    elsewhere = _test(criterion, (f"label:{ORCHESTRATOR_LABEL}",))
    if matches(criterion, {ORCHESTRATOR_LABEL: "k8s"}):
        return LabelAny((POD, elsewhere))
    return LabelAll((LabelNot(POD), elsewhere))


def _account(criterion: Criterion, long_accounts: tuple[str, ...]) -> LabelExpr:
    """Pods of an account with a long name have only what they are labelled with."""
    has_long_name = LabelTest((_ACCOUNT_KEY,), LabelOperator.IN, tuple(sorted(set(long_accounts))))
    implicit = LabelAll((LabelNot(has_long_name), _test(criterion, (_ACCOUNT_KEY,))))
    return LabelAny((implicit, LabelAll((has_long_name, _test(criterion, (f"label:{ACCOUNT_LABEL}",))))))
