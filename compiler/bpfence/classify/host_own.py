"""The own side of hosts: which row a host endpoint has for each class of own addresses.

A host endpoint sees packets for (and from) addresses that are not its own, and its rules may speak of them. So the
address classes that tell peers apart also tell own addresses apart, and a row is found by the class of either.

In: the hosts' rows. Out: the distinctions that the classes have to keep, and a row number per class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network, summarize_address_range

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.hosts import AddressRange, HostRow
from bpfence.classify.peers import PeerClasses
from bpfence.identity.inventory import Address, Network
from bpfence.identity.world import Entity, World
from bpfence.ir.expressions import InPrefixes
from bpfence.ir.nodes import Direction, Point

Place = tuple[str, Direction, Point]
"""host, direction, point"""


@dataclass(frozen=True, slots=True)
class OwnRows:
    """``numbers[place]``: a row per peer class, -1 for none. ``needed``: some row depends on the own address."""

    numbers: dict[Place, NDArray[np.int64]]
    needed: bool

    def columns(self) -> tuple[NDArray[np.int64], ...]:
        """What classes have to agree in to be one class; empty when the own address never matters."""
        return tuple(self.numbers.values()) if self.needed else ()


def own_addresses(host: Entity, world: World) -> frozenset[Address]:
    """The addresses at which packets end in the host."""
    node = world.by_name.get(f"node/{host.node}")
    return frozenset((*host.addresses, *(() if node is None else node.addresses)))


def own_distinctions(rows: Iterable[HostRow], hosts: Iterable[Entity], world: World) -> Iterator[InPrefixes]:
    """What the address classes must not mix: own ranges of different rows, the hosts' own addresses."""
    ranges: dict[object, list[Network]] = {}
    for row in rows:
        if row.own is not None:
            ranges.setdefault((row.host, row.direction, row.point, id(row.row)), []).extend(networks_of(row.own))
    yield from (InPrefixes(tuple(networks)) for networks in ranges.values())
    for host in hosts:
        addresses = sorted(own_addresses(host, world), key=lambda item: (item.version, item.packed))
        if addresses:
            yield InPrefixes(tuple(ip_network(address) for address in addresses))


def networks_of(own: AddressRange) -> tuple[Network, ...]:
    """The range as prefixes."""
    version, low, high = own
    if version == 4:
        return tuple(summarize_address_range(IPv4Address(low), IPv4Address(high)))
    return tuple(summarize_address_range(IPv6Address(low), IPv6Address(high)))


def own_rows(rows: Sequence[HostRow], numbers: Sequence[int | None], peers: PeerClasses) -> OwnRows:
    """``numbers``: the row of each of ``rows``; of several for one address the first holds."""
    by_place: dict[Place, list[tuple[AddressRange | None, int]]] = {}
    for row, number in zip(rows, numbers, strict=True):
        entry = (row.own, -1 if number is None else number)
        by_place.setdefault((row.host, row.direction, row.point), []).append(entry)
    found = {place: _by_class(items, peers) for place, items in by_place.items()}
    return OwnRows(found, any(own is not None for items in by_place.values() for own, _ in items))


def _by_class(items: Sequence[tuple[AddressRange | None, int]], peers: PeerClasses) -> NDArray[np.int64]:
    usual = next((number for own, number in items if own is None), -1)
    result = np.full(peers.count, usual, dtype=np.int64)
    for own, number in reversed(items):
        if own is not None:
            low, high = (peers.atoms.atom_of(address) for address in _ends(own))
            result[np.unique(peers.class_of[low : high + 1])] = number
    return result


def _ends(own: AddressRange) -> tuple[Address, Address]:
    version, low, high = own
    return (IPv4Address(low), IPv4Address(high)) if version == 4 else (IPv6Address(low), IPv6Address(high))
