"""What is asked at an endpoint, of one set of tables: for all peer and L4 classes at once.

A `Question` is a row of a workload, with what hosts say about it, or the rows of a host in the order in which they are
asked. Equal questions have
equal answers, so each is asked once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bpfence.analyse.table_origins import Origin, RowEntries, origin_of_cell
from bpfence.analyse.table_partition import NODE_ERROR, NODE_PORT, TOO_BIG
from bpfence.plan.layout import CELL_ALLOW, CELL_NEXT, CELL_SPARES_HOST, HOST, HOST_POINTS, UNRESTRICTED
from bpfence.simulate.arrays import BROKEN, Cells, Ints, TableArrays

Bits = NDArray[np.bool_]
_FIXED = {
    "unrestricted": True,
    "not-enforced": True,
    "source-check": False,
    "table-error": False,
}
"""Answers that no table gives -> whether the packet passes."""
_NO_ROW = UNRESTRICTED - 1
_PLACE = {place: index for index, place in enumerate(HOST_POINTS)}
_HOST_SAYS = {
    "egress": (("every", "pre-dnat"), ("every", "forward"), ("drops", ""), ("node", "endpoint")),
    "ingress": (("node", "endpoint"), ("every", "forward")),
}
"""Who is asked, and at which point, about what a workload sends or receives."""


@dataclass(frozen=True, slots=True)
class Packets:
    """What is asked about, by class; the arrays broadcast. ``marks``: of the headers, see `NODE_PORT`. ``party``: the
    node itself is the remote party; it counts at workloads alone.
    """

    peers: Ints
    l4: Ints
    marks: Ints
    party: Bits

    @property
    def shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(self.peers.shape, self.l4.shape)

    def select(self, chosen: Ints) -> Packets:
        """Those at the indices, of arrays that have an element per packet."""
        return Packets(self.peers[chosen], self.l4[chosen], self.marks[chosen], self.party[chosen])

    def has(self, mark: int) -> Bits:
        return np.broadcast_to((self.marks & mark) > 0, self.shape)


@dataclass(frozen=True, slots=True)
class Answer:
    """``allowed``, ``codes``: of each packet. A code stands for the deciding rule, see `origin`."""

    allowed: Bits
    codes: Ints


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same answer for everybody. ``reason``: see `Origin`."""

    reason: str

    def ask(self, tables: TableArrays | None, packets: Packets) -> Answer:
        return Answer(np.full(packets.shape, _FIXED[self.reason]), np.zeros(packets.shape, dtype=np.int64))

    def origin(self, entries: RowEntries, code: int, allowed: bool) -> Origin:
        return Origin("allow" if allowed else "deny", self.reason)


@dataclass(frozen=True, slots=True)
class WorkloadRow:
    """A row of a workload. ``entry``: see `RowEntries`."""

    row: int
    entry: int

    def ask(self, tables: TableArrays | None, packets: Packets) -> Answer:
        assert tables is not None
        cells = np.where(packets.has(TOO_BIG), CELL_ALLOW, tables.cells(self.row, packets.peers, packets.l4))
        return Answer((cells & CELL_ALLOW) > 0, cells.astype(np.int64))

    def origin(self, entries: RowEntries, code: int, allowed: bool) -> Origin:
        if self.row == UNRESTRICTED:
            return Origin("allow", "unrestricted")
        return origin_of_cell(entries.entry(self.entry), code, allowed)


@dataclass(frozen=True, slots=True)
class HostedRow:
    """A workload's row on a node whose hosts have a say, too. ``own``: peer class of the workload's address; ``every``,
    ``node``: numbers of the host endpoint of every interface and of the node itself, -1 for none; ``drops``: the node
    drops what its workloads send to it. ``party``: whether the node itself sends what comes to the workload, whatever
    the address; None: as `Packets` has it.
    """

    row: WorkloadRow
    direction: str
    own: int
    every: int
    node: int
    drops: bool
    party: bool | None = None

    def ask(self, tables: TableArrays | None, packets: Packets) -> Answer:
        """Codes: of a host that denies (its place among `_HOST_SAYS` + 1) << 48 | its row << 16 | its cell; else the
        cell of the workload's row.
        """
        assert tables is not None
        answer = self.row.ask(tables, packets)
        allowed, codes = answer.allowed.copy(), answer.codes.copy()
        for number, (asked, rows, cells) in enumerate(self._say(tables, packets), 1):
            denies = allowed & asked & ((cells & (CELL_ALLOW | CELL_NEXT)) == 0)
            said = number << 48 | (rows & 0xFFFFFFFF) << 16 | cells.astype(np.int64)
            codes[denies] = np.broadcast_to(said, packets.shape)[denies]
            allowed &= ~denies
        return Answer(allowed, codes)

    def _say(self, tables: TableArrays, packets: Packets) -> Iterator[tuple[Bits, Ints, Cells]]:
        """(whether it is asked, its row, its cell) of each of `_HOST_SAYS`, in order."""
        party = np.broadcast_to(packets.party if self.party is None else np.bool_(self.party), packets.shape)
        if self.direction == "ingress":
            yield party & ~packets.has(NODE_ERROR), *self._cells(tables, packets, self.node, "egress", "endpoint")
            yield ~party, *self._cells(tables, packets, self.every, "egress", "forward")
            return
        passed_on = ~party | packets.has(NODE_PORT)
        rows, early = self._cells(tables, packets, self.every, "ingress", "pre-dnat")
        early = np.where(party & ((early & CELL_SPARES_HOST) > 0), CELL_NEXT, early)
        yield np.ones(packets.shape, dtype=bool), rows, early
        undecided = passed_on & ((early & CELL_ALLOW) == 0)
        yield undecided, *self._cells(tables, packets, self.every, "ingress", "forward")
        nothing = np.zeros(packets.shape, dtype=np.int64)
        yield party & ~passed_on & self.drops, nothing, nothing.astype(np.uint16)
        yield party & ~packets.has(NODE_ERROR), *self._cells(tables, packets, self.node, "ingress", "endpoint")

    def _cells(
        self, tables: TableArrays, packets: Packets, host: int, direction: str, point: str
    ) -> tuple[Ints, Cells]:
        """(rows, cells) of a host's point: what is the workload's peer is the host's own side."""
        own = np.broadcast_to(packets.peers, packets.shape)
        if host < 0:
            return np.full(packets.shape, UNRESTRICTED), np.full(packets.shape, CELL_NEXT, dtype=np.uint16)
        rows = host_rows(tables, host, _PLACE[direction, point], own)
        cells = tables.cells(rows, np.asarray(self.own), packets.l4)
        return rows, np.where(rows == UNRESTRICTED, CELL_NEXT, cells).astype(np.uint16)

    def origin(self, entries: RowEntries, code: int, allowed: bool) -> Origin:
        number = code >> 48
        if not number:
            return self.row.origin(entries, code, allowed)
        who, point = _HOST_SAYS[self.direction][number - 1]
        if who == "drops":
            return Origin("deny", "host-setting", rule="defaultEndpointToHostAction: Drop")
        direction = "egress" if self.direction == "ingress" else "ingress"
        row = code >> 16 & 0xFFFFFFFF
        entry = entries.find_host(self.every if who == "every" else self.node, direction, point, row)
        return origin_of_cell(entries.entry(entry), code & 0xFFFF, allowed)


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

    def ask(self, tables: TableArrays | None, packets: Packets) -> Answer:
        """The steps one after another, as the programs at a host's interface ask them. Codes: the step that decided
        (1 is the first) << 16 | its cell; 0 = none did.
        """
        assert tables is not None
        allowed, codes = np.ones(packets.shape, dtype=bool), np.zeros(packets.shape, dtype=np.int64)
        done, endpoint_done = np.zeros(packets.shape, dtype=bool), np.zeros(packets.shape, dtype=bool)
        for number, step in enumerate(self.steps, 1):
            if step.row == UNRESTRICTED:
                continue
            cells = tables.cells(step.row, packets.peers, packets.l4)
            if self.party and step.point == "pre-dnat":
                cells = np.where(cells & CELL_SPARES_HOST, CELL_NEXT, cells)
            asked = allowed & ~done & ~(packets.has(NODE_ERROR) if step.point == "node" else endpoint_done)
            passes = (cells & (CELL_ALLOW | CELL_NEXT)) > 0
            speaks = asked & ((cells & CELL_NEXT) == 0)
            codes[speaks] = (number << 16) | cells[speaks].astype(np.int64)
            allowed &= ~asked | passes
            if step.point == "untracked":
                done |= speaks
            elif step.point == "pre-dnat":
                endpoint_done |= speaks
        return Answer(allowed, codes)

    def origin(self, entries: RowEntries, code: int, allowed: bool) -> Origin:
        if not code >> 16:
            return Origin("allow" if allowed else "deny", "unrestricted")
        return origin_of_cell(entries.entry(self.steps[(code >> 16) - 1].entry), code & 0xFFFF, allowed)

    def of_points(self, early: bool) -> HostRows:
        """What is asked of every packet before connection tracking, or what is asked when a flow begins."""
        return HostRows(tuple(step for step in self.steps if (step.point == "untracked") == early), self.party)


Question = Fixed | WorkloadRow | HostedRow | HostRows


def as_usual(question: Question) -> Question:
    """The same about packets whose address tells whether the node itself sends them."""
    return replace(question, party=None) if isinstance(question, HostedRow) else question


def host_rows(tables: TableArrays, host: int, point: int, own: Ints) -> Ints:
    """The rows of a host at a point (an index of `HOST_POINTS`) by own classes; one beyond the tables when there is
    none.
    """
    usual = np.frombuffer(tables.images["hosts"], dtype=HOST.dtype)
    if "own_rows" not in tables.images:
        row = int(usual[host]["rows"][point]) if host < len(usual) else _NO_ROW
        return np.full(own.shape, row, dtype=np.int64)
    rows = np.frombuffer(tables.images["own_rows"], dtype="<u4").astype(np.int64)
    index = (host * len(usual[0]["rows"]) + point) * int(tables.header["own_stride"]) + own
    known = (own != BROKEN) & (index < len(rows))
    return np.where(known, rows[np.where(known, index, 0)], _NO_ROW)
