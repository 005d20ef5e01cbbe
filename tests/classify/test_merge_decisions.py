"""Numbering decisions: counting and sorting must give the same numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bpfence.classify.decide import _number_occurring


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_counted_and_sorted_numbers_are_the_same(values: list[int]) -> None:
    given_values = np.array(values, dtype=np.int64)
    for bound in (10, 10_000):
        occurring, numbers = _number_occurring(given_values, bound)
        assert occurring.tolist() == sorted(set(values))
        assert occurring[numbers].tolist() == values
