"""The L4 tables: from merged classes of L4 atoms to arrays indexed by ports, types and protocols.

In: `L4Atoms` and a merged class per atom. Out: `L4Tables`, with source ports and ICMP codes only where they decide
something.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.fingerprints import equal_rows
from bpfence.classify.l4 import L4Atoms, ProtocolSpace

PORT_ORDER = (6, 17, 132)
"""protocols in the order of the ports tables"""
ICMP_ORDER = (1, 58)
Shorts = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class L4Tables:
    """``ports``: (3, 65536) L4 class, or destination class when ``pairs`` is given; ``source_ports``: (3, 65536)
    source class;
    ``pairs``: (destination classes, source_stride) L4 class; ``icmp``: (2, 256) by type or (2, 65536) by type and
    code; ``protocols``: (256,).
    """

    ports: Shorts
    source_ports: Shorts | None
    pairs: Shorts | None
    icmp: Shorts
    protocols: Shorts

    @property
    def source_stride(self) -> int:
        return 0 if self.pairs is None else int(self.pairs.shape[1])

    @property
    def icmp_codes(self) -> bool:
        return bool(self.icmp.shape[1] == 65536)


def build_l4(atoms: L4Atoms, merged: NDArray[np.int64]) -> L4Tables:
    """``merged``: L4 class per atom."""
    protocols = np.array([merged[space.unreadable] for space in atoms.spaces], dtype=np.uint16)
    spaces = [atoms.spaces[protocol] for protocol in PORT_ORDER]
    icmp = _icmp_table([atoms.spaces[protocol] for protocol in ICMP_ORDER], merged)
    if not any(_needs_second(space, merged) for space in spaces):
        ports = np.stack([_grid(space, merged)[:, 0][_classes(space)] for space in spaces]).astype(np.uint16)
        return L4Tables(ports, None, None, icmp, protocols)
    return _paired(spaces, merged, icmp, protocols)


def _paired(spaces: list[ProtocolSpace], merged: NDArray[np.int64], icmp: Shorts, protocols: Shorts) -> L4Tables:
    """Destination and source classes per protocol, each as coarse as the grid allows, and the table of their pairs."""
    ports, sources, grids = [], [], []
    for space in spaces:
        grid = _grid(space, merged)
        rows, row_first = equal_rows(grid)
        columns, column_first = equal_rows(np.ascontiguousarray(grid.T))
        ports.append(rows[_classes(space)])
        sources.append(columns[_second_classes(space)])
        grids.append(grid[np.ix_(row_first, column_first)])
    stride = max(grid.shape[1] for grid in grids)
    pairs = np.concatenate([np.pad(grid, ((0, 0), (0, stride - grid.shape[1])), mode="edge") for grid in grids])
    offsets = np.cumsum([0, *(grid.shape[0] for grid in grids)])[:3]
    shifted = np.stack([part + offset for part, offset in zip(ports, offsets, strict=True)])
    return L4Tables(
        shifted.astype(np.uint16), np.stack(sources).astype(np.uint16), pairs.astype(np.uint16), icmp, protocols
    )


def _grid(space: ProtocolSpace, merged: NDArray[np.int64]) -> NDArray[np.int64]:
    """Merged classes of the protocol's readable packets: shape (first classes, second classes)."""
    assert space.first is not None
    assert space.second is not None
    return merged[space.offset : space.unreadable].reshape(space.first.count, space.second.count)


def _classes(space: ProtocolSpace) -> NDArray[np.int64]:
    assert space.first is not None
    return space.first.class_of


def _second_classes(space: ProtocolSpace) -> NDArray[np.int64]:
    assert space.second is not None
    return space.second.class_of


def _needs_second(space: ProtocolSpace, merged: NDArray[np.int64]) -> bool:
    grid = _grid(space, merged)
    return bool((grid != grid[:, :1]).any())


def depends_on_source(atoms: L4Atoms, classes: NDArray[np.int64]) -> bool:
    """Whether packets of one destination port are of several classes. ``classes``: one per atom."""
    return any(_needs_second(atoms.spaces[protocol], classes) for protocol in PORT_ORDER)


def _icmp_table(spaces: list[ProtocolSpace], merged: NDArray[np.int64]) -> Shorts:
    if not any(_needs_second(space, merged) for space in spaces):
        return np.stack([_grid(space, merged)[:, 0][_classes(space)] for space in spaces]).astype(np.uint16)
    full = [_grid(space, merged)[np.ix_(_classes(space), _second_classes(space))].reshape(-1) for space in spaces]
    return np.stack(full).astype(np.uint16)
