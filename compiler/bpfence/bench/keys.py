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

from bpfence.bench.fixture import ADDRESSES, PORT_SPECS, TCP, UDP, Fixture, address

COUNT = 1 << 16
"""a power of two"""
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
        """As the programs read them: address in network order, port in network order, protocol, family."""
        words = 1 if family == 4 else 4
        packed = b"".join(address(number, family).packed for number in range(ADDRESSES))
        table = np.zeros(len(self.addresses), dtype=[("a", "<u4", (words,)), ("p", ">u2"), ("l", "u1"), ("f", "u1")])
        table["a"] = np.frombuffer(packed, dtype="<u4").reshape(ADDRESSES, words)[self.addresses]
        table["p"], table["l"], table["f"] = self.ports, self.protocols, family
        return table.tobytes()


def draw_keys(fixture: Fixture, distribution: str) -> Keys:
    """``distribution``: hot (one key, an allowed one where there is any), random (every address alike) or zipf (few
    addresses get most).
    """
    choose = np.random.default_rng(_SEED)
    match distribution:
        case "random" | "hot":
            addresses = choose.integers(0, ADDRESSES, COUNT)
        case "zipf":
            weights = 1 / np.arange(1, ADDRESSES + 1) ** ZIPF_EXPONENT
            ranks = np.searchsorted(np.cumsum(weights) / weights.sum(), choose.random(COUNT))
            addresses = choose.permutation(ADDRESSES)[np.minimum(ranks, ADDRESSES - 1)]
        case _:
            raise ValueError(f"no key distribution {distribution}")
    protocols, ports = _draw_ports(choose)
    expected = fixture.expected(addresses, protocols, ports)
    keys = Keys(addresses, protocols, ports, expected)
    return _only(keys, int(np.argmax(expected))) if distribution == "hot" else keys


def _only(keys: Keys, place: int) -> Keys:
    """One key, again and again."""
    columns = (keys.addresses, keys.protocols, keys.ports)
    return Keys(*(np.full(COUNT, column[place]) for column in columns), np.full(COUNT, keys.expected[place]))


def _draw_ports(choose: np.random.Generator) -> tuple[Longs, Longs]:
    specs = np.array(PORT_SPECS)[choose.integers(0, len(PORT_SPECS), COUNT)]
    inside = choose.integers(specs[:, 1], specs[:, 2] + 1)
    anywhere = choose.random(COUNT) < 0.25
    protocols = np.where(anywhere, choose.choice([TCP, UDP], COUNT), specs[:, 0])
    return protocols, np.where(anywhere, choose.integers(1, 65536, COUNT), inside)
