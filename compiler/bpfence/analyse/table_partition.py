"""Where two sets of tables could differ: each cuts every address and every L4 header into classes; here both together.

In: two `TableArrays`, either of which may be missing (nothing is enforced there). Out: partitions whose parts neither
side tells apart, so that one look at each part finds every difference. Where hosts have a say at workloads, the node's
own addresses, ports of services at the node and a few ICMP messages are told apart, too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfence.flows import MULTICAST_LISTENER, NEIGHBOUR_DISCOVERY
from bpfence.simulate.arrays import Address, Ints, TableArrays, halves
from bpfence.simulate.simulator import ICMP_INDEX, PORT_INDEX

Bits = NDArray[np.bool_]
Tables = tuple[TableArrays | None, TableArrays | None]
EXEMPT = -1
OUTSIDE = -1
NODE_PORT, TOO_BIG, NODE_ERROR = 1, 2, 4
"""Marks of headers: a service answers at the port at every address of the node (by side); the messages of path MTU
discovery, which pass at workloads; these and ICMPv6 errors, which policies that select nodes do not concern."""
_MARK_SHIFT = 20
_CLASS_MASK = (1 << _MARK_SHIFT) - 1
GROUPS = {
    4: ((0, 0), (0xE0000000, 0xEFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF)),
    6: ((0xFF << 120, (1 << 128) - 1),),
}
"""Addresses of groups and of everybody, by family: packets to them end in the node."""
_PORT_PROTOCOLS = {place: protocol for protocol, place in PORT_INDEX.items()}
_TOO_BIG = {4: (3, 4), 6: (2, None)}
"""(ICMP type, code; None = every) of the messages that path MTU discovery lives on"""


@dataclass(frozen=True, slots=True)
class AddressPartition:
    """All addresses of a family in order. ``starts``, ``ends``: of each interval. ``labels``: of its one address, or
    `OUTSIDE`. ``pairs``: distinct (old class, new class), ``local``: whether packets to them end in the node, told
    apart only for a side whose hosts have a say at workloads. ``pair_of``: index into both for each interval.
    """

    version: int
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    labels: Ints
    pairs: Ints
    local: Bits
    pair_of: Ints

    def pair_at(self, address: int) -> int:
        """Index of an address's pair."""
        return int(self.pair_of[bisect_right(self.starts, address) - 1])


def partition_addresses(version: int, tables: Tables, labels: Mapping[Address, int]) -> AddressPartition:
    """``labels``: number of everybody who is known by an address."""
    known = {int(address): label for address, label in labels.items() if address.version == version}
    top = 1 << (32 if version == 4 else 128)
    cuts = {0, *known, *(address + 1 for address in known if address + 1 < top)}
    for side in tables:
        if side is not None:
            cuts.update(side.cuts4().tolist() if version == 4 else side.cuts6())
            cuts.update(cut for low, high in _local_ranges(version, side) for cut in (low, high + 1) if cut < top)
    starts = tuple(sorted(cuts))
    columns = [
        _marked(_classes(version, side, starts), _local_marks(version, side, starts).astype(np.int64))
        for side in tables
    ]
    codes, pair_of = _joint(*columns)
    pairs, local = _unmarked(codes)
    found = np.array([known.get(start, OUTSIDE) for start in starts], dtype=np.int64)
    ends = (*(start - 1 for start in starts[1:]), top - 1)
    return AddressPartition(version, starts, ends, found, pairs, local > 0, pair_of)


def _local_ranges(version: int, side: TableArrays) -> list[tuple[int, int]]:
    """Where packets end in the node, for tables with hosts."""
    if not side.manifest.features["hosts"]:
        return []
    own = [int(address) for address in side.local_addresses if address.version == version]
    return [*((address, address) for address in own), *GROUPS[version]]


def are_local(version: int, side: TableArrays | None, starts: tuple[int, ...]) -> Bits:
    """Whether packets to the addresses end in the node; nowhere without hosts."""
    if side is None or not side.manifest.features["hosts"]:
        return np.zeros(len(starts), dtype=bool)
    own = {int(address) for address in side.local_addresses if address.version == version}
    groups = GROUPS[version]
    return np.array([start in own or any(low <= start <= high for low, high in groups) for start in starts], dtype=bool)


def _local_marks(version: int, side: TableArrays | None, starts: tuple[int, ...]) -> Bits:
    if side is None or not side.manifest.features["hosts_at_workloads"]:
        return np.zeros(len(starts), dtype=bool)
    return are_local(version, side, starts)


def _marked(classes: Ints, marks: Ints) -> Ints:
    """Classes with marks; what is broken needs none."""
    return np.where(classes >= 0, classes | marks << _MARK_SHIFT, classes)


def _unmarked(codes: Ints) -> tuple[Ints, Ints]:
    return np.where(codes >= 0, codes & _CLASS_MASK, codes), np.where(codes >= 0, codes >> _MARK_SHIFT, 0)


def _classes(version: int, side: TableArrays | None, starts: tuple[int, ...]) -> Ints:
    if side is None:
        return np.zeros(len(starts), dtype=np.int64)
    if version == 4:
        return side.classes4(np.array(starts, dtype=np.int64))
    return side.classes6(*halves(list(starts)))


@dataclass(frozen=True, slots=True)
class L4Space:
    """One protocol. ``first``: part of each destination port (of each ICMP type); ``second``: of each source port
    (ICMP code), None without. ``grid``: pair of each combination; ``other``: pair of the protocol's packets without
    ports or types. `EXEMPT` stands where no table is asked. ``family``: 0 = both.
    """

    protocol: int
    family: int
    first: Ints | None
    second: Ints | None
    grid: Ints
    other: int


@dataclass(frozen=True, slots=True)
class L4Partition:
    """``pairs``: distinct (old class, new class) with their ``marks``; ``spaces``: by protocol number."""

    pairs: Ints
    marks: Ints
    spaces: tuple[L4Space, ...]


@dataclass(slots=True)
class _Pairs:
    """Numbers of the pairs seen."""

    numbers: dict[tuple[int, int], int]

    def of(self, old: Ints, new: Ints) -> Ints:
        left, right = np.broadcast_arrays(old, new)
        distinct, inverse = _joint(left.reshape(-1), right.reshape(-1))
        keys = [(before, after) for before, after in distinct.tolist()]
        mine = np.array([self.numbers.setdefault(key, len(self.numbers)) for key in keys], dtype=np.int64)
        return mine[inverse].reshape(left.shape)


def partition_l4(tables: Tables) -> L4Partition:
    """Every protocol, port and ICMP message."""
    pairs = _Pairs({})
    plain = pairs.of(*(np.zeros(256, dtype=np.int64) if side is None else side.protocols for side in tables))
    spaces = [L4Space(protocol, 0, None, None, np.zeros(0, np.int64), int(plain[protocol])) for protocol in range(256)]
    for protocol, place in PORT_INDEX.items():
        spaces[protocol] = _port_space(place, tables, pairs, int(plain[protocol]))
    for (version, protocol), place in ICMP_INDEX.items():
        spaces[protocol] = _icmp_space((version, protocol), place, tables, pairs, int(plain[protocol]))
    classes, marks = _unmarked(np.array(list(pairs.numbers), dtype=np.int64).reshape(-1, 2))
    return L4Partition(classes, marks, tuple(spaces))


def _port_space(place: int, tables: Tables, pairs: _Pairs, other: int) -> L4Space:
    nothing = np.zeros(65536, dtype=np.int64)
    sides = [(nothing, nothing) if side is None else side.port_classes(place) for side in tables]
    first, first_of = _joint(
        *(_marked(side[0], _port_marks(place, known)) for side, known in zip(sides, tables, strict=True))
    )
    second, second_of = _joint(*(side[1] for side in sides))
    first, marks = _unmarked(first)
    classes = [
        np.zeros((len(first), len(second)), dtype=np.int64)
        if side is None
        else _marked(
            side.pair_classes(first[:, number][:, None], second[:, number][None, :]), marks[:, number][:, None]
        )
        for number, side in enumerate(tables)
    ]
    return L4Space(_PORT_PROTOCOLS[place], 0, first_of, second_of, pairs.of(*classes), other)


def _port_marks(place: int, side: TableArrays | None) -> Ints:
    if side is None or not side.manifest.features["hosts_at_workloads"]:
        return np.zeros(65536, dtype=np.int64)
    return np.where(side.node_ports[place], NODE_PORT, 0)


def _icmp_space(kind: tuple[int, int], place: int, tables: Tables, pairs: _Pairs, other: int) -> L4Space:
    """Types in full; codes are told apart where one of the sides does, or where one code is marked."""
    version, protocol = kind
    wide = [np.zeros((256, 256), dtype=np.int64) if side is None else _by_code(side.icmp[place]) for side in tables]
    marks = _icmp_marks(version)
    numbers = pairs.of(*(_marked(classes, marks) for classes in wide))
    numbers[_exempt(version)] = EXEMPT
    first, first_of = np.unique(numbers, axis=0, return_inverse=True)
    second, second_of = np.unique(first, axis=1, return_inverse=True)
    return L4Space(protocol, version, first_of.reshape(-1), second_of.reshape(-1), second, other)


def _by_code(table: Ints) -> Ints:
    return table.reshape(256, 256) if len(table) == 65536 else np.repeat(table[:, None], 256, axis=1)


def _exempt(version: int) -> Bits:
    """(type, code) that no table is asked about."""
    result = np.zeros((256, 256), dtype=bool)
    if version == 6:
        result[sorted(NEIGHBOUR_DISCOVERY | MULTICAST_LISTENER)] = True
    return result


def _icmp_marks(version: int) -> Ints:
    """By type and code."""
    result = np.zeros((256, 256), dtype=np.int64)
    if version == 6:
        result[1:5] = NODE_ERROR
    kind, code = _TOO_BIG[version]
    result[kind, slice(None) if code is None else code] = TOO_BIG | NODE_ERROR
    return result


def _joint(old: Ints, new: Ints) -> tuple[Ints, Ints]:
    """Distinct (old, new), and the index of each position's. Classes have at most 17 bits, with marks 23."""
    codes, inverse = np.unique(((old + 1) << 32) | (new + 1), return_inverse=True)
    return np.stack([codes >> 32, codes & 0xFFFFFFFF], axis=1) - 1, inverse.reshape(-1)


@dataclass(frozen=True, slots=True)
class L4Rows:
    """A set of L4 pairs in words. ``everything``: every protocol, port and message; else ``protocols``: (number,
    inclusive ranges of destination ports or ICMP types, empty for a protocol without). Errors of ICMP that some points
    let pass are no exception from everything.
    """

    everything: bool
    protocols: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]


def describe(partition: L4Partition, by_family: Mapping[int, Bits]) -> L4Rows:
    """``by_family``: address family -> set of L4 pairs. A port counts when some source port of it is in the set, an
    ICMP type when some code is. ICMP is spoken over IPv4 and ICMPv6 over IPv6.
    """
    if all(bool(bits[_asked(partition, version)].all()) for version, bits in by_family.items()):
        return L4Rows(True, ())
    rows = []
    for space in partition.spaces:
        ports = _space_rows(space, [bits for version, bits in by_family.items() if space.family in (0, version)])
        if ports is not None:
            rows.append((space.protocol, ports))
    return L4Rows(False, tuple(rows))


def _asked(partition: L4Partition, version: int) -> Ints:
    """The pairs that packets of the family have."""
    spaces = [space for space in partition.spaces if space.family in (0, version)]
    numbers = np.unique(np.concatenate([np.append(space.grid.reshape(-1), space.other) for space in spaces]))
    numbers = numbers[numbers != EXEMPT]
    return np.asarray(numbers[(partition.marks[numbers] & NODE_ERROR == 0).all(axis=1)], dtype=np.int64)


def _space_rows(space: L4Space, sets: Iterable[Bits]) -> tuple[tuple[int, int], ...] | None:
    """None when nothing of the protocol is in the sets."""
    sets = list(sets)
    if not sets:
        return None
    bits = np.asarray(np.stack(sets).any(axis=0), dtype=bool)
    if space.first is None:
        return () if bits[space.other] else None
    usable: Bits = np.any(np.append(bits, False)[space.grid], axis=1)
    chosen = usable[space.first]
    if space.protocol in PORT_INDEX:
        chosen[0] = False  # no service listens on port 0
    return _runs(chosen) or None


def _runs(values: Bits) -> tuple[tuple[int, int], ...]:
    """Inclusive ranges of the true positions."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], values, [False])).astype(np.int8)))
    return tuple((int(low), int(high) - 1) for low, high in edges.reshape(-1, 2))


def find_header(space: L4Space, bits: Bits, wanted: int) -> tuple[int, int] | None:
    """A source port and ICMP code for an example: (L4 pair, source port or code) with the destination port or type
    ``wanted``; a usual source port where it will do.
    """
    if space.first is None or space.second is None:
        return (space.other, 0) if bits[space.other] else None
    line = space.grid[space.first[wanted]]
    inside = np.append(bits, False)[line][space.second]
    if space.protocol in PORT_INDEX:
        inside[0] = False
        usual = 40000
    else:
        usual = 0
    if not inside.any():
        return None
    second = usual if inside[usual] else int(np.argmax(inside))
    return int(line[space.second[second]]), second
