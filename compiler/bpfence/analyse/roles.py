"""Who sends, who receives, and in how many kinds: what differs in no answer is asked about once.

In: talkers, each once per address: a name, the key of its kind, a family. Out: a `Role`. Whoever has several addresses,
or stands for several replicas, has every connection that one of them has.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from bpfence.analyse.set_numbers import NOTHING, Numbers, SetNumbers
from bpfence.identity.labels import Bits

Key = TypeVar("Key", bound=Hashable)
NO_KIND = -1


@dataclass(frozen=True, slots=True)
class Role(Generic[Key]):
    """``keys``, ``families``: of each kind; family 0 means both. ``type_of``: the type of each name, a set of kinds.
    ``columns``: the kinds of each type, shape (most kinds, types), padded with `NO_KIND`.
    """

    keys: tuple[Key, ...]
    families: NDArray[np.int64]
    names: tuple[str, ...]
    type_of: NDArray[np.int64]
    columns: NDArray[np.int64]

    def kinds(self, type_number: int) -> list[int]:
        """The kinds of one type."""
        return [kind for kind in self.columns[:, type_number].tolist() if kind != NO_KIND]

    def of_types(self, answers: Numbers, sets: SetNumbers) -> Numbers:
        """What each type gets, from what each kind gets: the unions."""
        padded = np.append(answers, NOTHING)
        result = np.full(self.columns.shape[1], NOTHING, dtype=np.int64)
        for kinds in self.columns:
            result = sets.either(result, padded[kinds])
        return result


def make_role(talkers: Iterable[tuple[str, Key, int]]) -> Role[Key]:
    """``talkers``: (name, key, family) in any number; names are sorted."""
    kinds: dict[tuple[Key, int], int] = {}
    found: dict[str, set[int]] = {}
    for name, key, family in talkers:
        found.setdefault(name, set()).add(kinds.setdefault((key, family), len(kinds)))
    names = tuple(sorted(found))
    types: dict[tuple[int, ...], int] = {}
    type_of = [types.setdefault(tuple(sorted(found[name])), len(types)) for name in names]
    families = np.array([family for _, family in kinds], dtype=np.int64)
    keys = tuple(key for key, _ in kinds)
    return Role(keys, families, names, np.array(type_of, dtype=np.int64), _columns(tuple(types)))


def _columns(types: tuple[tuple[int, ...], ...]) -> NDArray[np.int64]:
    result = np.full((max(map(len, types), default=0), len(types)), NO_KIND, dtype=np.int64)
    for number, kinds in enumerate(types):
        result[: len(kinds), number] = kinds
    return result


def meetings(family: int, others: NDArray[np.int64]) -> Mapping[int, Bits]:
    """Which others a talker of the family meets, by the family they speak then; 0 where neither is bound to one."""
    spoken = others if family == 0 else np.where(others == 0, family, others)
    found = {version: (spoken == version) & (family in (0, version)) for version in (4, 6, 0)}
    return {version: bits for version, bits in found.items() if bits.any()}
