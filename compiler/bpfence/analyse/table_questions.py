"""What is asked at an endpoint, of one set of tables: for all peer and L4 classes at once.

A `Question` is a row of a workload, or the rows of a host in the order in which they are asked. Equal questions have
equal answers, so each is asked once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfence.analyse.table_origins import Origin, RowEntries, origin_of_cell
from bpfence.plan.layout import CELL_ALLOW, CELL_NEXT, CELL_SPARES_HOST, UNRESTRICTED
from bpfence.simulate.arrays import Ints, TableArrays

Bits = NDArray[np.bool_]
_FIXED = {
    "unrestricted": True,
    "not-enforced": True,
    "source-check": False,
    "table-error": False,
}
"""Answers that no table gives -> whether the packet passes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``allowed``, ``codes``: shape (peers, L4 classes). A code stands for the deciding rule, see `origin`."""

    allowed: Bits
    codes: Ints


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same answer for everybody. ``reason``: see `Origin`."""

    reason: str

    def ask(self, tables: TableArrays | None, peers: Ints, l4: Ints) -> Answer:
        shape = (len(peers), len(l4))
        return Answer(np.full(shape, _FIXED[self.reason]), np.zeros(shape, dtype=np.int64))

    def origin(self, entries: RowEntries, code: int, allowed: bool) -> Origin:
        return Origin("allow" if allowed else "deny", self.reason)


@dataclass(frozen=True, slots=True)
class WorkloadRow:
    """A row of a workload. ``entry``: see `RowEntries`."""

    row: int
    entry: int

    def ask(self, tables: TableArrays | None, peers: Ints, l4: Ints) -> Answer:
        assert tables is not None
        cells = tables.cells(self.row, peers[:, None], l4[None, :])
        return Answer((cells & CELL_ALLOW) > 0, cells.astype(np.int64))

    def origin(self, entries: RowEntries, code: int, allowed: bool) -> Origin:
        return origin_of_cell(entries.entry(self.entry), code, allowed)


@dataclass(frozen=True, slots=True)
class Step:
    """One point of a host. ``point``: ``untracked``, ``pre-dnat``, ``endpoint``, ``forward`` or ``node``."""

    point: str
    row: int
    entry: int


@dataclass(frozen=True, slots=True)
class HostRows:
    """The points of a host in order. ``party``: the node itself sends or receives."""

    steps: tuple[Step, ...]
    party: bool

    def ask(self, tables: TableArrays | None, peers: Ints, l4: Ints) -> Answer:
        """Codes: the step that decided (1 is the first) << 16 | its cell; 0 = none did."""
        assert tables is not None
        return ask_host(tables, self, peers[:, None], l4[None, :])

    def origin(self, entries: RowEntries, code: int, allowed: bool) -> Origin:
        if not code >> 16:
            return Origin("allow" if allowed else "deny", "unrestricted")
        return origin_of_cell(entries.entry(self.steps[(code >> 16) - 1].entry), code & 0xFFFF, allowed)


Question = Fixed | WorkloadRow | HostRows


def ask_host(tables: TableArrays, rows: HostRows, peers: Ints, l4: Ints) -> Answer:
    """The steps one after another, for arrays that broadcast, as the programs at a host's interface ask them."""
    shape = np.broadcast_shapes(peers.shape, l4.shape)
    allowed, codes = np.ones(shape, dtype=bool), np.zeros(shape, dtype=np.int64)
    done, endpoint_done = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for number, step in enumerate(rows.steps, 1):
        if step.row == UNRESTRICTED:
            continue
        cells = tables.cells(step.row, peers, l4)
        if rows.party and step.point == "pre-dnat":
            cells = np.where(cells & CELL_SPARES_HOST, CELL_NEXT, cells)
        asked = allowed & ~done & ~(endpoint_done & (step.point != "node"))
        passes = (cells & (CELL_ALLOW | CELL_NEXT)) > 0
        speaks = asked & ((cells & CELL_NEXT) == 0)
        codes[speaks] = (number << 16) | cells[speaks].astype(np.int64)
        allowed &= ~asked | passes
        if step.point == "untracked":
            done |= speaks
        elif step.point == "pre-dnat":
            endpoint_done |= speaks
    return Answer(allowed, codes)
