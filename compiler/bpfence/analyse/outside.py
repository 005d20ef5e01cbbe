"""Outside addresses as ranges: what is no endpoint's or service's own address.

In: the address atoms and the world. Out: `OutsideRuns`, and spans of runs that are answered alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bpfence.analyse.parties import own_addresses
from bpfence.analyse.set_numbers import NOTHING, Numbers
from bpfence.classify.addresses import AddressAtoms
from bpfence.identity.inventory import Address
from bpfence.identity.labels import Bits
from bpfence.identity.world import World

Span = tuple[int, int]
"""first and last run"""


@dataclass(frozen=True, slots=True)
class OutsideRuns:
    """Runs of addresses inside one atom each, in order. ``families``, ``atoms``: of each; ``follows``: whether it
    begins where the run before it ends.
    """

    families: NDArray[np.int64]
    atoms: NDArray[np.int64]
    follows: Bits
    bounds: tuple[tuple[int, int], ...]

    def first(self, run: int) -> Address:
        """The run's first address."""
        return make_address(int(self.families[run]), self.bounds[run][0])

    def spans(self, answers: Numbers) -> tuple[tuple[Span, int], ...]:
        """Adjacent runs with equal answers as one; those without any allowed connection left out."""
        starts = np.flatnonzero(~self.follows | np.diff(answers, prepend=answers[:1] - 1).astype(bool))
        ends = np.append(starts[1:], len(answers)) - 1
        kept = answers[starts] != NOTHING
        places = zip(starts[kept].tolist(), ends[kept].tolist(), strict=True)
        return tuple(zip(places, answers[starts[kept]].tolist(), strict=True))

    def name(self, span: Span) -> str:
        """``LO-HI[External]``."""
        version = int(self.families[span[0]])
        low, high = self.bounds[span[0]][0], self.bounds[span[1]][1]
        return f"{make_address(version, low)}-{make_address(version, high)}[External]"


def outside_runs(atoms: AddressAtoms, world: World) -> OutsideRuns:
    """Everything but the addresses of workloads, host endpoints and services."""
    taken = {
        atoms.atom_of(address)
        for entity in world.entities
        if entity.kind in ("pod", "service", "hostendpoint")
        for address in own_addresses(entity, world)
    }
    chosen = [atom for atom in range(atoms.count) if atom not in taken]
    places = [atoms.bounds(atom) for atom in chosen]
    follows = [before[0] == place[0] and before[2] + 1 == place[1] for before, place in pairwise(places)]
    return OutsideRuns(
        np.array([version for version, _, _ in places], dtype=np.int64),
        np.array(chosen, dtype=np.int64),
        np.array([False, *follows], dtype=bool),
        tuple((low, high) for _, low, high in places),
    )


def make_address(version: int, value: int) -> Address:
    """The address of a family's number."""
    return IPv4Address(value) if version == 4 else IPv6Address(value)
