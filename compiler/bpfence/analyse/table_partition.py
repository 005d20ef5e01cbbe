"""Where two sets of tables could differ: each cuts every address and every L4 header into classes; here both together.

In: two `TableArrays`, either of which may be missing (nothing is enforced there). Out: partitions whose parts neither
side tells apart, so that one look at each part finds every difference.
"""

from __future__ import annotations

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
_PORT_PROTOCOLS = {place: protocol for protocol, place in PORT_INDEX.items()}
_TOO_BIG = {4: (3, 4), 6: (2, None)}
"""(ICMP type, code; None = every) of the messages that path MTU discovery lives on"""


@dataclass(frozen=True, slots=True)
class AddressPartition:
    """All addresses of a family in order. ``starts``, ``ends``: of each interval. ``labels``: of its one address, or
    `OUTSIDE`. ``pairs``: distinct (old class, new class), ``pair_of``: index into them for each interval.
    """

    version: int
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    labels: Ints
    pairs: Ints
    pair_of: Ints


def partition_addresses(version: int, tables: Tables, labels: Mapping[Address, int]) -> AddressPartition:
    """``labels``: number of everybody who is known by an address."""
    known = {int(address): label for address, label in labels.items() if address.version == version}
    top = 1 << (32 if version == 4 else 128)
    cuts = {0, *known, *(address + 1 for address in known if address + 1 < top)}
    for side in tables:
        if side is not None:
            cuts.update(side.cuts4().tolist() if version == 4 else side.cuts6())
    starts = tuple(sorted(cuts))
    columns = [_classes(version, side, starts) for side in tables]
    pairs, pair_of = _joint(*columns)
    found = np.array([known.get(start, OUTSIDE) for start in starts], dtype=np.int64)
    ends = (*(start - 1 for start in starts[1:]), top - 1)
    return AddressPartition(version, starts, ends, found, pairs, pair_of)


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
    """``pairs``: distinct (old class, new class); ``spaces``: by protocol number."""

    pairs: Ints
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
    return L4Partition(np.array(list(pairs.numbers), dtype=np.int64).reshape(-1, 2), tuple(spaces))


def _port_space(place: int, tables: Tables, pairs: _Pairs, other: int) -> L4Space:
    nothing = np.zeros(65536, dtype=np.int64)
    sides = [(nothing, nothing) if side is None else side.port_classes(place) for side in tables]
    first, first_of = _joint(*(side[0] for side in sides))
    second, second_of = _joint(*(side[1] for side in sides))
    classes = [
        np.zeros((len(first), len(second)), dtype=np.int64)
        if side is None
        else side.pair_classes(first[:, number][:, None], second[:, number][None, :])
        for number, side in enumerate(tables)
    ]
    return L4Space(_PORT_PROTOCOLS[place], 0, first_of, second_of, pairs.of(*classes), other)


def _icmp_space(kind: tuple[int, int], place: int, tables: Tables, pairs: _Pairs, other: int) -> L4Space:
    """Types in full; codes are told apart where one of the sides does, or where one code is exempt."""
    version, protocol = kind
    wide = [np.zeros((256, 256), dtype=np.int64) if side is None else _by_code(side.icmp[place]) for side in tables]
    numbers = pairs.of(*wide)
    numbers[_exempt(version)] = EXEMPT
    first, first_of = np.unique(numbers, axis=0, return_inverse=True)
    second, second_of = np.unique(first, axis=1, return_inverse=True)
    return L4Space(protocol, version, first_of.reshape(-1), second_of.reshape(-1), second, other)


def _by_code(table: Ints) -> Ints:
    return table.reshape(256, 256) if len(table) == 65536 else np.repeat(table[:, None], 256, axis=1)


def _exempt(version: int) -> Bits:
    """(type, code) that no table is asked about."""
    result = np.zeros((256, 256), dtype=bool)
    kind, code = _TOO_BIG[version]
    result[kind, slice(None) if code is None else code] = True
    if version == 6:
        result[sorted(NEIGHBOUR_DISCOVERY | MULTICAST_LISTENER)] = True
    return result


def _joint(old: Ints, new: Ints) -> tuple[Ints, Ints]:
    """Distinct (old, new), and the index of each position's. Classes have at most 17 bits."""
    codes, inverse = np.unique(((old + 1) << 32) | (new + 1), return_inverse=True)
    return np.stack([codes >> 32, codes & 0xFFFFFFFF], axis=1) - 1, inverse.reshape(-1)


@dataclass(frozen=True, slots=True)
class L4Rows:
    """A set of L4 pairs in words. ``everything``: every protocol, port and message; else ``protocols``: (number,
    inclusive ranges of destination ports or ICMP types, empty for a protocol without).
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
    return np.asarray(numbers[numbers != EXEMPT], dtype=np.int64)


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
