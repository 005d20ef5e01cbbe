"""The IPv4 table: three levels, equal blocks shared.

In: sorted interval starts and a class per interval. Out: the three levels. Levels 1 and 2 hold block numbers, level 3
peer classes; every lookup reads all three, so its cost does not depend on the policy.

Levels take 16, 8 and 8 bits of an address, or 20, 6 and 6: a first level of 4 MiB, but blocks of a quarter of the size.
Prefixes that lie all over the address space each need a block of their own, so with many of them the smaller block
decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfence.plan.layout import address4_bits

Ints = NDArray[np.int64]
COARSE_BUDGET = 1 << 22
"""bytes up to which 16-8-8 is taken without looking further: its first level is always in some cache"""
GAIN = 2
"""beyond the budget 20-6-6 must be smaller by this factor"""
WIDE = 65535
"""third-level blocks that 16 bits can number"""


@dataclass(frozen=True, slots=True)
class Address4Table:
    """``level1``: second-level block numbers; ``level2``: (n, 2 ** bits) third-level block numbers; ``level3``: (m,
    2 ** bits) classes. ``fine``: 20-6-6 bits. ``unshared``: blocks of level 2 and 3 if equal ones were not one.
    """

    level1: Ints
    level2: Ints
    level3: Ints
    fine: bool
    unshared: tuple[int, int]

    @property
    def wide_blocks(self) -> bool:
        """Numbers of third-level blocks take 32 bits."""
        return len(self.level3) > WIDE

    @property
    def bytes(self) -> int:
        """What the three levels take."""
        block = 4 if self.wide_blocks else 2
        return self.level1.size * (4 if self.fine else 2) + self.level2.size * block + self.level3.size * 2

    def lookup(self, address: int) -> int:
        """The peer class of an address (host order integer)."""
        second, third = address4_bits(self.fine)
        block = self.level1[address >> second + third]
        block = self.level2[block, address >> third & (1 << second) - 1]
        return int(self.level3[block, address & (1 << third) - 1])


def build_address4(starts: Ints, classes: Ints) -> Address4Table:
    """Paint the intervals into shared blocks, of the size that takes less room.

    ``starts``: sorted first addresses, the first 0; interval i ends before start i + 1, the last with the space.
    ``classes``: one each.
    """
    coarse = _build(starts, classes, fine=False)
    if coarse.bytes <= COARSE_BUDGET:
        return coarse
    fine = _build(starts, classes, fine=True)
    return fine if fine.bytes * GAIN <= coarse.bytes else coarse


def _build(starts: Ints, classes: Ints, *, fine: bool) -> Address4Table:
    second, third = address4_bits(fine)
    level3, middle, painted3 = _split_level(starts, classes, third)
    level2, top, painted2 = _split_level(middle.starts, middle.values, second)
    level1 = np.repeat(top.values, np.diff(np.append(top.starts, 1 << 32 - second - third)))
    return Address4Table(level1, level2, level3, fine, (painted2, painted3))


@dataclass(frozen=True, slots=True)
class _Runs:
    """A step function over the coarser numbers: ``values[i]`` from ``starts[i]`` on."""

    starts: Ints
    values: Ints


def _split_level(starts: Ints, values: Ints, bits: int) -> tuple[Ints, _Runs, int]:
    """Cut a step function into blocks of 2**bits: (distinct blocks, the step function of their numbers one level up,
    blocks and runs of them before equal ones were shared).

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
    return (
        np.stack(blocks),
        _Runs(np.array(run_starts, dtype=np.int64), np.array(run_values, dtype=np.int64)),
        len(run_starts),
    )


def _paint(base: int, width: int, position: int, starts: Ints, values: Ints) -> Ints:
    """One block of the step function: ``width`` values from ``base`` on. ``position``: the step that holds ``base``."""
    end = int(np.searchsorted(starts, base + width, side="left"))
    borders = np.append(np.maximum(starts[position:end], base), base + width)
    return np.repeat(values[position:end], np.diff(borders))
