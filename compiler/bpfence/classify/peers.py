"""Peer classes: address atoms that no rule can tell apart, and peer expressions as bit vectors over them.

In: the entities, the peer expressions of every rule. Out: `PeerClasses`. A class is a set of atoms of one family with
the same holders' answers
and inside the same prefixes; its first atom stands for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.addresses import AddressAtoms, cut_addresses, entity_holders, merge_networks
from bpfence.classify.fingerprints import equal_rows, fingerprints, number_first_seen
from bpfence.identity.labels import Bits, LabelIndex
from bpfence.identity.world import Entity
from bpfence.ir.expressions import (
    HasObject,
    InPrefixes,
    LabelAll,
    LabelExpr,
    LabelOperator,
    LabelTest,
    LearntName,
    OnOwnNode,
    PeerAll,
    PeerAny,
    PeerExpr,
    PeerNot,
    kind_is,
)
from bpfence.ir.walk import peer_leaves


@dataclass(frozen=True, slots=True)
class Holders:
    """Holders and the profiles of their objects, as pairs: ``owners[i]`` has an object of ``profiles[i]``."""

    count: int
    owners: NDArray[np.int64]
    profiles: NDArray[np.int64]

    @classmethod
    def of(cls, holder_profiles: Sequence[tuple[int, ...]]) -> Holders:
        """``holder_profiles``: the profiles of each holder number."""
        owners = np.repeat(np.arange(len(holder_profiles)), [len(profiles) for profiles in holder_profiles])
        profiles = [profile for profiles in holder_profiles for profile in profiles]
        return cls(len(holder_profiles), owners, np.array(profiles, dtype=np.int64))

    def having(self, labels: LabelIndex, expression: LabelExpr) -> Bits:
        """Which holders have at least one object that satisfies the label expression."""
        result = np.zeros(self.count, dtype=bool)
        result[self.owners[labels.profiles(expression)[self.profiles]]] = True
        return result


@dataclass(slots=True)
class PeerClasses:
    """``class_of[atom]``; ``representative[class]`` an atom; ``family[class]`` 4 or 6. Built by `classify_peers`."""

    atoms: AddressAtoms
    class_of: NDArray[np.int64]
    representative: NDArray[np.int64]
    holders: NDArray[np.int64]
    """holder number per class"""
    objects: Holders
    labels: LabelIndex
    networks6: tuple[tuple[int, int], ...]
    """every IPv6 network that cuts the space: (first address, prefix length), sorted, unique"""
    templates: dict[str, int]
    """entities without an address (by name) -> their class; only label rules see them"""

    _ranges: dict[InPrefixes, NDArray[np.int64]]
    _cache: dict[tuple[PeerExpr, str], Bits] = field(default_factory=dict)
    _held: dict[LabelExpr, Bits] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.representative)

    @property
    def family(self) -> NDArray[np.int64]:
        """4 or 6 per class."""
        return np.where(self.representative < len(self.atoms.starts4), 4, 6)

    def only(self, numbers: Sequence[int]) -> PeerClasses:
        """Some classes, numbered anew in this order, as if there were no others. For `matches` alone."""
        chosen = np.array(numbers, dtype=np.int64)
        return replace(self, representative=self.representative[chosen], holders=self.holders[chosen], _cache={})

    def matches(self, expression: PeerExpr, node: str) -> Bits:
        """Which classes satisfy the expression for a subject on ``node``: bool vector over classes. Do not write to
        it.
        """
        key = (expression, node)
        known = self._cache.get(key)
        if known is None:
            known = self._cache[key] = self._evaluate(expression, node)
        return known

    def _evaluate(self, expression: PeerExpr, node: str) -> Bits:
        match expression:
            case HasObject(labels):
                return self._holding(labels)[self.holders]
            case OnOwnNode():
                return self._holding(own_node_labels(node))[self.holders]
            case InPrefixes():
                return self._inside(self._ranges[expression])
            case LearntName():
                return np.zeros(self.count, dtype=bool)
            case PeerNot(item):
                return ~self.matches(item, node)
            case PeerAll(items):
                result = np.ones(self.count, dtype=bool)
                for item in items:
                    result &= self.matches(item, node)
                return result
            case PeerAny(items):
                result = np.zeros(self.count, dtype=bool)
                for item in items:
                    result |= self.matches(item, node)
                return result
            case _:
                assert_never(expression)

    def _holding(self, labels: LabelExpr) -> Bits:
        known = self._held.get(labels)
        if known is None:
            known = self._held[labels] = self.objects.having(self.labels, labels)
        return known

    def _inside(self, ranges: NDArray[np.int64]) -> Bits:
        if not len(ranges):
            return np.zeros(self.count, dtype=bool)
        position = np.searchsorted(ranges[:, 0], self.representative, side="right") - 1
        inside: Bits = (position >= 0) & (self.representative < ranges[position, 1])
        return inside


def own_node_labels(node: str) -> LabelExpr:
    """The objects that stand for a node's own addresses; nothing for an endpoint without a node."""
    return LabelAll((kind_is("node"), LabelTest(("meta:name",), LabelOperator.IN, (node,))))


def classify_peers(
    entities: Sequence[Entity], labels: LabelIndex, expressions: Iterable[PeerExpr], nodes: Iterable[str]
) -> PeerClasses:
    """Cut the address space at everything the expressions and the entities mention, then join what no expression
    tells apart.

    ``nodes``: the nodes of the subjects, since rules about the own node differ by them.
    """
    leaves = dict.fromkeys(leaf for expression in expressions for leaf in peer_leaves(expression))
    prefixes = [leaf for leaf in leaves if isinstance(leaf, InPrefixes)]
    networks = [network for leaf in prefixes for network in leaf.networks]
    networks += [network for entity in entities for network in entity.networks]
    atoms = cut_addresses(networks)
    holder_of, holder_profiles = entity_holders(entities, labels.profile_of, atoms)
    ranges = {leaf: merge_networks(leaf.networks, atoms) for leaf in prefixes}
    tests: list[LabelExpr] = [leaf.labels for leaf in leaves if isinstance(leaf, HasObject)]
    if any(isinstance(leaf, OnOwnNode) for leaf in leaves):
        tests += [own_node_labels(node) for node in sorted(set(nodes))]
    homeless = [position for position, entity in enumerate(entities) if not entity.networks]
    holder_of = np.append(holder_of, _template_holders(homeless, labels, holder_profiles))
    objects = Holders.of(holder_profiles)
    holder_class = _classify_holders(labels, objects, tests)
    class_of, representative = _join_atoms(atoms, holder_class[holder_of], list(ranges.values()))
    networks6 = tuple(sorted({(int(n.network_address), n.prefixlen) for n in networks if n.version == 6}))
    return PeerClasses(
        atoms=atoms,
        class_of=class_of[: atoms.count],
        representative=representative,
        holders=holder_of[representative],
        objects=objects,
        labels=labels,
        networks6=networks6,
        templates={entities[p].name: int(c) for p, c in zip(homeless, class_of[atoms.count :], strict=True)},
        _ranges=ranges,
    )


def _template_holders(
    homeless: Sequence[int], labels: LabelIndex, holder_profiles: list[tuple[int, ...]]
) -> NDArray[np.int64]:
    """A holder number for each entity without an address; new ones are added to ``holder_profiles``."""
    numbers = {profiles: number for number, profiles in enumerate(holder_profiles)}
    result = []
    for position in homeless:
        profiles = (int(labels.profile_of[position]),)
        if profiles not in numbers:
            numbers[profiles] = len(holder_profiles)
            holder_profiles.append(profiles)
        result.append(numbers[profiles])
    return np.array(result, dtype=np.int64)


def _classify_holders(labels: LabelIndex, objects: Holders, tests: list[LabelExpr]) -> NDArray[np.int64]:
    """Number the holders by their answers to all label tests."""
    if not tests:
        return np.zeros(objects.count, dtype=np.int64)
    answers = np.stack([objects.having(labels, test) for test in tests], axis=1)
    return equal_rows(np.packbits(answers, axis=1))[0]


def _join_atoms(
    atoms: AddressAtoms, holder_class: NDArray[np.int64], ranges: list[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number atoms by (family, holder class, prefixes around them), exactly: retried with other fingerprints on a
    collision.

    Entities without an address follow the last atom as if they were atoms of their own, outside every prefix.
    """
    kinds = int(holder_class.max(initial=0)) + 1
    seed = 1
    while True:
        sums = _prefix_sums(len(holder_class), ranges, fingerprints(len(ranges), seed))
        sums ^= fingerprints(kinds, seed + 1)[holder_class]
        sums[len(atoms.starts4) : atoms.count] ^= fingerprints(2, seed + 2)[0]
        sums[atoms.count :] ^= fingerprints(2, seed + 2)[1]
        class_of, representative = number_first_seen(sums)
        kinds_of = np.repeat(np.arange(3), [len(atoms.starts4), len(atoms.starts6), len(holder_class) - atoms.count])
        if _uniform(class_of, representative, (holder_class, kinds_of), ranges):
            return class_of, representative
        seed += 3


def _prefix_sums(count: int, ranges: list[NDArray[np.int64]], marks: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """XOR, per atom, of the marks of all prefix sets that contain it."""
    edges = np.zeros(count + 1, dtype=np.uint64)
    for mark, pairs in zip(marks, ranges, strict=True):
        edges[pairs[:, 0]] ^= mark
        edges[pairs[:, 1]] ^= mark
    return np.bitwise_xor.accumulate(edges)[:count]


def _uniform(
    class_of: NDArray[np.int64],
    representative: NDArray[np.int64],
    colours: Sequence[NDArray[np.int64]],
    ranges: list[NDArray[np.int64]],
) -> bool:
    """Whether no class mixes colours (holder classes, families) or insides and outsides of a prefix set."""
    if not all(np.array_equal(colour, colour[representative][class_of]) for colour in colours):
        return False
    sizes = np.bincount(class_of)
    for pairs in ranges:
        inside = [class_of[low:high] for low, high in pairs]
        covered = np.concatenate(inside) if inside else np.zeros(0, dtype=np.int64)
        if sizes[np.unique(covered)].sum() != len(covered):
            return False
    return True
