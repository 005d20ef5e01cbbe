"""The IPv6 table: prefixes in buckets of four, found by hashing the masked address for each prefix length in use,
longest first.

In: the prefixes at which the class changes. Out: the entries in their buckets, the lengths, the default class, the
seed that fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfence.plan.layout import ADDRESS6_BUCKET, ADDRESS6_ENTRY, address6_hash

_SEEDS = 8
"""hash seeds tried before the table is doubled"""
Prefix = tuple[int, int]
"""(first address as a 128-bit integer, prefix length)"""


@dataclass(frozen=True, slots=True)
class Address6Table:
    """``entries``: buckets * 4 of `ADDRESS6_ENTRY`; ``lengths``: longest first; ``default``: class of an address in
    no prefix.
    """

    entries: NDArray[np.void]
    lengths: tuple[int, ...]
    default: int
    seed: int
    used: int

    @property
    def buckets(self) -> int:
        return len(self.entries) // ADDRESS6_BUCKET

    def lookup(self, address: int) -> int:
        """The peer class of an address, as the program finds it."""
        for length in self.lengths:
            words = address_words(address >> (128 - length) << (128 - length) if length else 0)
            start = (address6_hash(words, length, self.seed) & (self.buckets - 1)) * ADDRESS6_BUCKET
            for entry in self.entries[start : start + ADDRESS6_BUCKET]:
                if int(entry["length"]) == length + 1 and tuple(int(w) for w in entry["prefix"]) == words:
                    return int(entry["peer"])
        return self.default


def address_words(address: int) -> tuple[int, int, int, int]:
    """The 16 bytes of an address (network order) read as four little-endian words."""
    raw = address.to_bytes(16, "big")
    first, second, third, fourth = (int.from_bytes(raw[i : i + 4], "little") for i in (0, 4, 8, 12))
    return first, second, third, fourth


def prune_prefixes(prefixes: Sequence[tuple[Prefix, int]], default: int) -> list[tuple[Prefix, int]]:
    """Leave out prefixes whose class equals that of their closest listed cover. ``prefixes``: sorted by (start,
    length), each once.
    """
    kept: list[tuple[Prefix, int]] = []
    covers: list[tuple[int, int]] = []
    for (start, length), peer in prefixes:
        while covers and covers[-1][0] <= start:
            covers.pop()
        if peer != (covers[-1][1] if covers else default):
            kept.append(((start, length), peer))
        covers.append((start + (1 << (128 - length)), peer))
    return kept


def build_address6(prefixes: Sequence[tuple[Prefix, int]], default: int, min_buckets: int) -> Address6Table:
    """Place the prefixes in buckets: twice as many buckets, and another seed, until none overflows."""
    kept = prune_prefixes(prefixes, default)
    lengths = tuple(sorted({length for (_, length), _ in kept}, reverse=True))
    buckets = min_buckets
    while buckets * ADDRESS6_BUCKET < 2 * len(kept):
        buckets *= 2
    seed = 0
    while True:
        entries = _place(kept, buckets, seed)
        if entries is not None:
            return Address6Table(entries, lengths, default, seed, len(kept))
        seed += 1
        if seed % _SEEDS == 0:
            buckets *= 2


def _place(prefixes: Sequence[tuple[Prefix, int]], buckets: int, seed: int) -> NDArray[np.void] | None:
    entries = np.zeros(buckets * ADDRESS6_BUCKET, dtype=ADDRESS6_ENTRY.dtype)
    fill = [0] * buckets
    for (start, length), peer in prefixes:
        words = address_words(start)
        bucket = address6_hash(words, length, seed) & (buckets - 1)
        if fill[bucket] == ADDRESS6_BUCKET:
            return None
        entries[bucket * ADDRESS6_BUCKET + fill[bucket]] = (words, length + 1, peer)
        fill[bucket] += 1
    return entries
