"""The IPv6 table: a perfect hash over the prefixes at which the class changes, asked for one prefix length after the
other, at most `ADDRESS6_STEPS` of them.

In: prefixes and their classes. Out: `Address6Table`. Where many prefixes longer than /120 lie in one /120, as the pods
of a node do, they become one entry with a block of 256 classes, one per address. In which order lengths are asked is
`plan/lengths6.py`.

Each prefix has a slot of its own, so an answer takes one read of the slot table whether the prefix is there or not: its
hash names a group, the group's displacement sends every member to a free slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfence.errors import BudgetError
from bpfence.plan.layout import (
    ADDRESS6_BLOCK_LENGTH,
    ADDRESS6_ENTRY,
    ADDRESS6_GROUP,
    address6_hash,
    address6_length_mix,
    address6_mask,
    address6_slot,
)
from bpfence.plan.lengths6 import LengthNode, order_lengths, way_to

LEAST_SLOTS = 64
BLOCK_WORTH = 16
"""prefixes in a /120 from which a block takes less room than they do"""
_MOST_SPARSE = 64
_SEEDS = 8
"""hash seeds tried before the table is doubled"""
_WORD = (1 << 64) - 1
Prefix = tuple[int, int]
"""(first address as a 128-bit integer, prefix length)"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One prefix: its class, or the number of its block of classes. One that only leads on to longer lengths has the
    class of what holds it.
    """

    prefix: Prefix
    peer: int
    block: int | None = None


@dataclass(frozen=True, slots=True)
class Address6Table:
    """``entries``: slots of `ADDRESS6_ENTRY`; ``displacements``: one per group; ``blocks``: (n, 256) classes;
    ``lengths``: in the order of the table, the first is asked first; ``default``: class of an address in no prefix.
    """

    entries: NDArray[np.void]
    displacements: NDArray[np.uint16]
    blocks: NDArray[np.uint16]
    lengths: tuple[LengthNode, ...]
    default: int
    seed: int
    used: int

    @property
    def slots(self) -> int:
        return len(self.entries)

    def lookup(self, address: int) -> int:
        """The peer class of an address, as the program finds it."""
        found = self.default
        at = 0 if self.lengths else None
        while at is not None:
            node = self.lengths[at]
            answer = self._ask(address, node.length)
            if answer is None:
                at = node.shorter
            else:
                found, at = answer, node.longer
        return found

    def _ask(self, address: int, length: int) -> int | None:
        """What the entry of that length says that holds the address."""
        prefix = address & address6_mask(length)
        number = address6_hash(prefix, address6_length_mix(length, self.seed))
        displacement = int(self.displacements[number % len(self.displacements)])
        entry = self.entries[address6_slot(number, displacement, self.slots)]
        if int(entry["length"]) != length + 1 or (int(entry["upper"]) << 64 | int(entry["lower"])) != prefix:
            return None
        block = int(entry["block"])
        return int(self.blocks[block - 1, address & 0xFF]) if block else int(entry["peer"])


def prune_prefixes(prefixes: Sequence[tuple[Prefix, int]], default: int) -> list[tuple[Prefix, int]]:
    """Leave out prefixes whose class equals that of their closest listed cover. ``prefixes``: sorted by (start,
    length), each once.
    """
    return [(prefix, peer) for prefix, peer, around in _with_covers(prefixes, default) if peer != around]


def _with_covers(prefixes: Iterable[tuple[Prefix, int]], default: int) -> Iterator[tuple[Prefix, int, int]]:
    """Every prefix with its class and the class around it."""
    covers: list[tuple[int, int]] = []
    for (start, length), peer in prefixes:
        while covers and covers[-1][0] <= start:
            covers.pop()
        yield (start, length), peer, covers[-1][1] if covers else default
        covers.append((start + (1 << (128 - length)), peer))


def build_address6(
    prefixes: Sequence[tuple[Prefix, int]], default: int, least_slots: int = LEAST_SLOTS
) -> Address6Table:
    """Make blocks where they are worth it, then give every entry its slot: another seed, and at last twice the slots,
    until all fit. ``prefixes``: sorted by (start, length), each once; ``least_slots``: a power of two. BudgetError when
    they never do.
    """
    entries, blocks = gather_blocks(prune_prefixes(prefixes, default), default)
    lengths = order_lengths({entry.prefix[1] for entry in entries})
    entries = add_signposts(entries, lengths, default)
    slots = max(least_slots, ADDRESS6_GROUP)
    while slots * 4 < 5 * len(entries):
        slots *= 2
    seed = 0
    while True:
        placed = place_entries(entries, slots, seed)
        if placed is not None:
            return Address6Table(*placed, blocks, lengths, default, seed, len(entries))
        seed += 1
        if seed % _SEEDS == 0:
            slots *= 2
        if slots > _MOST_SPARSE * max(len(entries), least_slots):
            raise BudgetError(f"the IPv6 prefix table finds no place for its {len(entries)} entries in {slots} slots")


def gather_blocks(prefixes: Sequence[tuple[Prefix, int]], default: int) -> tuple[list[Entry], NDArray[np.uint16]]:
    """Entries for the prefixes, and the blocks of those that stand for many; equal blocks are one."""
    inner: dict[int, list[tuple[Prefix, int]]] = {}
    around: dict[int, int] = {}
    entries: dict[Prefix, Entry] = {}
    for prefix, peer, cover in _with_covers(prefixes, default):
        start, length = prefix
        if length <= ADDRESS6_BLOCK_LENGTH:
            entries[prefix] = Entry(prefix, peer)
            continue
        base = start & address6_mask(ADDRESS6_BLOCK_LENGTH)
        inner.setdefault(base, []).append((prefix, peer))
        around.setdefault(base, cover)
    numbers: dict[bytes, int] = {}
    for base, members in inner.items():
        if len(members) < BLOCK_WORTH:
            entries.update((prefix, Entry(prefix, peer)) for prefix, peer in members)
            continue
        block = numbers.setdefault(_paint(members, around[base]).tobytes(), len(numbers))
        place = base, ADDRESS6_BLOCK_LENGTH
        entries[place] = Entry(place, 0, block)
    pool = np.frombuffer(b"".join(numbers), dtype=np.uint16).reshape(-1, 256)
    return list(entries.values()), pool


def add_signposts(entries: Sequence[Entry], lengths: Sequence[LengthNode], default: int) -> list[Entry]:
    """The entries, and those without which the way through the lengths would not lead to them: with a hit at every
    length that leads on to longer ones.
    """
    ways = {node.length: way_to(lengths, node.length) for node in lengths}
    known = {entry.prefix: entry for entry in entries}
    missing = {
        (entry.prefix[0] & address6_mask(length), length) for entry in entries for length in ways[entry.prefix[1]]
    } - known.keys()
    if not missing:
        return list(entries)
    listed = sorted((prefix, known[prefix].peer if prefix in known else -1) for prefix in known.keys() | missing)
    return [*entries, *_signposts(listed, default)]


def _signposts(listed: Iterable[tuple[Prefix, int]], default: int) -> Iterator[Entry]:
    """One for each prefix without a class (-1), with the class of the closest one around it that has one."""
    covers: list[tuple[int, int]] = []
    for (start, length), peer in listed:
        while covers and covers[-1][0] <= start:
            covers.pop()
        if peer >= 0:
            covers.append((start + (1 << (128 - length)), peer))
        else:
            yield Entry((start, length), covers[-1][1] if covers else default)


def _paint(members: Iterable[tuple[Prefix, int]], around: int) -> NDArray[np.uint16]:
    """The classes of the 256 addresses. ``members``: sorted, so that an inner prefix is painted over its cover."""
    block = np.full(256, around, dtype=np.uint16)
    for (start, length), peer in members:
        first = start & 0xFF
        block[first : first + (1 << (128 - length))] = peer
    return block


def place_entries(
    entries: Sequence[Entry], slots: int, seed: int
) -> tuple[NDArray[np.void], NDArray[np.uint16]] | None:
    """A displacement for every group such that no two entries share a slot; None when some group has none."""
    table = np.zeros(slots, dtype=ADDRESS6_ENTRY.dtype)
    displacements = np.zeros(slots // ADDRESS6_GROUP, dtype=np.uint16)
    groups: dict[int, list[tuple[int, Entry]]] = {}
    mixes = {length: address6_length_mix(length, seed) for length in range(129)}
    for entry in entries:
        number = address6_hash(entry.prefix[0], mixes[entry.prefix[1]])
        groups.setdefault(number % len(displacements), []).append((number, entry))
    taken = bytearray(slots)
    for group, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        found = _displace([number for number, _ in members], taken)
        if found is None:
            return None
        displacements[group], chosen = found
        for slot, (_, entry) in zip(chosen, members, strict=True):
            taken[slot] = 1
            table[slot] = _record(entry)
    return table, displacements


def _displace(numbers: Sequence[int], taken: bytearray) -> tuple[int, list[int]] | None:
    """The first displacement that gives all members different free slots."""
    for displacement in range(1 << 16):
        chosen = [address6_slot(number, displacement, len(taken)) for number in numbers]
        if not any(taken[slot] for slot in chosen) and len(set(chosen)) == len(chosen):
            return displacement, chosen
    return None


def _record(entry: Entry) -> tuple[int, int, int, int, int]:
    start, length = entry.prefix
    return start >> 64, start & _WORD, length + 1, entry.peer, 0 if entry.block is None else entry.block + 1
