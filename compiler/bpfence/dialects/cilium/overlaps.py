"""Which of many networks share an address with a given one: built once, asked often."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from bpfence.ir.expressions import Network


@dataclass(frozen=True, slots=True)
class _Family:
    """Intervals by their start. ``reach[i]``: the furthest end among the first i + 1, and whose it is."""

    starts: tuple[int, ...]
    reach: tuple[tuple[int, str], ...]

    def find(self, first: int, last: int) -> str | None:
        position = bisect_right(self.starts, last) - 1
        if position < 0:
            return None
        end, name = self.reach[position]
        return name if end >= first else None


@dataclass(frozen=True, slots=True)
class NetworkIndex:
    """Named networks of both families."""

    families: tuple[_Family, _Family]

    def find(self, network: Network) -> str | None:
        """The name of some network that overlaps, or None."""
        family = self.families[0 if network.version == 4 else 1]
        return family.find(*_bounds(network))


def index_networks(networks: Iterable[tuple[Network, str]]) -> NetworkIndex:
    """Build the index; names are for messages and need not be unique."""
    known = list(networks)
    return NetworkIndex((_family(known, 4), _family(known, 6)))


def _bounds(network: Network) -> tuple[int, int]:
    """The first and the last address; the network's own properties are slow."""
    first = int(network.network_address)
    return first, first + (1 << (network.max_prefixlen - network.prefixlen)) - 1


def _family(networks: Iterable[tuple[Network, str]], version: int) -> _Family:
    intervals = sorted((*_bounds(network), name) for network, name in networks if network.version == version)
    reach: list[tuple[int, str]] = []
    for _, end, name in intervals:
        reach.append((end, name) if not reach or end > reach[-1][0] else reach[-1])
    return _Family(tuple(start for start, _, _ in intervals), tuple(reach))
