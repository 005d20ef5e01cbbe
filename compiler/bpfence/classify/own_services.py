"""Endpoints behind a service: what such an endpoint sends to the service may come back to itself, which is spared.

In: rows with their decisions, the service cells, the subjects. Out: for the subjects to whom it makes a difference, a
row of their own: a service cell is judged over the other backends. All others keep the row they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.decide import Decision, Matrix, RowDecisions, decide_row
from bpfence.classify.l4 import L4Atoms
from bpfence.classify.peers import PeerClasses
from bpfence.classify.rows import Subject
from bpfence.classify.services import ServiceCell, backend_numbers, cell_block, first_denied
from bpfence.identity.inventory import Address
from bpfence.identity.named_ports import PortNumbers

Numbers = NDArray[np.int32]
Kind = tuple[tuple[int, frozenset[int]], ...]
"""(number of a service cell, peer classes of the subject's own addresses behind it): equal kinds, equal cells"""


@dataclass(slots=True)
class OwnServices:
    """Finds the rows. ``judged``: a row's decisions before service cells were filled, ``filled``: after."""

    cells: Sequence[ServiceCell]
    peers: PeerClasses
    l4: L4Atoms
    cluster: PortNumbers
    _behind: dict[Address, list[int]] = field(default_factory=dict)
    """address -> the cells that it stands behind"""

    def __post_init__(self) -> None:
        for number, cell in enumerate(self.cells):
            for address in dict.fromkeys(address for address, _ in cell.backends):
                self._behind.setdefault(address, []).append(number)

    def kind(self, subject: Subject) -> Kind:
        """The services that the subject is behind; empty for none."""
        found: dict[int, set[int]] = {}
        for address in subject.entity.addresses:
            for number in self._behind.get(address, ()):
                found.setdefault(number, set()).add(self._peer(address))
        return tuple((number, frozenset(classes)) for number, classes in sorted(found.items()))

    def row(self, subject: Subject, kind: Kind, judged: RowDecisions, filled: RowDecisions) -> RowDecisions | None:
        """The row of a subject of this kind; None: its verdicts are those of the row it shares."""
        own = frozenset(subject.entity.addresses)
        patch = _Patch(judged, list(filled.decisions))
        stored = filled.numbers
        numbers: Numbers | None = None
        for number, _ in kind:
            cell = self.cells[number]
            answers = [self._backend(patch, backend, cell, own) for backend in cell.backends]
            found = first_denied(answers, patch.allowed)
            where, atoms = cell_block(cell, filled.row, self.peers, self.l4)
            before = stored[np.ix_(where, atoms)]
            if (patch.allowed[before] == patch.allowed[found]).all():
                continue
            numbers = stored.copy() if numbers is None else numbers
            numbers[np.ix_(where, atoms)] = found
        return None if numbers is None else RowDecisions(filled.row, numbers, tuple(patch.decisions))

    def _backend(
        self, patch: _Patch, backend: tuple[Address, int], cell: ServiceCell, own: frozenset[Address]
    ) -> Numbers:
        """Per source port class, the decision about one backend; what the rules deny to the subject itself is spared
        where a tier does that.
        """
        plain = backend_numbers(backend, cell, patch.numbers, self.peers, self.l4)
        if backend[0] not in own or patch.allowed[plain].all():
            return plain
        peer = self.peers.only((self._peer(backend[0]),))
        spared = decide_row(patch.judged.row, peer, self.l4, self.cluster, itself=True)
        atoms = self.l4.matches(cell.target(backend[1]))
        numbers = patch.add(spared.decisions) + spared.numbers[0, atoms]
        return np.where(patch.allowed[plain], plain, numbers).astype(np.int32)

    def _peer(self, address: Address) -> int:
        return int(self.peers.class_of[self.peers.atoms.atom_of(address)])


@dataclass(slots=True)
class _Patch:
    """A row in the making: its decisions, more of which can be added.

    ``allowed``: the verdict of each; ``numbers``: those of the row as it was judged.
    """

    judged: RowDecisions
    decisions: list[Decision]
    allowed: NDArray[np.bool_] = field(init=False)
    numbers: Matrix = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = self.judged.numbers
        self._update()

    def add(self, decisions: Sequence[Decision]) -> int:
        """The number of the first of them."""
        first = len(self.decisions)
        self.decisions += decisions
        self._update()
        return first

    def _update(self) -> None:
        self.allowed = np.array([decision.allowed for decision in self.decisions], dtype=bool)
