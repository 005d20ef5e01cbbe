"""The cells of all rows, in one of two layouts, chosen by what they weigh and what a read costs.

In: `MergedTables`. Out: `CellTables`.

- *Flat*: every row over the classes of all rows; a row is the number of its first cell. One read.
- *Two levels*: every row over its own classes, which two tables find from the classes of all rows; a row is a place in
  the table of rows. Three reads more, and rows share what they have in common.

Rows that tell few classes apart among many are what two levels are for: flat, the size is rows x peer classes x L4
classes; with two levels it is rows x (peer classes + L4 classes), and less when rows are alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.merge import Cells, MergedTables
from bpfence.errors import BudgetError
from bpfence.plan.layout import POLICY_ROW

CLASS_LIMIT = 65536
BYTES_LIMIT = 1 << 28
"""what the cells of one slot may take, with the tables that find them"""
FLAT_BUDGET = 1 << 22
"""bytes of flat cells up to which nothing else is looked at: they are read once, and a cache holds what is in use"""
GAIN = 2
"""beyond the budget two levels must be smaller than flat by this factor, else their reads buy nothing"""
NARROW = 256


@dataclass(frozen=True, slots=True)
class CellTables:
    """``cells``: all of them, 16 bits each. ``row_starts[n]``: what stands for distinct row n in the tables: its first
    cell, or its place in ``policy_rows``. ``flat_bytes``, ``level_bytes``: what each layout takes, whichever it is.

    Two levels: ``policy_rows``: POLICY_ROW records; ``row_peers``, ``row_l4``: merged class to class of the row;
    ``wide_row_peers``: some row has more classes of peers than a byte can number. Flat: the first three are empty.
    """

    cells: Cells
    row_starts: tuple[int, ...]
    policy_rows: NDArray[np.void]
    row_peers: Cells
    row_l4: Cells
    wide_row_peers: bool
    flat_bytes: int
    level_bytes: int

    @property
    def two_level(self) -> bool:
        return len(self.policy_rows) > 0

    @property
    def reads(self) -> int:
        """Table reads from row, peer class and L4 class to the verdict."""
        return 4 if self.two_level else 1


def build_cells(merged: MergedTables) -> CellTables:
    """Choose the layout and fill it. BudgetError with the numbers of both when neither fits."""
    levels = _two_levels(merged)
    if not _wants_levels(merged, levels):
        return _flat(merged, levels)
    return levels


def _wants_levels(merged: MergedTables, levels: CellTables) -> bool:
    if levels.flat_bytes <= FLAT_BUDGET and merged.peers <= CLASS_LIMIT and merged.l4 <= CLASS_LIMIT:
        return False
    if min(levels.flat_bytes, levels.level_bytes) > BYTES_LIMIT or max(merged.peers, merged.l4) > CLASS_LIMIT:
        raise BudgetError(
            f"the verdict tables would need {len(merged.rows)} rows of {merged.peers} peer classes x {merged.l4} L4 "
            f"classes ({levels.flat_bytes >> 20} MiB, or {levels.level_bytes >> 20} MiB in two levels); at most "
            f"{BYTES_LIMIT >> 20} MiB and {CLASS_LIMIT} classes are supported"
        )
    return levels.flat_bytes > BYTES_LIMIT or levels.level_bytes * GAIN <= levels.flat_bytes


def _flat(merged: MergedTables, levels: CellTables) -> CellTables:
    """The rows as a whole, one after another."""
    size = merged.peers * merged.l4
    cells = np.zeros(len(merged.rows) * size, dtype=np.uint16)
    for number, row in enumerate(merged.rows):
        cells[number * size : (number + 1) * size] = row.whole().reshape(-1)
    starts = tuple(number * size for number in range(len(merged.rows)))
    nothing, rows = np.zeros(0, dtype=np.uint16), np.zeros(0, dtype=POLICY_ROW.dtype)
    return CellTables(cells, starts, rows, nothing, nothing, False, levels.flat_bytes, levels.level_bytes)


def _two_levels(merged: MergedTables) -> CellTables:
    """Every part of a row is kept once, however many rows have it."""
    peers, l4, cells = _Pool(), _Pool(), _Pool()
    rows = np.zeros(len(merged.rows), dtype=POLICY_ROW.dtype)
    for record, row in zip(rows, merged.rows, strict=True):
        record["peers"] = peers.place(row.peer_of.astype(np.uint16))
        record["l4"] = l4.place(row.l4_of.astype(np.uint16))
        record["cells"] = cells.place(row.cells.reshape(-1))
        record["width"] = row.cells.shape[1]
    cell = 2 if merged.provenance else 1
    wide = max((len(row.cells) for row in merged.rows), default=0) > NARROW
    weight = rows.nbytes + peers.size * (2 if wide else 1) + l4.size * 2 + cells.size * cell
    flat = merged.cell_count * cell
    return CellTables(cells.content(), tuple(range(len(rows))), rows, peers.content(), l4.content(), wide, flat, weight)


class _Pool:
    """Arrays one after another, equal ones once."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._parts: list[Cells] = [np.zeros(0, dtype=np.uint16)]
        self.size = 0

    def place(self, part: Cells) -> int:
        """Where the array, which is not empty, begins."""
        place = self._places.setdefault(part.tobytes(), self.size)
        if place == self.size:
            self._parts.append(part)
            self.size += part.size
        return place

    def content(self) -> Cells:
        return np.concatenate(self._parts)
