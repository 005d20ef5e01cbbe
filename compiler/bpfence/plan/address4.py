"""The IPv4 table: 16-8-8 bits, three levels, equal blocks shared.

In: sorted interval starts and a class per interval. Out: the three levels. Levels 1 and 2 hold block numbers, level 3
peer
classes; every lookup reads all three, so its cost does not depend on the policy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Address4Table:
    """``level1``: 65536 second-level block numbers; ``level2``: (n, 256) third-level block numbers; ``level3``: (m,
    256) classes.
    """

    level1: Ints
    level2: Ints
    level3: Ints

    def lookup(self, address: int) -> int:
        """The peer class of an address (host order integer)."""
        block = self.level1[address >> 16]
        block = self.level2[block, address >> 8 & 0xFF]
        return int(self.level3[block, address & 0xFF])


def build_address4(starts: Ints, classes: Ints) -> Address4Table:
    """Paint the intervals into shared blocks.

    ``starts``: sorted first addresses, the first 0; interval i ends before start i + 1, the last with the space.
    ``classes``: one each.
    """
    level3, third = _split_level(starts, classes, 8)
    level2, second = _split_level(third.starts, third.values, 8)
    level1 = np.repeat(second.values, np.diff(np.append(second.starts, 1 << 16)))
    return Address4Table(level1, level2, level3)


@dataclass(frozen=True, slots=True)
class _Runs:
    """A step function over the coarser numbers: ``values[i]`` from ``starts[i]`` on."""

    starts: Ints
    values: Ints


def _split_level(starts: Ints, values: Ints, bits: int) -> tuple[Ints, _Runs]:
    """Cut a step function into blocks of 2**bits: (distinct blocks, the step function of their numbers one level up).

    Only blocks with a step inside are painted; runs of whole blocks between them are one step.
    """
    width = 1 << bits
    changed = np.append(True, values[1:] != values[:-1])
    starts, values = starts[changed], values[changed]
    mixed = np.unique(starts[(starts & (width - 1)) != 0] >> bits)
    pool: dict[bytes, int] = {}
    blocks: list[Ints] = []
    run_starts: list[int] = []
    run_values: list[int] = []

    def number(block: Ints) -> int:
        known = pool.setdefault(block.tobytes(), len(blocks))
        if known == len(blocks):
            blocks.append(block)
        return known

    edges = np.unique(np.concatenate([starts >> bits, mixed, mixed + 1]))
    is_mixed = np.isin(edges, mixed)
    first = np.searchsorted(starts, edges << bits, side="right") - 1
    for edge, inner, position in zip(edges.tolist(), is_mixed.tolist(), first.tolist(), strict=True):
        run_starts.append(edge)
        run_values.append(
            number(_paint(edge << bits, width, position, starts, values) if inner else np.full(width, values[position]))
        )
    return np.stack(blocks), _Runs(np.array(run_starts, dtype=np.int64), np.array(run_values, dtype=np.int64))


def _paint(base: int, width: int, position: int, starts: Ints, values: Ints) -> Ints:
    """One block of the step function: ``width`` values from ``base`` on. ``position``: the step that holds ``base``."""
    end = int(np.searchsorted(starts, base + width, side="left"))
    borders = np.append(np.maximum(starts[position:end], base), base + width)
    return np.repeat(values[position:end], np.diff(borders))
