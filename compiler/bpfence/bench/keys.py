"""The keys that ``verdict`` asks about: address, protocol and port, drawn hot, at random or by Zipf's law. In: a
`Fixture`. Out: `Keys`.

Three of four ports are drawn from what rules name (a port spec at random, then a port inside it), the others from all
ports of TCP or UDP,
so some rules match and many do not, as with real traffic. Both families ask the same questions of the same pods.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfence.bench.fixture import BASE, PORT_SPECS, TCP, UDP, Fixture

COUNT = 1 << 16
"""a power of two"""
_RECORD = np.dtype([("address", ">u4"), ("port", ">u2"), ("protocol", "u1"), ("family", "u1")])
KEY_SIZE = _RECORD.itemsize
ZIPF_EXPONENT = 1.1
_SEED = 7
Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Keys:
    """``addresses``: address numbers; ``expected``: what the rules say. Arrays of one length, `COUNT`."""

    addresses: Longs
    protocols: Longs
    ports: Longs
    expected: NDArray[np.bool_]

    def records(self, family: int) -> bytes:
        """As the programs read them: last word of the address and port in network order, protocol, family."""
        table = np.zeros(len(self.addresses), dtype=_RECORD)
        table["address"] = (BASE[family] & 0xFFFFFFFF) + self.addresses
        table["port"], table["protocol"], table["family"] = self.ports, self.protocols, family
        return table.tobytes()


def draw_keys(fixture: Fixture, distribution: str) -> Keys:
    """``distribution``: hot, random or zipf. The same keys every time."""
    choose = np.random.default_rng(_SEED)
    if distribution == "zipf":
        addresses = _zipf_addresses(fixture.addresses, choose)
        specs = _open_specs(fixture, addresses, choose)
    else:
        addresses = choose.integers(0, fixture.addresses, COUNT)
        specs = choose.integers(0, len(PORT_SPECS), COUNT)
    protocols, ports = _draw_ports(specs, choose)
    keys = Keys(addresses, protocols, ports, fixture.expected(addresses, protocols, ports))
    return _only(keys, int(np.argmax(keys.expected))) if distribution == "hot" else keys


def _only(keys: Keys, place: int) -> Keys:
    """One key, again and again."""
    addresses, protocols, ports = (np.full(COUNT, c[place]) for c in (keys.addresses, keys.protocols, keys.ports))
    return Keys(addresses, protocols, ports, np.full(COUNT, keys.expected[place]))


def _zipf_addresses(count: int, choose: np.random.Generator) -> Longs:
    weights = 1 / np.arange(1, count + 1) ** ZIPF_EXPONENT
    ranks = np.searchsorted(np.cumsum(weights) / weights.sum(), choose.random(COUNT))
    order: Longs = choose.permutation(count)
    return order[np.minimum(ranks, count - 1)]


def _open_specs(fixture: Fixture, addresses: Longs, choose: np.random.Generator) -> Longs:
    """For each address one of the port specs that are open to its workload."""
    bits = fixture.specs_of_workload[fixture.workload_of[addresses], None] >> np.arange(
        len(PORT_SPECS), dtype=np.uint64
    )
    chances = np.where(bits & np.uint64(1), choose.random((COUNT, len(PORT_SPECS))), -1.0)
    chosen: Longs = chances.argmax(axis=1)
    return chosen


def _draw_ports(specs: Longs, choose: np.random.Generator) -> tuple[Longs, Longs]:
    chosen = np.array(PORT_SPECS)[specs]
    inside = choose.integers(chosen[:, 1], chosen[:, 2] + 1)
    anywhere = choose.random(COUNT) < 0.25
    protocols = np.where(anywhere, choose.choice([TCP, UDP], COUNT), chosen[:, 0])
    return protocols, np.where(anywhere, choose.integers(1, 65536, COUNT), inside)
