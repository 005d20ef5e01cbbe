"""The layouts of the cells: both say the same, the smaller is taken beyond the budget, what fits neither is refused."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bpfence.classify.decide import Decision, LayerOutcome, RowDecisions
from bpfence.classify.merge import MergedTables, merge_rows, row_cells
from bpfence.classify.rows import Row
from bpfence.errors import BudgetError
from bpfence.plan import cells
from bpfence.plan.cells import CellTables, build_cells
from bpfence.plan.plan import capacity, elements
from support.layouts import force_two_levels

PEERS, L4 = 7, 5
ROW = cast(Row, SimpleNamespace())
NUMBERS = st.lists(st.integers(0, 3), min_size=PEERS * L4, max_size=PEERS * L4)


def decided(numbers: Sequence[int] | NDArray[np.integer]) -> RowDecisions:
    """A row whose decision numbers are these, some of them with one meaning."""
    outcomes = [LayerOutcome("one", allowed, "rule") for allowed in (True, False, True, False)]
    decisions = tuple(Decision((outcome,)) for outcome in outcomes)
    return RowDecisions(ROW, np.array(numbers, dtype=np.int32).reshape(PEERS, L4), decisions)


def cell(tables: CellTables, merged: MergedTables, row: int, peer: int, l4: int) -> int:
    """What the tables say, read as the program reads them."""
    start = tables.row_starts[merged.cells_of_row[row]]
    if not tables.two_level:
        return int(tables.cells[start + peer * merged.l4 + l4])
    record = tables.policy_rows[start]
    line, column = tables.row_peers[record["peers"] + peer], tables.row_l4[record["l4"] + l4]
    return int(tables.cells[record["cells"] + int(line) * int(record["width"]) + column])


@given(st.lists(NUMBERS, max_size=4), st.booleans(), st.booleans(), st.booleans())
def test_both_layouts_hold_every_decision(
    rows: list[list[int]], provenance: bool, merge: bool, two_level: bool
) -> None:
    given_rows = [decided(numbers) for numbers in rows]
    merged = merge_rows(given_rows, PEERS, L4, provenance, merge)
    with pytest.MonkeyPatch.context() as patch:
        if two_level:
            force_two_levels(patch)
        tables = build_cells(merged)
    assert tables.two_level == (two_level and bool(rows))
    for number, row in enumerate(given_rows):
        wanted = row_cells(row, provenance)
        for peer in range(PEERS):
            for l4 in range(L4):
                seen = cell(tables, merged, number, int(merged.peer_of[peer]), int(merged.l4_of[l4]))
                assert seen == wanted[peer, l4]


@given(st.lists(NUMBERS, min_size=1, max_size=4), st.lists(st.integers(0, 1), min_size=PEERS, max_size=PEERS))
def test_classes_are_merged_exactly_when_no_row_tells_them_apart(rows: list[list[int]], apart: list[int]) -> None:
    matrices = [row_cells(decided(numbers), True) for numbers in rows]
    merged = merge_rows([decided(numbers) for numbers in rows], PEERS, L4, True, True, [np.array(apart)])
    lines = [(*(m[peer].tobytes() for m in matrices), apart[peer]) for peer in range(PEERS)]
    columns = [tuple(m[:, l4].tobytes() for m in matrices) for l4 in range(L4)]
    for found, keys in ((merged.peer_of.tolist(), lines), (merged.l4_of.tolist(), columns)):
        first_seen = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        assert found == [first_seen[key] for key in keys]


def sparse_rows(rows: int, peers: int, l4: int) -> MergedTables:
    """Rows that each tell two halves of the peers and one L4 class from the rest."""
    meanings = tuple(Decision((LayerOutcome("one", allowed, "rule"),)) for allowed in (False, True))
    made = []
    for number in range(rows):
        numbers = np.zeros((peers, l4), dtype=np.int32)
        numbers[(np.arange(peers) >> number % 10 & 1).astype(bool), number % l4] = 1
        made.append(RowDecisions(ROW, numbers, meanings))
    return merge_rows(made, peers, l4, False)


def test_beyond_the_budget_the_smaller_layout_is_taken() -> None:
    merged = sparse_rows(130, 1024, 33)
    tables = build_cells(merged)
    assert tables.flat_bytes > cells.FLAT_BUDGET
    assert tables.two_level
    assert tables.level_bytes * 20 < tables.flat_bytes
    taken = tables.policy_rows.nbytes + tables.row_peers.size + tables.row_l4.nbytes + tables.cells.size
    assert tables.level_bytes == taken


def test_equal_parts_of_rows_are_kept_once() -> None:
    tables = build_cells(sparse_rows(130, 1024, 33))
    assert len(tables.row_peers) == 10 * 1024
    assert len(tables.row_l4) == 33 * 33
    assert tables.cells.size < 130 * 4


def test_within_the_budget_cells_are_flat() -> None:
    merged = sparse_rows(100, 1024, 33)
    assert not build_cells(merged).two_level


def test_what_no_layout_holds_is_refused_with_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    merged = sparse_rows(130, 1024, 33)
    monkeypatch.setattr(cells, "BYTES_LIMIT", 1 << 12)
    with pytest.raises(BudgetError, match=r"130 rows of 1024 peer classes x 33 L4 classes \(4 MiB, or 0 MiB"):
        build_cells(merged)


def test_a_row_with_many_classes_needs_wide_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    force_two_levels(monkeypatch)
    for classes, wide in ((256, False), (257, True)):
        numbers = np.zeros((classes, 9), dtype=np.int32)
        numbers[:] = np.arange(classes)[:, None] >> np.arange(9) & 1
        meanings = tuple(Decision((LayerOutcome("one", allowed, "rule"),)) for allowed in (False, True))
        tables = build_cells(merge_rows([RowDecisions(ROW, numbers, meanings)], classes, 9, False))
        assert tables.wide_row_peers == wide


@given(st.integers(0, 1 << 20), st.integers(0, 10))
def test_room_is_enough_and_never_far_more(needed: int, power: int) -> None:
    least = 1 << power
    room = elements(needed, least)
    assert room >= max(needed, least)
    assert room <= capacity(needed, least)
    if needed > 8 * least:
        assert room <= needed + needed // 8 + 1
