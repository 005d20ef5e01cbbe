"""Service addresses at hosts: traffic from outside still carries a service's address when a host endpoint sees it.

In: the hosts' rows with their decisions, and the services. Out: further rows, for own addresses that are a service's:
their cells at the service's port repeat what the host's rows say about the backends. Behind an address of the node
itself (a NodePort, an external address on one of its interfaces) the point that is asked is the one for the node's own
traffic, so its row speaks, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.decide import Decision, Matrix, RowDecisions
from bpfence.classify.fingerprints import equal_rows
from bpfence.classify.host_own import own_addresses
from bpfence.classify.hosts import HostRow, row_of_address
from bpfence.classify.l4 import L4Atoms
from bpfence.classify.rows import Row
from bpfence.classify.services import ServiceCell
from bpfence.errors import BudgetError
from bpfence.identity.inventory import Address
from bpfence.identity.world import Entity, World
from bpfence.ir.nodes import Direction, Point

MOST_CELLS = 1 << 28
"""cells of all rows made here, over groups of peers that the hosts' rows tell apart"""
UNASKED = Decision(())
_NO_CLASSES = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class NumberedRow:
    """A host's row and its place among all rows; None: nothing restricts it."""

    item: HostRow
    number: int | None


def service_rows(
    hosts: Sequence[Entity],
    world: World,
    rows: Sequence[NumberedRow],
    decided: list[RowDecisions],
    services: Iterable[ServiceCell],
    l4: L4Atoms,
) -> tuple[NumberedRow, ...]:
    """Rows for service addresses, to stand before ``rows``. Adds their decisions to ``decided``.

    BudgetError when there are too many to hold.
    """
    by_address: dict[Address, list[ServiceCell]] = {}
    for cell in services:
        for address in cell.addresses if cell.backends else ():
            by_address.setdefault(address, []).append(cell)
    maker = _Maker(decided, {row.number for row in rows if row.number is not None}, l4)
    made: list[NumberedRow] = []
    for host in hosts:
        own = own_addresses(host, world)
        mine = _HostRows(host, [row for row in rows if row.item.host == host.name], own)
        for address, cells in by_address.items():
            # any of them may be on one of the node's interfaces, without an object that tells
            rows_here = (maker.row(mine, address, point, cells) for point in (Point.ENDPOINT, Point.FORWARD))
            made.extend(row for row in rows_here if row is not None)
    return tuple(made)


@dataclass(frozen=True, slots=True)
class _HostRows:
    host: Entity
    rows: Sequence[NumberedRow]
    own: frozenset[Address]

    def backend(self, address: Address, at: Point) -> int | None:
        """The row for packets to a backend. ``at``: where the service's address is asked about. What is forwarded to
        the node itself is no longer forwarded.
        """
        point = Point.ENDPOINT if address in self.own else Point.FORWARD
        return None if (point, at) == (Point.ENDPOINT, Point.FORWARD) else self.number(address, point)

    def number(self, address: Address, point: Point) -> int | None:
        """The row for packets that come in for an address at a point."""
        there = [row for row in self.rows if (row.item.point, row.item.direction) == (point, Direction.INGRESS)]
        found = row_of_address([row.item for row in there], address)
        return next((row.number for row in there if row.item is found), None)


def _groups(row: RowDecisions) -> NDArray[np.int64]:
    """Peer class -> group of classes that the row does not tell apart."""
    return equal_rows(row.few)[0] if row.group_of is None else row.group_of


def _numbers_of(row: RowDecisions, classes: NDArray[np.int64]) -> Matrix:
    """The row's decision numbers for some peer classes."""
    return row.few[classes] if row.group_of is None else row.few[row.group_of[classes]]


class _Maker:
    """Works on groups of peer classes that no row of a host tells apart: there are few of them."""

    def __init__(self, decided: list[RowDecisions], rows: Collection[int], l4: L4Atoms) -> None:
        self._decided = decided
        self._l4 = l4
        self._made: dict[object, int] = {}
        self._cells = 0
        columns = [_groups(decided[number]) for number in sorted(rows)]
        self._group_of, first = equal_rows(np.stack(columns, axis=1)) if columns else (_NO_CLASSES, _NO_CLASSES)
        self._grouped = {number: _numbers_of(decided[number], first) for number in rows}

    def row(self, host: _HostRows, address: Address, point: Point, cells: Sequence[ServiceCell]) -> NumberedRow | None:
        """The row for packets to one service address; None when nothing differs from the host's usual one."""
        base = host.number(address, point)
        answers = tuple((cell, tuple((host.backend(a, point), port) for a, port in cell.backends)) for cell in cells)
        if base is None and all(number is None for _, numbers in answers for number, _ in numbers):
            return None
        key = (base, tuple((cell.protocol, cell.port, numbers) for cell, numbers in answers))
        if key not in self._made:
            self._made[key] = self._make(base, answers, host)
        number = self._made[key]
        own = (address.version, int(address), int(address))
        item = HostRow(host.host.name, Direction.INGRESS, point, own, self._decided[number].row)
        return NumberedRow(item, number)

    def _make(
        self,
        base: int | None,
        answers: Iterable[tuple[ServiceCell, tuple[tuple[int | None, int], ...]]],
        host: _HostRows,
    ) -> int:
        table = _Table(self._decided, self._grouped, base)
        self._cells += table.cells
        if self._cells > MOST_CELLS:
            raise BudgetError(
                f"{host.host.name}: policies for forwarded traffic and the services of the cluster need more than "
                f"{MOST_CELLS >> 20} million cells; select fewer hosts or leave services out of the input"
            )
        for cell, numbers in answers:
            atoms = self._l4.matches(cell.l4)
            parts = [table.column(number, self._l4.matches(cell.target(port))) for number, port in numbers]
            table.put(atoms, parts)
        first = next(n for n in (base, *(n for _, numbers in answers for n, _ in numbers)) if n is not None)
        row = self._decided[first].row
        self._decided.append(table.decisions(row, self._group_of))
        return len(self._decided) - 1


class _Table:
    """A row under construction: the decisions of several rows side by side."""

    def __init__(self, decided: Sequence[RowDecisions], grouped: Mapping[int, Matrix], base: int | None) -> None:
        self._all = decided
        self._grouped = grouped
        self._starts: dict[int | None, int] = {None: 0}
        self._decisions: list[Decision] = [UNASKED]
        if base is None:
            self._numbers = np.zeros_like(next(iter(grouped.values())))
        else:
            self._numbers = grouped[base] + np.int32(1)
            self._decisions += decided[base].decisions

    @property
    def cells(self) -> int:
        return self._numbers.size

    def column(self, number: int | None, atoms: NDArray[np.int64]) -> NDArray[np.int32]:
        """What a row says at some L4 atoms, in this table's decision numbers; shape (groups, atoms)."""
        if number is None:
            return np.zeros((len(self._numbers), len(atoms)), dtype=np.int32)
        if number not in self._starts:
            self._starts[number] = len(self._decisions)
            self._decisions += self._all[number].decisions
        found: NDArray[np.int32] = self._grouped[number][:, atoms] + np.int32(self._starts[number])
        return found

    def put(self, atoms: NDArray[np.int64], parts: Sequence[NDArray[np.int32]]) -> None:
        """The first part that denies, else the first."""
        allowed = np.array([decision.allowed for decision in self._decisions], dtype=bool)
        result = parts[0]
        for part in parts[1:]:
            result = np.where(allowed[result] & ~allowed[part], part, result)
        self._numbers[:, atoms] = result

    def decisions(self, row: Row, group_of: NDArray[np.int64]) -> RowDecisions:
        return RowDecisions(row, self._numbers, tuple(self._decisions), group_of)
