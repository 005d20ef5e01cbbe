"""Sets of small integers as sorted inclusive ranges."""

from __future__ import annotations

from collections.abc import Iterable

from bpfence.ir.nodes import Ranges

PORTS: tuple[int, int] = (0, 65535)
PROTOCOLS: tuple[int, int] = (0, 255)


def normalise(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sort and merge overlapping or adjacent inclusive ranges; each must have low <= high."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def complement(ranges: Iterable[tuple[int, int]], universe: tuple[int, int]) -> Ranges:
    """What of the universe (inclusive) the ranges leave out."""
    rest: list[tuple[int, int]] = []
    start = universe[0]
    for low, high in normalise(ranges):
        if low > start:
            rest.append((start, low - 1))
        start = max(start, high + 1)
    if start <= universe[1]:
        rest.append((start, universe[1]))
    return tuple(rest)


def contains(ranges: Ranges | None, value: int | None) -> bool:
    """Whether a criterion holds: None = no criterion; a missing value satisfies no criterion."""
    if ranges is None:
        return True
    return value is not None and any(low <= value <= high for low, high in ranges)
