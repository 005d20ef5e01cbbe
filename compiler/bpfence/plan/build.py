"""From the classification to the tables' contents and the plan of their sizes.

In: `Classification`, the node's endpoints. Out: `PlannedTables`: the contents in numpy form, and the `Plan` that
holds them. Pure data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.classification import Classification
from bpfence.classify.peers import PeerClasses
from bpfence.errors import BudgetError
from bpfence.identity.world import Entity
from bpfence.ir.nodes import Direction
from bpfence.plan.address4 import Address4Table, build_address4
from bpfence.plan.address6 import Address6Table, Prefix, build_address6
from bpfence.plan.l4 import L4Tables, build_l4
from bpfence.plan.layout import UNRESTRICTED
from bpfence.plan.plan import Features, Geometry, Plan, capacity

CLASS_LIMIT = 65536
CELL_LIMIT = 1 << 27
"""cells of one slot: 256 MiB"""
WIDE = 65535


@dataclass(frozen=True, slots=True)
class PlannedTables:
    """Everything the images are made of. ``row_offsets[i]``: first cell of classification row i. ``endpoints``: in id
    order.
    """

    plan: Plan
    endpoints: tuple[Entity, ...]
    address4: Address4Table
    address6: Address6Table
    l4: L4Tables
    cells: NDArray[np.uint16]
    row_offsets: tuple[int, ...]
    peers: int
    l4_classes: int


def plan_tables(classification: Classification, endpoints: Sequence[Entity]) -> PlannedTables:
    """Choose contents and sizes. BudgetError with numbers when the cells exceed what one slot may hold."""
    merged = classification.merged
    _check_budget(merged.peers, merged.l4, len(merged.cells))
    peers = classification.peers
    atom_class = merged.peer_of[peers.class_of]
    starts4 = np.array(peers.atoms.starts4, dtype=np.int64)
    address4 = build_address4(starts4, atom_class[: len(starts4)])
    default6, prefixes6 = prefix_classes(peers, atom_class)
    address6 = build_address6(prefixes6, default6)
    l4 = build_l4(classification.l4, merged.l4_of)
    size = merged.peers * merged.l4
    cells = (
        np.concatenate([part.reshape(-1) for part in merged.cells]) if merged.cells else np.zeros(0, dtype=np.uint16)
    )
    offsets = tuple(number * size for number in merged.cells_of_row)
    plan = Plan(
        _features(address4, address6, l4, merged.provenance), _geometry(endpoints, address4, address6, l4, len(cells))
    )
    return PlannedTables(plan, tuple(endpoints), address4, address6, l4, cells, offsets, merged.peers, merged.l4)


def _check_budget(peers: int, l4: int, rows: int) -> None:
    if peers > CLASS_LIMIT or l4 > CLASS_LIMIT or peers * l4 * rows > CELL_LIMIT:
        raise BudgetError(
            f"the verdict table would need {rows} rows of {peers} peer classes x {l4} L4 classes "
            f"({peers * l4 * rows * 2 >> 20} MiB); at most {CELL_LIMIT * 2 >> 20} MiB are supported"
        )


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


def _features(address4: Address4Table, address6: Address6Table, l4: L4Tables, provenance: bool) -> Features:
    return Features(
        address6=address6.used > 0,
        source_ports=l4.pairs is not None,
        icmp_codes=l4.icmp_codes,
        wide_blocks=len(address4.level3) > WIDE,
        narrow_cells=not provenance,
    )


def _geometry(
    endpoints: Sequence[Entity], address4: Address4Table, address6: Address6Table, l4: L4Tables, cells: int
) -> Geometry:
    counts = {version: [sum(1 for a in e.addresses if a.version == version) for e in endpoints] for version in (4, 6)}
    room = capacity(len(endpoints), 16)
    return Geometry(
        interfaces=capacity(4 * room, 64),
        endpoints=room,
        own4=capacity(max(counts[4], default=0), 1),
        own6=capacity(max(counts[6], default=0), 1),
        l2_blocks=capacity(len(address4.level2), 16),
        l3_blocks=capacity(len(address4.level3), 64),
        address6_slots=address6.slots,
        address6_lengths=min(capacity(len(address6.lengths), 8), 129),
        port_pairs=capacity(l4.pairs.size, 64) if l4.pairs is not None else 0,
        cells=capacity(cells, 1024),
        address6_blocks=capacity(len(address6.blocks), 16),
    )


def endpoint_rows(
    planned: PlannedTables, classification: Classification, entity: Entity, address: str
) -> tuple[int, int]:
    """(egress row, ingress row) of an endpoint's address: first cells, or UNRESTRICTED."""
    rows = (
        classification.row_of[entity.name, address, direction] for direction in (Direction.EGRESS, Direction.INGRESS)
    )
    egress, ingress = (UNRESTRICTED if row is None else planned.row_offsets[row] for row in rows)
    return egress, ingress
