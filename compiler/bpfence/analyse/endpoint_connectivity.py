"""What may pass between workloads where no host is policed: the sender's egress row and the receiver's ingress row.

In: the program and the world. Out: `EndpointAnswers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bpfence.analyse.outside import OutsideRuns, outside_runs
from bpfence.analyse.roles import Role, make_role
from bpfence.analyse.set_numbers import EVERYTHING, NOTHING, Numbers, SetNumbers
from bpfence.classify.classification import Classification, address_text, classify, subjects_of
from bpfence.classify.rows import Subject
from bpfence.classify.services import ServiceCell
from bpfence.identity.world import Entity, World
from bpfence.ir.nodes import Direction, Program
from bpfence.plan.layout import CELL_ALLOW

Key = tuple[int, int]
"""(merged peer class, number of the row's cells)"""


class EndpointAnswers:
    """Numbers of what may pass, looked up in one matrix: ``_sides[cells, peer class]``; the last row allows all."""

    def __init__(self, program: Program, world: World, services: Sequence[ServiceCell]) -> None:
        subjects = tuple(subjects_of(world.pods))
        others = tuple(services_at_others(services, world))
        self.classification: Classification = classify(program, world, subjects, services=others)
        merged = self.classification.merged
        self.sets = SetNumbers(merged.l4)
        self._sides = np.full((len(merged.rows) + 1, merged.peers), EVERYTHING, dtype=np.int64)
        for number, cells in enumerate(merged.cells):
            self._sides[number] = self.sets.of_rows((cells & CELL_ALLOW) != 0)
        self._atom_class = merged.peer_of[self.classification.peers.class_of]
        self.senders = self._role(subjects, Direction.EGRESS)
        self.receivers = self._role(subjects, Direction.INGRESS)
        self._receiver_class, self._receiver_cells = _key_columns(self.receivers)
        self.runs: OutsideRuns = outside_runs(self.classification.peers.atoms, world)
        self._run_class = self._atom_class[self.runs.atoms]

    def _role(self, subjects: Sequence[Subject], direction: Direction) -> Role[Key]:
        keys = ((self._class(subject), self._cells(subject, direction)) for subject in subjects)
        return make_role(
            (workload_name(subject.entity), key, _family(subject)) for subject, key in zip(subjects, keys, strict=True)
        )

    def _class(self, subject: Subject) -> int:
        peers = self.classification.peers
        if subject.address is None:
            return int(self.classification.merged.peer_of[peers.templates[subject.entity.name]])
        return int(self._atom_class[peers.atoms.atom_of(subject.address)])

    def _cells(self, subject: Subject, direction: Direction) -> int:
        row = self.classification.row_of[subject.entity.name, address_text(subject), direction]
        return len(self._sides) - 1 if row is None else self.classification.merged.cells_of_row[row]

    def between(self, sender: int) -> Numbers:
        """From a kind of senders to every kind of receivers."""
        place, cells = self.senders.keys[sender]
        return self.sets.both(self._sides[cells, self._receiver_class], self._sides[self._receiver_cells, place])

    def outwards(self, sender: int) -> Numbers:
        """From a kind of senders to every run of outside addresses."""
        return self._outside(self.senders, sender)

    def inwards(self, receiver: int) -> Numbers:
        """From every run of outside addresses to a kind of receivers."""
        return self._outside(self.receivers, receiver)

    def _outside(self, role: Role[Key], kind: int) -> Numbers:
        family = int(role.families[kind])
        answers = self._sides[role.keys[kind][1], self._run_class]
        return answers if family == 0 else np.where(self.runs.families == family, answers, NOTHING)


def workload_name(entity: Entity) -> str:
    """``namespace/name[Kind]`` of the controlling owner."""
    kind, name = entity.owner
    return f"{entity.namespace}/{name}[{kind}]"


def services_at_others(services: Sequence[ServiceCell], world: World) -> Iterator[ServiceCell]:
    """The services that answer at addresses of nodes, NodePorts above all, or at an endpoint's. The other addresses of
    services are nobody's, and who gets to their backends is listed with these.
    """
    kinds = ("node", "hostendpoint", "pod")
    own = {address for item in world.entities if item.kind in kinds for address in item.addresses}
    for cell in services:
        addresses = tuple(address for address in cell.addresses if address in own)
        if addresses:
            yield replace(cell, addresses=addresses)


def _key_columns(role: Role[Key]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    columns = np.array(role.keys, dtype=np.int64).reshape(-1, 2)
    return columns[:, 0], columns[:, 1]


def _family(subject: Subject) -> int:
    """4 or 6; 0 for a template, which meets both."""
    return 0 if subject.address is None else subject.address.version
