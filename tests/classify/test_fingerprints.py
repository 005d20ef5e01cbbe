"""Fingerprints number exactly what is equal, and alike on every machine."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bpfence.classify.fingerprints import equal_rows, fingerprints, number_first_seen


def test_fingerprints_are_fixed() -> None:
    assert [hex(value) for value in fingerprints(2, 1).tolist()] == [
        hex(value) for value in fingerprints(3, 1)[:2].tolist()
    ]
    assert fingerprints(1000, 1).tolist() != fingerprints(1000, 2).tolist()
    assert len(set(fingerprints(10_000, 3).tolist())) == 10_000


def test_numbers_follow_first_appearance() -> None:
    numbers, first = number_first_seen(np.array([7, 3, 7, 9, 3], dtype=np.uint64))
    assert numbers.tolist() == [0, 1, 0, 2, 1]
    assert first.tolist() == [0, 1, 3]


@given(st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=30))
def test_rows_are_equal_exactly_when_their_numbers_are(rows: list[list[int]]) -> None:
    numbers, first = equal_rows(np.array(rows, dtype=np.uint16))
    for left, one in zip(rows, numbers.tolist(), strict=True):
        for right, other in zip(rows, numbers.tolist(), strict=True):
            assert (left == right) == (one == other)
    assert [numbers[position] for position in first] == list(range(len(first)))
