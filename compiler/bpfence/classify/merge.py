"""Merging after the decisions are known: peer classes and L4 atoms whose cells are equal in every row become one.

In: the decisions of all rows. Out: `MergedTables`: small class numbers, and one `RowCells` per distinct row.

Each row is first reduced to its own classes, those that this row tells apart. Classes for all rows together are then
the combinations of the rows' classes that occur, so no step looks at more than one row's cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.decide import Decision, RowDecisions
from bpfence.classify.fingerprints import equal_rows
from bpfence.plan.layout import CELL_ALLOW, CELL_DECISION_MASK, CELL_LOG, CELL_NEXT, CELL_SPARES_HOST, CELL_STATELESS

Cells = NDArray[np.uint16]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RowCells:
    """One row over its own classes. ``peer_of``, ``l4_of``: merged class -> class of this row; ``cells``: shape (peer
    classes of this row, L4 classes of this row).
    """

    peer_of: Numbers
    l4_of: Numbers
    cells: Cells

    def whole(self) -> Cells:
        """The cells over the classes of all rows: shape (merged peers, merged L4)."""
        return np.ascontiguousarray(self.cells[np.ix_(self.peer_of, self.l4_of)])


@dataclass(frozen=True, slots=True)
class MergedTables:
    """``peer_of``: peer class -> merged class; ``l4_of``: L4 atom -> merged class; ``rows``: the distinct rows.

    ``cells_of_row[i]``: which of ``rows`` row i is. ``provenance``: whether cells carry decision numbers.
    """

    peer_of: Numbers
    l4_of: Numbers
    rows: tuple[RowCells, ...]
    cells_of_row: tuple[int, ...]
    provenance: bool

    @property
    def peers(self) -> int:
        return int(self.peer_of.max(initial=0)) + 1

    @property
    def l4(self) -> int:
        return int(self.l4_of.max(initial=0)) + 1

    @property
    def cells(self) -> tuple[Cells, ...]:
        """Every distinct row as a whole. Made anew each time."""
        return tuple(row.whole() for row in self.rows)

    @property
    def cell_count(self) -> int:
        """Cells of all distinct rows, each over the classes of all rows."""
        return len(self.rows) * self.peers * self.l4


def row_cells(row: RowDecisions, provenance: bool, stateless: NDArray[np.bool_] | None = None) -> Cells:
    """The row's cells: verdict bits, and decision number + 1 when it fits and provenance is wanted. ``stateless``: the
    cells that need no state (see `bpfence.classify.stateless`).
    """
    values = np.zeros(len(row.decisions), dtype=np.uint16)
    for number, decision in enumerate(row.decisions):
        value = _verdict_bits(decision) | (CELL_LOG if decision.logged else 0)
        value |= CELL_SPARES_HOST if decision.spares_host else 0
        if provenance and number < CELL_DECISION_MASK:
            value |= number + 1
        values[number] = value
    cells: Cells = values[row.numbers]
    if stateless is not None:
        cells[stateless] |= CELL_STATELESS
    return cells


def _verdict_bits(decision: Decision) -> int:
    if decision.undecided:
        return CELL_NEXT
    return CELL_ALLOW if decision.allowed else 0


def merge_rows(
    rows: Sequence[RowDecisions],
    peers: int,
    l4: int,
    provenance: bool,
    merge: bool = True,
    apart: Sequence[Numbers] = (),
    marks: Sequence[NDArray[np.bool_] | None] = (),
) -> MergedTables:
    """Share equal rows, then join equal peer classes, then equal L4 atoms. ``merge`` False keeps every class apart.

    ``apart``: numbers per peer class; classes that differ in one of them stay two. ``marks``: the cells of each row
    that need no state; nothing = none.
    """
    found: dict[tuple[bytes, ...], int] = {}
    distinct: list[RowCells] = []
    cells_of_row = []
    for row, stateless in zip(rows, marks or (None,) * len(rows), strict=True):
        reduced = _reduced(row, provenance, stateless, merge)
        key = (reduced.peer_of.tobytes(), reduced.l4_of.tobytes(), reduced.cells.tobytes())
        number = found.setdefault(key, len(distinct))
        if number == len(distinct):
            distinct.append(reduced)
        cells_of_row.append(number)
    if not distinct:
        return MergedTables(np.zeros(peers, dtype=np.int64), np.zeros(l4, dtype=np.int64), (), (), provenance)
    if not merge:
        return MergedTables(np.arange(peers), np.arange(l4), tuple(distinct), tuple(cells_of_row), provenance)
    peer_of, peer_first = _combinations([*(row.peer_of for row in distinct), *apart])
    l4_of, l4_first = _combinations([row.l4_of for row in distinct])
    kept = tuple(RowCells(row.peer_of[peer_first], row.l4_of[l4_first], row.cells) for row in distinct)
    return MergedTables(peer_of, l4_of, kept, tuple(cells_of_row), provenance)


def _reduced(row: RowDecisions, provenance: bool, stateless: NDArray[np.bool_] | None, merge: bool) -> RowCells:
    """The row over the classes that it tells apart, numbered in the order of their first appearance."""
    if not merge or row.group_of is None or stateless is not None:
        return _told_apart(row_cells(row, provenance, stateless), merge)
    groups = _told_apart(row_cells(replace(row, group_of=None), provenance), merge)
    # the groups are not in the order of the classes
    peer_of, first = equal_rows(groups.peer_of[row.group_of].reshape(-1, 1))
    return RowCells(peer_of, groups.l4_of, np.ascontiguousarray(groups.cells[groups.peer_of[row.group_of[first]]]))


def _told_apart(cells: Cells, merge: bool) -> RowCells:
    if not merge:
        return RowCells(np.arange(cells.shape[0]), np.arange(cells.shape[1]), cells)
    peer_of, peer_first = equal_rows(cells)
    l4_of, l4_first = equal_rows(np.ascontiguousarray(cells[peer_first].T))
    return RowCells(peer_of, l4_of, np.ascontiguousarray(cells[np.ix_(peer_first, l4_first)]))


def _combinations(columns: Sequence[Numbers]) -> tuple[Numbers, Numbers]:
    """Number the combinations that occur: (number of each place, first place of each number)."""
    return equal_rows(np.stack(columns, axis=1))
