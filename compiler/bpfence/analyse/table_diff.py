"""Two sets of tables -> the connections that one allows and the other does not, in the words of people.

In: two `Side`s and `Known` names. Out: `VerdictChanges`. What differs is found on the classes of both tables at once,
never packet by packet; a change stands for all peers, ports and local endpoints that it holds for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from bpfence.analyse.table_deltas import Comparison
from bpfence.analyse.table_groups import ChangeGroup, Subject, change_groups
from bpfence.analyse.table_own_sides import own_sides
from bpfence.analyse.table_partition import Tables, partition_addresses, partition_l4
from bpfence.analyse.table_questions import Fixed, HostedRow, Question
from bpfence.analyse.table_sides import DIRECTIONS, Side, declared, host_ways
from bpfence.identity.inventory import Address

FAMILIES = (4, 6)


@dataclass(frozen=True, slots=True)
class Known:
    """Who has which address. ``labels``: names as `list` has them; ``at``: address -> label; ``owner``: endpoint or
    host -> its label's number; ``insiders``: addresses of nodes, which are not the world.
    """

    labels: tuple[str, ...]
    at: Mapping[Address, int]
    owner: Mapping[str, int]
    insiders: frozenset[Address] = frozenset()


@dataclass(frozen=True, slots=True)
class VerdictChanges:
    """``endpoints_added``, ``endpoints_removed``: endpoints and hosts that just one side has."""

    groups: tuple[ChangeGroup, ...] = ()
    endpoints_added: tuple[str, ...] = ()
    endpoints_removed: tuple[str, ...] = ()

    def count(self, kind: str) -> int:
        """Rows of a kind."""
        return sum(group.count for group in self.groups if group.kind == kind)

    @property
    def exposing(self) -> int:
        """Rows that let the world in."""
        return sum(group.exposing for group in self.groups)

    @property
    def within(self) -> int:
        """Changes between replicas of one workload, which are no rows."""
        return sum(group.within for group in self.groups)

    def __bool__(self) -> bool:
        return bool(self.groups)


def diff_tables(old: Side, new: Side, known: Known) -> VerdictChanges:
    """Every verdict that changes from ``old`` to ``new``."""
    names = [_names(side) for side in (old, new)]
    added, removed = sorted(names[1] - names[0]), sorted(names[0] - names[1])
    tables: Tables = (old.tables, new.tables)
    if old.tables is None and new.tables is None:
        return VerdictChanges()
    addresses = {version: partition_addresses(version, tables, known.at) for version in FAMILIES}
    comparison = Comparison(old, new, addresses, partition_l4(tables))
    subjects = [*_workloads(old, new), *_hosts(comparison)]
    groups = change_groups(comparison, _owned(subjects, known), known.labels, known.insiders)
    return VerdictChanges(tuple(groups), tuple(added), tuple(removed))


def _names(side: Side) -> set[str]:
    return {*side.places, *side.host_places}


def _owned(subjects: Iterable[Subject], known: Known) -> Iterator[tuple[int, Subject]]:
    for subject in subjects:
        yield known.owner[subject.endpoint], subject


class _Pair(NamedTuple):
    """An address of an endpoint on each side."""

    old: Address
    new: Address


def _workloads(old: Side, new: Side) -> Iterator[Subject]:
    for name in sorted({*old.places, *new.places}):
        in_force = old.places.get(name) is not None or new.places.get(name) is not None
        first, second = (old, new) if in_force else (_forced(old), _forced(new))
        for pair in _address_pairs(name, first, second):
            for direction in DIRECTIONS:
                asked = first.question(name, direction, pair.old), second.question(name, direction, pair.new)
                if asked[0] != asked[1] or not isinstance(asked[0], Fixed):
                    yield Subject(name, direction, pair.new.version, pair.new, *asked, enforced=in_force)
                    yield from _unusual(Subject(name, direction, pair.new.version, pair.new, *asked, enforced=in_force))


def _unusual(subject: Subject) -> Iterator[Subject]:
    """What reaches a workload, where hosts have a say and the source does not tell whether the node itself sent it:
    what the node passes on after translation has its address, and the node may have addresses that no object tells.
    """
    if subject.direction == "ingress" and any(isinstance(asked, HostedRow) for asked in (subject.old, subject.new)):
        for traffic, party in (("own", True), ("forwarded", False)):
            old, new = (
                replace(asked, party=party) if isinstance(asked, HostedRow) else asked
                for asked in (subject.old, subject.new)
            )
            yield replace(subject, old=old, new=new, traffic=traffic)


def _forced(side: Side) -> Side:
    """The side as if an interface led to each endpoint: nothing is in force on either, yet the tables may differ."""
    if side.manifest is None:
        return side
    return Side(side.tables, {one.name: one.id for one in side.manifest.endpoints}, side.host_places, side.entries)


def _address_pairs(name: str, old: Side, new: Side) -> Iterator[_Pair]:
    """Equal addresses; then addresses that took the place of others, family by family; then those of one side alone."""
    sides = [_addresses(name, old), _addresses(name, new)]
    yield from (_Pair(address, address) for address in sides[0] if address in sides[1])
    alone = [[address for address in mine if address not in other] for mine, other in (sides, sides[::-1])]
    # tables that say something else than their manifest were not made by a compiler: nothing took another's place
    moved = all(set(mine) == set(declared(side.manifest, name)) for mine, side in zip(sides, (old, new), strict=True))
    for version in FAMILIES:
        left, right = ([a for a in mine if a.version == version] for mine in alone)
        pairs = min(len(left), len(right)) if moved else 0
        yield from map(_Pair, left[:pairs], right[:pairs])
        yield from (_Pair(address, address) for address in (*left[pairs:], *right[pairs:]))


def _addresses(name: str, side: Side) -> list[Address]:
    """Of an endpoint that is not in force those that it would have."""
    own = side.own(name)
    found = [one.address for one in own] if own is not None else list(declared(side.manifest, name))
    return list(dict.fromkeys(found))


def _hosts(comparison: Comparison) -> Iterator[Subject]:
    old, new = comparison.old, comparison.new
    for name in sorted({*old.host_places, *new.host_places}):
        in_force = old.host_places.get(name) is not None or new.host_places.get(name) is not None
        for direction, party in host_ways():
            if name.startswith("node/") and not party:
                continue
            seen = set[tuple[int, Question, Question]]()
            for own in own_sides(comparison, name, direction, party):
                asked = (
                    old.host_question(name, direction, party, own),
                    new.host_question(name, direction, party, own),
                )
                if (asked[0] == asked[1] and isinstance(asked[0], Fixed)) or (own.version, *asked) in seen:
                    continue
                seen.add((own.version, *asked))
                traffic = "own" if party else "forwarded"
                yield Subject(name, direction, own.version, own, *asked, enforced=in_force, traffic=traffic)
