"""Which addresses of its own a host is asked about when two sets of tables are compared.

In: the comparison, a host, and a kind of traffic. Out: addresses; together they meet every row that packets of the kind
can meet. A host's row depends on the own side of a packet, which need not be an address of the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import numpy as np

from bpfence.analyse.table_deltas import Comparison
from bpfence.analyse.table_partition import AddressPartition, Bits, are_local
from bpfence.analyse.table_peers import make_address
from bpfence.analyse.table_sides import Side
from bpfence.identity.inventory import Address


def own_sides(comparison: Comparison, name: str, direction: str, party: bool) -> Iterator[Address]:
    """``party``: the node itself receives or sends the packets, else it passes them on.

    The node's own traffic has addresses of the node, and what it receives also those of groups and of everybody. Of a
    family without a known address it may have any: objects need not tell all addresses. What is passed on has any
    address; coming in none at which packets end in the node.
    """
    sides = [side for side in (comparison.old, comparison.new) if side.tables is not None]
    known = list(dict.fromkeys(address for side in sides for address in _known_addresses(side, name))) if party else []
    yield from known
    for version, partition in comparison.addresses.items():
        local = np.stack([are_local(version, side.tables, partition.starts) for side in sides])
        if party and any(address.version == version for address in known):
            chosen = np.asarray(local.any(axis=0) & (direction == "ingress"))
        elif party or direction == "egress":
            chosen = np.ones(len(partition.starts), dtype=bool)
        else:
            chosen = np.asarray(~local.all(axis=0))
        yield from _one_of_each(sides, partition, chosen)


def _one_of_each(sides: list[Side], partition: AddressPartition, chosen: Bits) -> Iterator[Address]:
    """The first of the chosen addresses of each part that the tables tell apart as own sides."""
    told_apart = any("own_rows" in side.tables.images for side in sides if side.tables is not None)
    seen = set[int]()
    places = np.flatnonzero(chosen).tolist()
    for place in sorted(places, key=lambda place: partition.ends[place] == 0):
        number = int(partition.pair_of[place]) if told_apart else 0
        first, last = partition.starts[place], partition.ends[place]
        if number not in seen:
            seen.add(number)
            yield make_address(partition.version, first or min(1, last))


def _known_addresses(side: Side, name: str) -> Iterator[Address]:
    """Those of the host, then the node's others: packets for any of them may come in at any interface."""
    assert side.tables is not None
    manifest = side.tables.manifest
    host = next((one for one in manifest.hosts if one.name == name), None)
    yield from map(ip_address, host.addresses if host is not None else ())
    yield from map(ip_address, manifest.node_addresses if host is not None else ())
    yield from sorted(side.tables.local_addresses, key=lambda address: (address.version, int(address)))
