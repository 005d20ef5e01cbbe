"""Numbers for sets of L4 classes: equal sets have equal numbers, so that millions of answers fit into arrays.

In: bit vectors over L4 classes. Out: numbers, and the numbers of intersections and unions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.fingerprints import equal_rows
from bpfence.errors import BudgetError
from bpfence.identity.labels import Bits

Numbers = NDArray[np.int64]
NOTHING, EVERYTHING = 0, 1
NUMBER_BITS = 20
"""numbers are smaller than two to this power: three of them fit into 63 bits"""


@dataclass(slots=True)
class SetNumbers:
    """Sets of ``size`` L4 classes. Number 0 is the empty set, 1 the full one; with no class at all they are alike."""

    size: int
    _sets: list[Bits] = field(init=False)
    _numbers: dict[bytes, int] = field(init=False)
    _joined: dict[tuple[bool, int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sets = [np.zeros(self.size, dtype=bool), np.ones(self.size, dtype=bool)]
        self._numbers = {bits.tobytes(): number for number, bits in enumerate(self._sets)}

    def bits(self, number: int) -> Bits:
        """The set of a number."""
        return self._sets[number]

    def number(self, bits: Bits) -> int:
        """The number of a set. BudgetError when there are too many."""
        known = self._numbers.setdefault(bits.tobytes(), len(self._sets))
        if known == len(self._sets):
            if known >> NUMBER_BITS:
                raise BudgetError(f"more than {known} different sets of ports are allowed between some two endpoints")
            self._sets.append(bits.copy())
        return known

    def of_rows(self, matrix: Bits) -> Numbers:
        """The number of each row of a matrix, shape (n, size)."""
        equal, first = equal_rows(np.packbits(matrix, axis=1))
        return np.array([self.number(matrix[row]) for row in first.tolist()], dtype=np.int64)[equal]

    def both(self, left: Numbers, right: Numbers) -> Numbers:
        """Intersections, position by position."""
        result = np.where(left == EVERYTHING, right, left)
        easy = (left == right) | (left == EVERYTHING) | (right == EVERYTHING)
        result[(left == NOTHING) | (right == NOTHING)] = NOTHING
        easy |= result == NOTHING
        return self._fill(result, ~easy, left, right, False)

    def either(self, left: Numbers, right: Numbers) -> Numbers:
        """Unions, position by position."""
        result = np.where(left == NOTHING, right, left)
        easy = (left == right) | (left == NOTHING) | (right == NOTHING)
        result[(left == EVERYTHING) | (right == EVERYTHING)] = EVERYTHING
        easy |= result == EVERYTHING
        return self._fill(result, ~easy, left, right, True)

    def _fill(self, result: Numbers, where: Bits, left: Numbers, right: Numbers, union: bool) -> Numbers:
        """What needs the sets themselves, each pair of numbers once."""
        if where.any():
            pairs = (left[where] << 32) | right[where]
            distinct, inverse = np.unique(pairs, return_inverse=True)
            found = [self._join(pair >> 32, pair & 0xFFFFFFFF, union) for pair in distinct.tolist()]
            result[where] = np.array(found, dtype=np.int64)[inverse.reshape(-1)]
        return result

    def _join(self, left: int, right: int, union: bool) -> int:
        key = (union, left, right)
        known = self._joined.get(key)
        if known is None:
            operation: Callable[..., Bits] = np.logical_or if union else np.logical_and
            known = self._joined[key] = self.number(operation(self._sets[left], self._sets[right]))
        return known
