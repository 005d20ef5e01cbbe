"""From the classification to the tables' contents and the plan of their sizes.

In: `Classification`, the node's endpoints. Out: `PlannedTables`: the contents in numpy form, and the `Plan` that
holds them. Pure data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.classification import Classification
from bpfence.classify.peers import PeerClasses
from bpfence.identity.world import Entity
from bpfence.ir.nodes import Direction
from bpfence.plan.address4 import Address4Table, build_address4
from bpfence.plan.address6 import Address6Table, Prefix, build_address6
from bpfence.plan.cells import CellTables, build_cells
from bpfence.plan.hosts import NO_HOSTS, HostFacts, PlannedHosts, plan_hosts
from bpfence.plan.l4 import L4Tables, build_l4
from bpfence.plan.layout import UNRESTRICTED
from bpfence.plan.plan import Features, Geometry, Plan, capacity, elements


@dataclass(frozen=True, slots=True)
class PlannedTables:
    """Everything the images are made of. ``row_offsets[i]``: what stands for classification row i in the tables (see
    `CellTables`). ``endpoints``: in id order.
    """

    plan: Plan
    endpoints: tuple[Entity, ...]
    address4: Address4Table
    address6: Address6Table
    l4: L4Tables
    cells: CellTables
    row_offsets: tuple[int, ...]
    peers: int
    l4_classes: int
    hosts: PlannedHosts = NO_HOSTS


def plan_tables(
    classification: Classification, endpoints: Sequence[Entity], host_facts: HostFacts | None = None
) -> PlannedTables:
    """Choose contents and sizes. BudgetError with numbers when the cells exceed what one slot may hold."""
    merged = classification.merged
    cells = build_cells(merged)
    peers = classification.peers
    atom_class = merged.peer_of[peers.class_of]
    starts4 = np.array(peers.atoms.starts4, dtype=np.int64)
    address4 = build_address4(starts4, atom_class[: len(starts4)])
    default6, prefixes6 = prefix_classes(peers, atom_class)
    address6 = build_address6(prefixes6, default6)
    l4 = build_l4(classification.l4, merged.l4_of)
    offsets = tuple(cells.row_starts[number] for number in merged.cells_of_row)
    hosts = NO_HOSTS if host_facts is None else plan_hosts(host_facts, classification, offsets)
    features = _features(address4, address6, l4, cells, merged.provenance)
    geometry = _geometry(endpoints, address4, address6, l4, cells)
    features = hosts.features(features)
    # The cells say what workloads' own rows allow; hosts would have to be asked each time.
    features = replace(features, stateless=classification.notrack and not features.hosts_at_workloads)
    plan = Plan(features, hosts.geometry(geometry))
    return PlannedTables(plan, tuple(endpoints), address4, address6, l4, cells, offsets, merged.peers, merged.l4, hosts)


def prefix_classes(peers: PeerClasses, atom_class: NDArray[np.int64]) -> tuple[int, list[tuple[Prefix, int]]]:
    """(class of IPv6 addresses in no mentioned prefix, class of each mentioned prefix outside the prefixes nested in
    it).

    A prefix wholly covered by nested ones is left out.
    """
    default = _uncovered((0, 0), 0, peers)
    result: list[tuple[Prefix, int]] = []
    networks = peers.networks6
    for position, prefix in enumerate(networks):
        atom = _uncovered(prefix, position + 1, peers)
        if atom is not None:
            result.append((prefix, int(atom_class[atom])))
    return (0 if default is None else int(atom_class[default])), result


def _uncovered(prefix: Prefix, following: int, peers: PeerClasses) -> int | None:
    """An atom inside the prefix and in none of the prefixes nested in it, which follow it in the sorted list."""
    start, length = prefix
    end = start + (1 << (128 - length))
    networks = peers.networks6
    while following < len(networks) and networks[following][0] == start and networks[following][1] <= length:
        following += 1
    while start < end:
        if following >= len(networks) or networks[following][0] > start:
            return len(peers.atoms.starts4) + peers.atoms.index6[start]
        nested_start, nested_length = networks[following]
        start = max(start, nested_start + (1 << (128 - nested_length)))
        while following < len(networks) and networks[following][0] < start:
            following += 1
    return None


def _features(
    address4: Address4Table, address6: Address6Table, l4: L4Tables, cells: CellTables, provenance: bool
) -> Features:
    return Features(
        address6=address6.used > 0,
        source_ports=l4.pairs is not None,
        icmp_codes=l4.icmp_codes,
        wide_blocks=address4.wide_blocks,
        fine_blocks=address4.fine,
        narrow_cells=not provenance,
        two_level=cells.two_level,
        wide_row_peers=cells.wide_row_peers,
    )


def _geometry(
    endpoints: Sequence[Entity], address4: Address4Table, address6: Address6Table, l4: L4Tables, cells: CellTables
) -> Geometry:
    counts = {version: [sum(1 for a in e.addresses if a.version == version) for e in endpoints] for version in (4, 6)}
    room = capacity(len(endpoints), 16)
    return Geometry(
        interfaces=capacity(4 * room, 64),
        endpoints=room,
        own4=capacity(max(counts[4], default=0), 1),
        own6=capacity(max(counts[6], default=0), 1),
        l2_blocks=elements(len(address4.level2), 16),
        l3_blocks=elements(len(address4.level3), 64),
        address6_slots=address6.slots,
        address6_lengths=min(capacity(len(address6.lengths), 8), 129),
        port_pairs=elements(l4.pairs.size, 64) if l4.pairs is not None else 0,
        cells=elements(cells.cells.size, 1024),
        address6_blocks=elements(len(address6.blocks), 16),
        policy_rows=capacity(len(cells.policy_rows), 16) if cells.two_level else 0,
        row_peers=elements(cells.row_peers.size, 1024) if cells.two_level else 0,
        row_l4=elements(cells.row_l4.size, 1024) if cells.two_level else 0,
    )


def endpoint_rows(
    planned: PlannedTables, classification: Classification, entity: Entity, address: str
) -> tuple[int, int]:
    """(egress row, ingress row) of an endpoint's address as they stand in the tables; UNRESTRICTED for none."""
    rows = (
        classification.row_of[entity.name, address, direction] for direction in (Direction.EGRESS, Direction.INGRESS)
    )
    egress, ingress = (UNRESTRICTED if row is None else planned.row_offsets[row] for row in rows)
    return egress, ingress
