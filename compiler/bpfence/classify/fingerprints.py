"""Fingerprints: cheap numbers that tell sets apart, and the exact check that they did."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
_CHUNK = 1 << 22
"""elements worked on at once: bounds the memory of temporaries"""


def fingerprints(count: int, seed: int) -> U64:
    """``count`` well-mixed 64-bit numbers, the same on every machine (splitmix64 of the position)."""
    with np.errstate(over="ignore"):
        value = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed << 32)) * np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def number_first_seen(values: U64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number distinct values in the order of their first appearance: (number of each, position of each number's
    first).
    """
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[inverse.reshape(-1)].astype(np.int64), first[order].astype(np.int64)


def equal_rows(matrix: NDArray[np.generic]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number equal rows of a matrix of integers, exactly: (number of each row, first row of each number)."""
    rows, columns = matrix.shape
    if rows == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    seed = 1
    while True:
        with np.errstate(over="ignore"):
            weights = fingerprints(columns, seed) | np.uint64(1)
            sums = np.zeros(rows, dtype=np.uint64)
            step = max(1, _CHUNK // rows)
            for start in range(0, columns, step):
                part = matrix[:, start : start + step].astype(np.uint64) + np.uint64(1)
                sums += (part * weights[start : start + step]).sum(axis=1, dtype=np.uint64)
        numbers, first = number_first_seen(sums)
        if np.array_equal(matrix, matrix[first[numbers]]):
            return numbers, first
        seed += 1
