"""L4 classes before merging: (protocol, destination port, source port, ICMP type, ICMP code) cut at rule boundaries
only.

In: the L4 matches of every rule, named ports already resolved. Out: `L4Atoms`: one atom per combination of interval
classes, and L4 matches as bit
vectors over the atoms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bpfence.errors import BudgetError
from bpfence.flows import ICMP_PROTOCOLS, PORT_PROTOCOLS
from bpfence.identity.labels import Bits
from bpfence.ir.nodes import L4Match, Ranges
from bpfence.ir.ranges import contains

MAX_ATOMS = 4_000_000
"""bound of the L4 space; more would be a policy that cuts both source and destination ports thousands of times"""


@dataclass(frozen=True, slots=True)
class Axis:
    """One number line cut into classes: ``class_of[value]``, ``representative[class]``, ``criteria``: range set ->
    bits over classes.
    """

    class_of: NDArray[np.int64]
    representative: NDArray[np.int64]
    criteria: dict[Ranges, Bits]

    @property
    def count(self) -> int:
        return len(self.representative)


@dataclass(frozen=True, slots=True)
class ProtocolSpace:
    """The atoms of one protocol: first*second classes in row-major order (destination x source ports, or types x
    codes), then one atom for
    packets whose header can't be read. ``first`` None: a protocol without ports or types, a single atom.
    """

    protocol: int
    offset: int
    first: Axis | None
    second: Axis | None

    @property
    def count(self) -> int:
        if self.first is None or self.second is None:
            return 1
        return self.first.count * self.second.count + 1

    @property
    def unreadable(self) -> int:
        """The atom of packets without a readable L4 header."""
        return self.offset + self.count - 1


@dataclass(slots=True)
class L4Atoms:
    """``spaces[p]``: the space of protocol p; protocols that nothing tells apart share one. ``count``: atoms in all."""

    spaces: tuple[ProtocolSpace, ...]
    count: int
    _cache: dict[L4Match, NDArray[np.int64]] = field(default_factory=dict)

    def matches(self, match: L4Match) -> NDArray[np.int64]:
        """The atoms that satisfy a match without named ports: sorted atom numbers."""
        known = self._cache.get(match)
        if known is None:
            known = self._cache[match] = self._evaluate(match)
        return known

    def atom(self, protocol: int, first: int | None, second: int | None) -> int:
        """The atom of a packet. ``first``, ``second``: destination and source port, or type and code; None =
        unreadable.
        """
        space = self.spaces[protocol]
        if space.first is None or space.second is None or first is None or second is None:
            return space.unreadable
        return space.offset + int(space.first.class_of[first]) * space.second.count + int(space.second.class_of[second])

    def distinct_spaces(self) -> tuple[ProtocolSpace, ...]:
        """Every space once, by offset."""
        return tuple({space.offset: space for space in self.spaces}.values())

    def _evaluate(self, match: L4Match) -> NDArray[np.int64]:
        if match.dns_names is not None:
            return np.zeros(0, dtype=np.int64)
        parts = [
            space.offset + _space_matches(space, match)
            for space in self.distinct_spaces()
            if contains(match.protocols, space.protocol)
        ]
        return np.sort(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)


def _space_matches(space: ProtocolSpace, match: L4Match) -> NDArray[np.int64]:
    ports = space.protocol in PORT_PROTOCOLS
    first = match.destination_ports if ports else match.icmp_types
    second = match.source_ports if ports else match.icmp_codes
    alien = (match.icmp_types, match.icmp_codes) if ports else (match.destination_ports, match.source_ports)
    if any(criterion is not None for criterion in alien):
        return np.zeros(0, dtype=np.int64)
    if space.first is None or space.second is None:
        return np.zeros(1 if first is None and second is None else 0, dtype=np.int64)
    bits = np.outer(_criterion(space.first, first), _criterion(space.second, second)).reshape(-1)
    found = np.flatnonzero(bits)
    return np.append(found, len(bits)) if first is None and second is None else found


def _criterion(axis: Axis, ranges: Ranges | None) -> Bits:
    return np.ones(axis.count, dtype=bool) if ranges is None else axis.criteria[ranges]


def cut_l4(matches: Iterable[L4Match]) -> L4Atoms:
    """Cut the L4 space at the borders of the matches (no named ports). BudgetError when it falls into too many
    pieces.
    """
    distinct = tuple(dict.fromkeys(matches))
    spaces: list[ProtocolSpace] = []
    offset = 0
    shared: dict[tuple[bool, ...], ProtocolSpace] = {}
    for protocol in range(256):
        if protocol in PORT_PROTOCOLS or protocol in ICMP_PROTOCOLS:
            space = _protocol_space(protocol, offset, distinct)
        else:
            key = tuple(contains(match.protocols, protocol) for match in distinct)
            space = shared.setdefault(key, ProtocolSpace(protocol, offset, None, None))
        spaces.append(space)
        if space.offset == offset:
            offset += space.count
    if offset > MAX_ATOMS:
        raise BudgetError(
            f"the policy cuts ports and ICMP types into {offset} combinations; at most {MAX_ATOMS} are supported"
        )
    return L4Atoms(tuple(spaces), offset)


def _protocol_space(protocol: int, offset: int, matches: tuple[L4Match, ...]) -> ProtocolSpace:
    mine = [match for match in matches if contains(match.protocols, protocol)]
    if protocol in PORT_PROTOCOLS:
        first = _cut_axis(65536, [m.destination_ports for m in mine])
        second = _cut_axis(65536, [m.source_ports for m in mine])
    else:
        first = _cut_axis(256, [m.icmp_types for m in mine])
        second = _cut_axis(256, [m.icmp_codes for m in mine])
    return ProtocolSpace(protocol, offset, first, second)


def _cut_axis(size: int, criteria: Iterable[Ranges | None]) -> Axis:
    """Join values that the same range sets contain: exact, by counting in runs between borders."""
    distinct = [ranges for ranges in dict.fromkeys(criteria) if ranges is not None]
    borders = sorted({0, size, *(edge for ranges in distinct for low, high in ranges for edge in (low, high + 1))})
    starts = np.array(borders[:-1], dtype=np.int64)
    members: dict[int, int] = {}
    class_of_run = np.empty(len(starts), dtype=np.int64)
    toggles: dict[int, int] = {}
    for number, ranges in enumerate(distinct):
        for low, high in ranges:
            toggles[low] = toggles.get(low, 0) ^ (1 << number)
            toggles[high + 1] = toggles.get(high + 1, 0) ^ (1 << number)
    active = 0
    representative: list[int] = []
    sets: list[int] = []
    for run, start in enumerate(borders[:-1]):
        active ^= toggles.get(start, 0)
        number = members.setdefault(active, len(representative))
        if number == len(representative):
            representative.append(start)
            sets.append(active)
        class_of_run[run] = number
    class_of = np.repeat(class_of_run, [high - low for low, high in pairwise(borders)])
    bits = {ranges: np.array([bool(s >> n & 1) for s in sets], dtype=bool) for n, ranges in enumerate(distinct)}
    return Axis(class_of, np.array(representative, dtype=np.int64), bits)
