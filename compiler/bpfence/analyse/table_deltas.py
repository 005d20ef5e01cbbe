"""Two questions compared for every peer and every header. In: the partitions of both sides' tables and what is asked of
each. Out: `Delta`: which addresses see which change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from bpfence.analyse.table_origins import Origin
from bpfence.analyse.table_partition import AddressPartition, Bits, L4Partition, L4Rows, describe
from bpfence.analyse.table_questions import Answer, Packets, Question, as_usual
from bpfence.analyse.table_sides import Side
from bpfence.classify.fingerprints import equal_rows
from bpfence.simulate.arrays import Ints

ADDED, REMOVED = "added", "removed"
UNCHANGED = -1
_KINDS = {1: ADDED, 2: REMOVED}


@dataclass(frozen=True, slots=True)
class Part:
    """L4 pairs (a set) that changed in one way for one reason."""

    kind: str
    before: Origin
    after: Origin
    l4: Bits


@dataclass(frozen=True, slots=True)
class Delta:
    """``class_of``: class of changes of each pair of the family's partition, `UNCHANGED` for none; ``parts``: of each
    class.
    """

    class_of: Ints
    parts: tuple[tuple[Part, ...], ...]

    @property
    def empty(self) -> bool:
        return not self.parts


@dataclass(slots=True)
class Comparison:
    """Both sides over common partitions; each pair of questions is compared once."""

    old: Side
    new: Side
    addresses: dict[int, AddressPartition]
    l4: L4Partition
    _known: dict[tuple[int, Question, Question], Delta] = field(default_factory=dict)
    _described: dict[tuple[tuple[int, bytes], ...], L4Rows] = field(default_factory=dict)

    def rows(self, l4: Mapping[int, Bits]) -> L4Rows:
        """Family -> set of L4 pairs, in words."""
        key = tuple((version, bits.tobytes()) for version, bits in sorted(l4.items()))
        found = self._described.get(key)
        if found is None:
            found = self._described[key] = describe(self.l4, l4)
        return found

    def delta(self, version: int, old: Question, new: Question) -> Delta:
        """What changes for remote addresses of a family. Of a question about unusual packets what changes otherwise
        than for usual ones, see `as_usual`.
        """
        key = (version, old, new)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._compare(version, old, new)
        return found

    def _compare(self, version: int, old: Question, new: Question) -> Delta:
        partition = self.addresses[version]
        before = old.ask(self.old.tables, self._packets(partition, 0))
        after = new.ask(self.new.tables, self._packets(partition, 1))
        kinds = _kinds(before, after)
        usual = as_usual(old), as_usual(new)
        if usual != (old, new):
            known = (
                usual[0].ask(self.old.tables, self._packets(partition, 0)),
                usual[1].ask(self.new.tables, self._packets(partition, 1)),
            )
            kinds = np.where(kinds == _kinds(*known), 0, kinds)
        changed = np.flatnonzero(kinds.any(axis=1))
        class_of = np.full(len(kinds), UNCHANGED, dtype=np.int64)
        if not len(changed):
            return Delta(class_of, ())
        kinds, before, after = kinds[changed], _lines(before, changed), _lines(after, changed)
        codes = np.where(kinds > 0, before.codes, 0), np.where(kinds > 0, after.codes, 0)
        class_of[changed], first = equal_rows(np.concatenate([kinds, *codes], axis=1))
        parts = tuple(
            tuple(self._parts(kinds[line], codes[0][line], codes[1][line], (old, new))) for line in first.tolist()
        )
        return Delta(class_of, parts)

    def _packets(self, partition: AddressPartition, side: int) -> Packets:
        """All pairs of a family, peers by headers."""
        peers, local = partition.pairs[:, side, None], partition.local[:, side, None]
        return Packets(peers, self.l4.pairs[None, :, side], self.l4.marks[None, :, side], local)

    def _parts(self, kinds: Ints, before: Ints, after: Ints, asked: tuple[Question, Question]) -> Iterator[Part]:
        found: dict[tuple[str, Origin, Origin], Bits] = {}
        for kind, old, new in np.unique(np.stack([kinds, before, after], axis=1), axis=0).tolist():
            if not kind:
                continue
            here = (kinds == kind) & (before == old) & (after == new)
            added = _KINDS[kind] == ADDED
            origins = (
                asked[0].origin(self.old.entries, old, not added),
                asked[1].origin(self.new.entries, new, added),
            )
            key = (_KINDS[kind], *origins)
            found[key] = found[key] | here if key in found else here
        for (name, origin, other), l4 in found.items():
            yield Part(name, origin, other, l4)


def _kinds(before: Answer, after: Answer) -> Ints:
    """0 where nothing changes, else a key of `_KINDS`."""
    return (after.allowed & ~before.allowed) + 2 * (before.allowed & ~after.allowed).astype(np.int64)


def _lines(answer: Answer, chosen: Ints) -> Answer:
    return Answer(answer.allowed[chosen], answer.codes[chosen])
