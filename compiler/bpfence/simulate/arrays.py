"""The emitted tables read back for many packets at once: `Simulator` with arrays in place of single packets.

In: a manifest and images of any origin, the kernel's own bytes among them. Out: classes and cells, as the program would
find them. Images need not be sound: an index that leads out of its table gives `BROKEN`, which the program drops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpfence.emit.artefact import Manifest
from bpfence.errors import BudgetError
from bpfence.plan.layout import (
    ADDRESS6_ENTRY,
    ADDRESS6_LENGTH,
    ADDRESS6_MIX,
    ADDRESS6_STEPS,
    CELL_ALLOW,
    CELL_NARROW_SHIFT,
    HEADER,
    LOCAL_ADDRESS,
    LOCAL_MIX,
    LOCAL_PROBES,
    NODE_PORTS_BYTES,
    POLICY_ROW,
    UNRESTRICTED,
    address4_bits,
    endpoint_struct,
)

Ints = NDArray[np.int64]
Cells = NDArray[np.uint16]
Address = IPv4Address | IPv6Address
BROKEN = -1
_MIXED = -2
_MOST_CUTS = 1 << 24
_PORTS = 65536
_WORD = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """An address of an endpoint with what stands for its rows in the tables, `UNRESTRICTED` for none."""

    address: Address
    egress: int
    ingress: int

    def row(self, direction: str) -> int:
        return self.egress if direction == "egress" else self.ingress


class TableArrays:
    """One slot's tables."""

    def __init__(self, manifest: Manifest, images: Mapping[str, bytes]) -> None:
        self.manifest = manifest
        geometry, features = manifest.geometry, manifest.features
        self.header: Any = np.frombuffer(images["header"], dtype=HEADER.dtype)[0]
        self._endpoints = np.frombuffer(images["endpoints"], endpoint_struct(geometry["own4"], geometry["own6"]).dtype)
        self._bits4 = address4_bits(bool(features["fine_blocks"]))
        self._level1 = _numbers(images["address4_l1"], "<u4" if features["fine_blocks"] else "<u2")
        self._level2 = _numbers(images["address4_l2"], "<u4" if features["wide_blocks"] else "<u2")
        self._level3 = _numbers(images["address4_l3"], "<u2")
        self._address6 = _Address6(images) if features["address6"] else None
        self._ports = _numbers(images["ports"], "<u2").reshape(3, _PORTS)
        self._sources = _numbers(images["source_ports"], "<u2").reshape(3, _PORTS) if "source_ports" in images else None
        self._pairs = _numbers(images["port_pairs"], "<u2") if "port_pairs" in images else None
        self.icmp = _numbers(images["icmp"], "<u2").reshape(2, -1)
        """L4 class by type, or by ``type << 8 | code``; ICMP, then ICMPv6"""
        self.protocols = _numbers(images["protocols"], "<u2")
        self._cells = np.frombuffer(images["cells"], "u1" if features["narrow_cells"] else "<u2")
        self._narrow = bool(features["narrow_cells"])
        self._levels = _Levels(images, bool(features["wide_row_peers"])) if features["two_level"] else None
        self.images = images

    def own(self, number: int) -> tuple[OwnAddress, ...] | None:
        """The addresses of endpoint ``number``; None when the table has no such place."""
        if not 0 <= number < len(self._endpoints):
            return None
        record = self._endpoints[number]
        four = (
            OwnAddress(IPv4Address(int(one["address"]).to_bytes(4, "little")), *_rows(one))
            for one in record["own4"][: int(record["own4_count"])]
        )
        six = (
            OwnAddress(IPv6Address(one["address"].astype("<u4").tobytes()), *_rows(one))
            for one in record["own6"][: int(record["own6_count"])]
        )
        return (*four, *six)

    @cached_property
    def local_addresses(self) -> frozenset[Address]:
        """The node's own addresses that the program finds in their table."""
        if "local_addresses" not in self.images:
            return frozenset()
        table = np.frombuffer(self.images["local_addresses"], dtype=LOCAL_ADDRESS.dtype)
        used = np.flatnonzero((table["family"] == 4) | (table["family"] == 6))
        return frozenset(
            IPv4Address(raw[:4]) if table["family"][place] == 4 else IPv6Address(raw)
            for place, raw in ((place, table["address"][place].tobytes()) for place in used.tolist())
            if _is_in_reach(table, place) and (table["family"][place] == 6 or not any(raw[4:]))
        )

    @cached_property
    def node_ports(self) -> NDArray[np.bool_]:
        """Shape (3, 65536), as `port_classes`: whether a service answers there at every address of the node."""
        image = self.images.get("node_ports", bytes(NODE_PORTS_BYTES))
        return np.unpackbits(np.frombuffer(image, np.uint8), bitorder="little").astype(bool).reshape(3, _PORTS)

    def classes4(self, addresses: Ints) -> Ints:
        """Peer classes of IPv4 addresses, host order."""
        second, third = self._bits4
        block = self._level1[addresses >> second + third]
        block = _at(self._level2, (block << second) + (addresses >> third & (1 << second) - 1))
        place = (block << third) + (addresses & (1 << third) - 1)
        return np.where(block == BROKEN, BROKEN, _at(self._level3, place))

    def classes6(self, upper: NDArray[np.uint64], lower: NDArray[np.uint64]) -> Ints:
        """Peer classes of IPv6 addresses, given as two 64-bit halves, host order."""
        default = int(self.header["peer6_default"])
        if self._address6 is None:
            return np.full(len(upper), default, dtype=np.int64)
        return self._address6.classes(upper, lower, default)

    def cuts4(self) -> Ints:
        """Where the peer class may change, ascending; 0 is the first. BudgetError when that is nearly everywhere, as in
        tables that nobody compiled.
        """
        second, third = self._bits4
        blocks3 = self._level3.reshape(-1, 1 << third)
        whole3 = _uniform(blocks3)
        blocks2 = _at(whole3, self._level2).reshape(-1, 1 << second)
        top = _at(_uniform(blocks2), self._level1)
        mixed = np.flatnonzero(top == _MIXED)
        inner = self._level1[mixed]
        middle = _at(whole3, self._level2).reshape(-1, 1 << second)[inner].reshape(-1)
        middle_starts = ((mixed << second)[:, None] + np.arange(1 << second)).reshape(-1)
        split = np.flatnonzero(middle == _MIXED)
        if len(split) << third > _MOST_CUTS:
            raise BudgetError("the tables tell single addresses apart nearly everywhere: that can't be compared")
        bottom = blocks3[self._level2.reshape(-1, 1 << second)[inner].reshape(-1)[split]].reshape(-1)
        bottom_starts = ((middle_starts[split] << third)[:, None] + np.arange(1 << third)).reshape(-1)
        plain, whole = np.flatnonzero(top != _MIXED), middle != _MIXED
        starts = np.concatenate([plain << second + third, middle_starts[whole] << third, bottom_starts])
        values = np.concatenate([top[plain], middle[whole], bottom])
        order = np.argsort(starts, kind="stable")
        values = values[order]
        changes = np.append(True, values[1:] != values[:-1])
        return np.asarray(starts[order][changes], dtype=np.int64)

    def cuts6(self) -> set[int]:
        """The same for IPv6 as 128-bit numbers; more than needed may be among them."""
        return {0} if self._address6 is None else self._address6.cuts()

    def port_classes(self, place: int) -> tuple[Ints, Ints]:
        """Destination and source class of each port of TCP, UDP or SCTP (``place`` 0 to 2), see `pair_classes`."""
        sources = np.zeros(_PORTS, dtype=np.int64) if self._sources is None else self._sources[place]
        return self._ports[place], sources

    def pair_classes(self, destinations: Ints, sources: Ints) -> Ints:
        """L4 classes of pairs of port classes."""
        if self._pairs is None:
            return np.broadcast_to(destinations, np.broadcast_shapes(destinations.shape, sources.shape))
        return _at(self._pairs, destinations * int(self.header["source_stride"]) + sources)

    def cells(self, row: int | Ints, peers: Ints, l4: Ints) -> Cells:
        """Cells of rows, which are in force, for peer and L4 classes; all broadcast. What is broken is 0, a denial."""
        rows = np.asarray(row, dtype=np.int64)
        if self._levels is None:
            index = rows + peers * int(self.header["l4_stride"]) + l4
            broken = (peers == BROKEN) | (l4 == BROKEN)
        else:
            index, broken = self._levels.index(rows, peers, l4)
        broken = broken | (index < 0) | (index >= len(self._cells))
        cells = self._cells[np.where(broken, 0, index)].astype(np.uint16)
        if self._narrow:
            cells = cells << np.uint16(CELL_NARROW_SHIFT)
        cells[broken] = 0
        cells[np.broadcast_to(rows == UNRESTRICTED, cells.shape)] = CELL_ALLOW
        return cells


class _Levels:
    """What finds a cell in two levels."""

    def __init__(self, images: Mapping[str, bytes], wide: bool) -> None:
        self._rows = np.frombuffer(images["policy_rows"], dtype=POLICY_ROW.dtype)
        self._peers = _numbers(images["row_peers"], "<u2" if wide else "u1")
        self._l4 = _numbers(images["row_l4"], "<u2")

    def index(self, rows: Ints, peers: Ints, l4: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """(number of the cell, whether there is none)."""
        known = rows < len(self._rows)
        records = self._rows[np.where(known, rows, 0)]
        line = _at(self._peers, np.where(peers == BROKEN, BROKEN, records["peers"].astype(np.int64) + peers))
        column = _at(self._l4, np.where(l4 == BROKEN, BROKEN, records["l4"].astype(np.int64) + l4))
        index = line * records["width"].astype(np.int64) + column + records["cells"].astype(np.int64)
        return index, ~known | (line == BROKEN) | (column == BROKEN)


class _Address6:
    """The perfect hash over IPv6 prefixes."""

    def __init__(self, images: Mapping[str, bytes]) -> None:
        self._entries = np.frombuffer(images["address6"], dtype=ADDRESS6_ENTRY.dtype)
        self._lengths = np.frombuffer(images["address6_lengths"], dtype=ADDRESS6_LENGTH.dtype)
        self._displacements = np.frombuffer(images["address6_displacements"], dtype="<u2").astype(np.uint64)
        self._blocks = _numbers(images["address6_blocks"], "<u2")

    def classes(self, upper: NDArray[np.uint64], lower: NDArray[np.uint64], default: int) -> Ints:
        """The last hit counts on the way through the tree of lengths; a way that leads out of it, or is longer than the
        program walks, gives `BROKEN`.
        """
        found = np.full(len(upper), default, dtype=np.int64)
        open_, at = np.arange(len(upper)), np.zeros(len(upper), dtype=np.int64)
        for _ in range(ADDRESS6_STEPS):
            inside = at < len(self._lengths)
            found[open_[~inside]] = BROKEN
            open_, places = open_[inside], self._lengths[at[inside]]
            first, second = upper[open_] & places["upper"], lower[open_] & places["lower"]
            entries = self._entries[self._slots(first, second, places["mix"])]
            hit = (entries["upper"] == first) & (entries["lower"] == second)
            # the program compares all 32 bits of the length, of which an entry has 16
            hit &= entries["length"].astype(np.int64) == (places["length"].astype(np.int64) + 1 & 0xFFFFFFFF)
            there = open_[hit]
            found[there] = self._answers(entries[hit], lower[there])
            at = np.where(hit, places["longer"], places["shorter"]).astype(np.int64)
            open_, at = open_[at > 0], at[at > 0]
        found[open_] = BROKEN
        return found

    def _answers(self, entries: NDArray[Any], lower: NDArray[np.uint64]) -> Ints:
        blocks = entries["block"].astype(np.int64)
        inside = _at(self._blocks, np.where(blocks > 0, (blocks - 1) * 256 + (lower & 0xFF).astype(np.int64), 0))
        return np.where(blocks > 0, inside, entries["peer"].astype(np.int64))

    def _slots(self, upper: NDArray[np.uint64], lower: NDArray[np.uint64], mix: NDArray[np.uint64]) -> Ints:
        """As `address6_hash` and `address6_slot` have it; products of uint64 arrays wrap."""
        one, two, three, four = (np.uint64(number) for number in ADDRESS6_MIX)
        half = np.uint64(32)
        number = (lower ^ mix) * one
        number ^= number >> half
        number = (number ^ upper) * two
        number ^= number >> half
        displacement = self._displacements[(number % np.uint64(len(self._displacements))).astype(np.int64)]
        bits = len(self._entries).bit_length() - 1
        place = (number ^ displacement * three) * four
        return (place >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(upper), dtype=np.int64)

    def cuts(self) -> set[int]:
        found = {0}
        known = {int(place["length"]) for place in self._lengths}
        for entry in self._entries[self._entries["length"] > 0]:
            length = int(entry["length"]) - 1
            if length not in known or length > 128:
                continue
            start = int(entry["upper"]) << 64 | int(entry["lower"])
            found.add(start)
            found.add(start + (1 << 128 - length))
            if entry["block"]:
                found.update(self._block_cuts(int(entry["block"]), start))
        return {cut for cut in found if cut >> 128 == 0}

    def _block_cuts(self, number: int, start: int) -> set[int]:
        block = self._blocks[(number - 1) * 256 : number * 256]
        return {start + place + 1 for place in np.flatnonzero(np.diff(block)).tolist()}


def halves(addresses: list[int]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """128-bit numbers as two arrays."""
    upper = np.array([address >> 64 for address in addresses], dtype=np.uint64)
    return upper, np.array([address & _WORD for address in addresses], dtype=np.uint64)


def _is_in_reach(table: NDArray[Any], place: int) -> bool:
    """Whether a look-up of the entry's address comes by its place."""
    words = (int(word) * mix for word, mix in zip(table["address"][place], LOCAL_MIX, strict=True))
    total = sum(words) & 0xFFFFFFFF
    start = ((total ^ total >> 15) * LOCAL_MIX[0] & 0xFFFFFFFF) >> 16
    return (place - start) % len(table) < LOCAL_PROBES


def _rows(own: Any) -> tuple[int, int]:
    return int(own["egress_row"]), int(own["ingress_row"])


def _numbers(image: bytes, kind: str) -> Ints:
    return np.frombuffer(image, dtype=kind).astype(np.int64)


def _at(table: Ints, index: Ints) -> Ints:
    """The elements; `BROKEN` where there is none."""
    inside = (index >= 0) & (index < len(table))
    return np.where(inside, table[np.where(inside, index, 0)], BROKEN)


def _uniform(blocks: Ints) -> Ints:
    """The one value of each block, `_MIXED` where it has several."""
    first = blocks[:, 0]
    return np.where((blocks == first[:, None]).all(axis=1), first, _MIXED)
