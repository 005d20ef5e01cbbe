"""Label expressions over many entities at once: entities to label profiles, expressions to bit vectors over profiles.

A *profile* is a distinct combination of values of the label keys that some expression mentions; entities with equal
profiles can't be told
apart by any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from bpfence.identity.world import Entity
from bpfence.ir.expressions import LabelAll, LabelAny, LabelExpr, LabelNot, LabelOperator, LabelTest

Bits = NDArray[np.bool_]


@dataclass(slots=True)
class LabelIndex:
    """``profile_of[e]``: profile of entity e. ``columns[key]``: value -> profiles (int array) that have it. Built by
    `index_labels`.
    """

    profile_of: NDArray[np.int64]
    count: int
    columns: dict[str, dict[str, NDArray[np.int64]]]
    _cache: dict[LabelExpr, Bits] = field(default_factory=dict)

    def profiles(self, expression: LabelExpr) -> Bits:
        """Which profiles satisfy the expression: bool vector over profiles. Do not write to it."""
        known = self._cache.get(expression)
        if known is None:
            known = self._cache[expression] = self._evaluate(expression)
        return known

    def entities(self, expression: LabelExpr) -> Bits:
        """Which entities satisfy the expression: bool vector over entities."""
        return self.profiles(expression)[self.profile_of]

    def _evaluate(self, expression: LabelExpr) -> Bits:
        match expression:
            case LabelTest():
                return self._test(expression)
            case LabelNot(item):
                return ~self.profiles(item)
            case LabelAll(items):
                result = np.ones(self.count, dtype=bool)
                for item in items:
                    result &= self.profiles(item)
                return result
            case LabelAny(items):
                result = np.zeros(self.count, dtype=bool)
                for item in items:
                    result |= self.profiles(item)
                return result
            case _:
                assert_never(expression)

    def _test(self, test: LabelTest) -> Bits:
        accepts = value_predicate(test)
        matched = np.zeros(self.count, dtype=bool)
        undecided = np.ones(self.count, dtype=bool)
        for key in test.keys:
            for value, members in self._candidates(key, test):
                if accepts(value):
                    matched[members] |= undecided[members]
            for members in self.columns.get(key, {}).values():
                undecided[members] = False
        if test.operator in (LabelOperator.NOT_IN, LabelOperator.ABSENT):
            matched |= undecided
        return matched

    def _candidates(self, key: str, test: LabelTest) -> Iterable[tuple[str, NDArray[np.int64]]]:
        column = self.columns.get(key, {})
        if test.operator is not LabelOperator.IN:
            return column.items()
        return [(value, column[value]) for value in test.values if value in column]


def value_predicate(test: LabelTest) -> Callable[[str], bool]:
    """Whether a present label's value satisfies the test."""
    values = frozenset(test.values)
    match test.operator:
        case LabelOperator.IN:
            return lambda value: value in values
        case LabelOperator.NOT_IN:
            return lambda value: value not in values
        case LabelOperator.EXISTS:
            return lambda _: True
        case LabelOperator.ABSENT:
            return lambda _: False
        case LabelOperator.CONTAINS:
            return lambda value: test.values[0] in value
        case LabelOperator.STARTS_WITH:
            return lambda value: value.startswith(test.values[0])
        case LabelOperator.ENDS_WITH:
            return lambda value: value.endswith(test.values[0])
        case _:
            assert_never(test.operator)


def index_labels(entities: Sequence[Entity], keys: Iterable[str]) -> LabelIndex:
    """Group the entities by their values of ``keys``."""
    wanted = sorted(set(keys))
    numbers: dict[tuple[str | None, ...], int] = {}
    profile_of = np.empty(len(entities), dtype=np.int64)
    for position, entity in enumerate(entities):
        labels = entity.labels
        profile_of[position] = numbers.setdefault(tuple([labels.get(key) for key in wanted]), len(numbers))
    members: dict[str, dict[str, list[int]]] = {key: {} for key in wanted}
    for values, number in numbers.items():
        for key, value in zip(wanted, values, strict=True):
            if value is not None:
                members[key].setdefault(value, []).append(number)
    columns = {key: {v: np.array(p, dtype=np.int64) for v, p in column.items()} for key, column in members.items()}
    return LabelIndex(profile_of, len(numbers), columns)
