"""Who is on the other side of a change: names of the inventory and ranges of outside addresses.

Everybody whose addresses lie in the same parts of the address space sees the same changes, so that changes are worked
out for kinds of peers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import numpy as np

from bpfence.analyse.table_deltas import UNCHANGED
from bpfence.analyse.table_partition import OUTSIDE, AddressPartition
from bpfence.identity.inventory import Address
from bpfence.simulate.arrays import Ints

Place = tuple[int, int]
"""(family, pair of the family's partition)"""


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody, or a range of outside addresses. ``examples``: (family, address as a number), one for each part of the
    address space where the peer sees changes. ``world``: some of the addresses are no node's.
    """

    name: str
    outside: bool
    examples: tuple[tuple[int, int], ...]
    world: bool = False


class PeerKinds:
    """Everybody by kind. ``addresses``: partition of each family; ``labels``: names by number."""

    def __init__(
        self, addresses: Mapping[int, AddressPartition], labels: Sequence[str], insiders: frozenset[Address]
    ) -> None:
        self._labels = labels
        self._insiders = insiders
        self._first: dict[tuple[int, Place], int] = {}
        places: dict[int, set[Place]] = defaultdict(set)
        for version, partition in addresses.items():
            known = np.flatnonzero(partition.labels != OUTSIDE)
            lines = zip(
                partition.labels[known].tolist(), partition.pair_of[known].tolist(), known.tolist(), strict=True
            )
            for label, pair, interval in lines:
                places[label].add((version, pair))
                self._first.setdefault((label, (version, pair)), partition.starts[interval])
        self._kinds: dict[frozenset[Place], list[int]] = defaultdict(list)
        for label, mine in sorted(places.items()):
            self._kinds[frozenset(mine)].append(label)
        self._made: dict[tuple[frozenset[Place], frozenset[Place]], list[Peer]] = {}

    def changed(self, classes: Mapping[int, Ints]) -> Iterator[tuple[frozenset[Place], list[Peer]]]:
        """(where they see changes, everybody of the kind). ``classes``: family -> classes, shape (pairs, deltas)."""
        seen = {version: (matrix != UNCHANGED).any(axis=1) for version, matrix in classes.items()}
        for kind, labels in self._kinds.items():
            here = frozenset(place for place in kind if place[0] in seen and seen[place[0]][place[1]])
            if here:
                yield here, self._peers(kind, here, labels)

    def _peers(self, kind: frozenset[Place], here: frozenset[Place], labels: Sequence[int]) -> list[Peer]:
        made = self._made.get((kind, here))
        if made is None:
            order = sorted(here)
            made = [
                Peer(self._labels[label], False, tuple((place[0], self._first[label, place]) for place in order))
                for label in labels
            ]
            self._made[kind, here] = made
        return made

    def outside(self, partition: AddressPartition, classes: Ints) -> Iterator[tuple[tuple[int, ...], Peer]]:
        """Ranges of outside addresses, as wide as the changes are the same: (class of each delta, range)."""
        numbers, lines = _numbered(classes)
        here = numbers[partition.pair_of]
        outside = partition.labels == OUTSIDE
        begins = np.append(True, (here[1:] != here[:-1]) | ~outside[1:] | ~outside[:-1])
        starts = np.flatnonzero(begins)
        ends = np.append(starts[1:], len(begins)) - 1
        unchanged = (lines == UNCHANGED).all(axis=1)
        kept = outside[starts] & ~unchanged[here[starts]]
        for first, last in zip(starts[kept].tolist(), ends[kept].tolist(), strict=True):
            low, high = partition.starts[first], partition.ends[last]
            yield tuple(lines[here[first]].tolist()), self._range(partition.version, low, high)

    def _range(self, version: int, low: int, high: int) -> Peer:
        name = f"{make_address(version, low)}-{make_address(version, high)}[External]"
        values = range(low, high + 1) if high - low < len(self._insiders) else ()
        world = not values or any(make_address(version, value) not in self._insiders for value in values)
        return Peer(name, True, ((version, low + (low == 0 < high)),), world)


def _numbered(lines: Ints) -> tuple[Ints, Ints]:
    """(number of each line, distinct lines)."""
    distinct, inverse = np.unique(lines, axis=0, return_inverse=True)
    return inverse.reshape(-1), distinct


def make_address(version: int, value: int) -> Address:
    """The address of a family's number."""
    return IPv4Address(value) if version == 4 else IPv6Address(value)
