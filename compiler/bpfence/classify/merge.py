"""Merging after the decisions are known: peer classes and L4 atoms whose cells are equal in every row become one.

In: the decisions of all rows. Out: `MergedTables`: small class numbers and one cell matrix per distinct row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.decide import Decision, RowDecisions
from bpfence.classify.fingerprints import equal_rows
from bpfence.plan.layout import CELL_ALLOW, CELL_DECISION_MASK, CELL_LOG, CELL_NEXT

Cells = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class MergedTables:
    """``peer_of``: peer class -> merged class; ``l4_of``: L4 atom -> merged class; ``cells[r]``: shape (merged peers,
    merged L4).

    ``cells_of_row[i]``: which matrix row i uses. ``provenance``: whether cells carry decision numbers.
    """

    peer_of: NDArray[np.int64]
    l4_of: NDArray[np.int64]
    cells: tuple[Cells, ...]
    cells_of_row: tuple[int, ...]
    provenance: bool

    @property
    def peers(self) -> int:
        return int(self.peer_of.max(initial=0)) + 1

    @property
    def l4(self) -> int:
        return int(self.l4_of.max(initial=0)) + 1


def row_cells(row: RowDecisions, provenance: bool) -> Cells:
    """The row's cells: verdict bits, and decision number + 1 when it fits and provenance is wanted."""
    values = np.zeros(len(row.decisions), dtype=np.uint16)
    for number, decision in enumerate(row.decisions):
        value = _verdict_bits(decision) | (CELL_LOG if decision.logged else 0)
        if provenance and number < CELL_DECISION_MASK:
            value |= number + 1
        values[number] = value
    return values[row.numbers]


def _verdict_bits(decision: Decision) -> int:
    if decision.undecided:
        return CELL_NEXT
    return CELL_ALLOW if decision.allowed else 0


def merge_rows(rows: Sequence[RowDecisions], peers: int, l4: int, provenance: bool, merge: bool = True) -> MergedTables:
    """Share equal rows, then join equal peer classes, then equal L4 atoms. ``merge`` False keeps every class apart."""
    matrices: list[Cells] = []
    numbers: dict[bytes, int] = {}
    cells_of_row = []
    for row in rows:
        cells = row_cells(row, provenance)
        number = numbers.setdefault(cells.tobytes(), len(matrices))
        if number == len(matrices):
            matrices.append(cells)
        cells_of_row.append(number)
    if not matrices:
        return MergedTables(np.zeros(peers, dtype=np.int64), np.zeros(l4, dtype=np.int64), (), (), provenance)
    if not merge:
        return MergedTables(np.arange(peers), np.arange(l4), tuple(matrices), tuple(cells_of_row), provenance)
    peer_of, peer_first = equal_rows(np.concatenate(matrices, axis=1))
    matrices = [cells[peer_first] for cells in matrices]
    l4_of, l4_first = equal_rows(np.concatenate([cells.T for cells in matrices], axis=1))
    matrices = [np.ascontiguousarray(cells[:, l4_first]) for cells in matrices]
    return MergedTables(peer_of, l4_of, tuple(matrices), tuple(cells_of_row), provenance)
