"""Endpoints that the same policies select, and what decides for each of them.

In: the program, the world, its label index. Out: `Group`s, and their rows: one for a first look, or every one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.fingerprints import equal_rows
from bpfence.classify.rows import Row, RowBuilder, Subject
from bpfence.identity.labels import LabelIndex
from bpfence.identity.world import Entity, World
from bpfence.ir.expressions import ANYONE
from bpfence.ir.nodes import Direction, Policy, Program, Rule

MOST_ROWS = 2_000
"""rows that are looked at beside the first of each group"""

ENDPOINT_KINDS = frozenset(("pod", "node", "hostendpoint"))


class TooLarge(Exception):  # noqa: N818 - a condition that the caller reports, not a failure
    """The input is larger than this analysis is given time for."""


@dataclass(frozen=True, slots=True)
class Group:
    """``members``: by name. They may still differ in their node, their addresses and the numbers of their ports."""

    members: tuple[Entity, ...]

    @property
    def words(self) -> str:
        """The first members and the number of the others."""
        names = ", ".join(entity.name for entity in self.members[:2])
        return f"{names} and {len(self.members) - 2} more" if len(self.members) > 2 else names


@dataclass(frozen=True, slots=True)
class GroupRow:
    group: Group
    row: Row


@dataclass(frozen=True, slots=True)
class Check:
    """A group to look at closer. ``by_node``: what is to be checked may depend on the node of an endpoint."""

    group: Group
    by_node: bool


def group_endpoints(program: Program, world: World, labels: LabelIndex, most: int) -> tuple[Group, ...]:
    """Every endpoint that some policy selects. TooLarge beyond ``most`` pairs of a selector and a label profile."""
    subjects = dict.fromkeys(policy.subject for policy in policies_of(program))
    if len(subjects) * labels.count > most:
        raise TooLarge
    if not subjects:
        return ()
    bits: NDArray[np.bool_] = np.stack([labels.profiles(subject) for subject in subjects], axis=1)
    numbers, _ = equal_rows(np.packbits(bits, axis=1))
    selected: NDArray[np.bool_] = np.any(bits, axis=1)
    groups: dict[int, list[Entity]] = {}
    for entity, profile in zip(world.entities, labels.profile_of.tolist(), strict=True):
        if selected[profile] and entity.kind in ENDPOINT_KINDS:
            groups.setdefault(int(numbers[profile]), []).append(entity)
    return tuple(Group(tuple(members)) for members in groups.values())


class GroupRows:
    """The rows of groups at every point of the program."""

    def __init__(self, program: Program, world: World, labels: LabelIndex) -> None:
        self._builder = RowBuilder(program, world, labels)
        self._points = tuple(dict.fromkeys(layer.point for layer in program.layers))
        self._every_address = any(rule.own != ANYONE for rule in rules_of(program))
        self._named = any(match.named_ports or match.not_named_ports for r in rules_of(program) for match in r.l4)

    def first(self, groups: Iterable[Group]) -> tuple[GroupRow, ...]:
        """Those of the first member of each group."""
        return tuple(GroupRow(group, row) for group in groups for row in self._rows(group.members[0]))

    def others(self, checks: Iterable[Check]) -> tuple[GroupRow, ...]:
        """Those of members that may differ from the first one. TooLarge when there are very many."""
        found: list[GroupRow] = []
        for check in checks:
            distinct = {self._difference(entity, check.by_node): entity for entity in reversed(check.group.members)}
            distinct.pop(self._difference(check.group.members[0], check.by_node))
            found.extend(GroupRow(check.group, row) for entity in distinct.values() for row in self._rows(entity))
            if len(found) > MOST_ROWS:
                raise TooLarge
        return tuple(found)

    def _difference(self, entity: Entity, by_node: bool) -> object:
        """What tells the rows of two members apart."""
        return (
            entity.node if by_node else "",
            entity.ports if self._named else (),
            entity.addresses if self._every_address else (),
        )

    def _rows(self, entity: Entity) -> Iterator[Row]:
        addresses = entity.addresses if self._every_address else entity.addresses[:1]
        subjects = [Subject(entity, address) for address in addresses or (None,)]
        places = (
            (subject, direction, point) for subject in subjects for point in self._points for direction in Direction
        )
        rows = (self._builder.row(*place) for place in places)
        yield from {id(row): row for row in rows if row is not None}.values()


def policies_of(program: Program) -> Iterator[Policy]:
    """Every policy of every layer."""
    for layer in program.layers:
        for tier in layer.tiers:
            yield from tier.policies


def rules_of(program: Program) -> Iterator[Rule]:
    """Every rule of every policy, exemptions left out."""
    for policy in policies_of(program):
        for direction in Direction:
            if (section := policy.section(direction)) is not None:
                yield from section.rules
