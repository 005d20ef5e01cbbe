"""The address space cut into atoms: intervals that no mentioned prefix and no entity's network cuts further.

In: the prefixes that rules mention and the entities with their networks. Out: `AddressAtoms`, IPv4 atoms first, then
IPv6.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

import numpy as np
from numpy.typing import NDArray

from bpfence.identity.inventory import Address, Network
from bpfence.identity.world import Entity

SPACE = {4: 1 << 32, 6: 1 << 128}


@dataclass(frozen=True, slots=True)
class AddressAtoms:
    """``starts4``/``starts6``: sorted first addresses as integers; an atom ends before the next start.

    Atom numbers: IPv4 atom i is i, IPv6 atom i is len(starts4) + i. ``index4``/``index6``: start -> position; the end
    of the space is there too.
    """

    starts4: tuple[int, ...]
    starts6: tuple[int, ...]
    index4: dict[int, int]
    index6: dict[int, int]

    @property
    def count(self) -> int:
        return len(self.starts4) + len(self.starts6)

    def atom_range(self, network: Network) -> tuple[int, int]:
        """Atoms [low, high) that make up the network; its borders must have been among the cuts."""
        first = int(network.network_address)
        # the network's own count of its addresses takes several times as long
        last = first + (1 << network.max_prefixlen - network.prefixlen)
        if network.version == 4:
            return self.index4[first], self.index4[last]
        base = len(self.starts4)
        return base + self.index6[first], base + self.index6[last]

    def family(self, atom: int) -> int:
        return 4 if atom < len(self.starts4) else 6

    def bounds(self, atom: int) -> tuple[int, int, int]:
        """(family, first address, last address) of an atom."""
        if atom < len(self.starts4):
            starts, position, version = self.starts4, atom, 4
        else:
            starts, position, version = self.starts6, atom - len(self.starts4), 6
        end = starts[position + 1] if position + 1 < len(starts) else SPACE[version]
        return version, starts[position], end - 1

    def atom_of(self, address: Address) -> int:
        """The atom that holds the address."""
        starts = self.starts4 if address.version == 4 else self.starts6
        base = 0 if address.version == 4 else len(self.starts4)
        from bisect import bisect_right

        return base + bisect_right(starts, int(address)) - 1


def cut_addresses(networks: Iterable[Network]) -> AddressAtoms:
    """Cut both address spaces at the borders of the networks."""
    cuts: dict[int, set[int]] = {4: {0}, 6: {0}}
    for network in networks:
        first = int(network.network_address)
        cuts[network.version].update((first, first + (1 << network.max_prefixlen - network.prefixlen)))
    starts: dict[int, tuple[int, ...]] = {}
    index: dict[int, dict[int, int]] = {}
    for version in (4, 6):
        cuts[version].discard(SPACE[version])
        starts[version] = tuple(sorted(cuts[version]))
        index[version] = {start: position for position, start in enumerate(starts[version])}
        index[version][SPACE[version]] = len(starts[version])
    return AddressAtoms(starts[4], starts[6], index[4], index[6])


def merge_networks(networks: Sequence[Network], atoms: AddressAtoms) -> NDArray[np.int64]:
    """The networks as disjoint sorted atom ranges, shape (n, 2), low inclusive, high exclusive."""
    merged: list[list[int]] = []
    for low, high in sorted(atoms.atom_range(network) for network in networks):
        if merged and low <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], high)
        else:
            merged.append([low, high])
    return np.array(merged, dtype=np.int64).reshape(-1, 2)


def entity_holders(
    entities: Sequence[Entity], profile_of: NDArray[np.int64], atoms: AddressAtoms
) -> tuple[NDArray[np.int64], list[tuple[int, ...]]]:
    """Who holds each atom: (holder number per atom, profiles of each holder number). Holder 0 is nobody.

    Several entities may share an address; a holder is the sorted set of their profiles, so label tests can ask "some
    object here".
    """
    single = np.zeros(atoms.count, dtype=np.int64)
    numbers: dict[tuple[int, ...], int] = {(): 0}
    sets: list[tuple[int, ...]] = [()]
    for position, entity in enumerate(entities):
        profile = int(profile_of[position])
        for network in entity.networks:
            low, high = atoms.atom_range(network)
            for atom in range(low, high):
                before = sets[single[atom]]
                if profile in before:
                    continue
                after = tuple(sorted((*before, profile)))
                number = numbers.setdefault(after, len(sets))
                if number == len(sets):
                    sets.append(after)
                single[atom] = number
    return single, sets


def whole_family(version: int) -> Network:
    """0.0.0.0/0 or ::/0."""
    return IPv4Network("0.0.0.0/0") if version == 4 else IPv6Network("::/0")
