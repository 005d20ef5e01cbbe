"""The maps that every generation shares: kinds, sizes, and how to make them. Pinned once, they outlive every slot."""

from __future__ import annotations

from dataclasses import dataclass

from bpfence.loader.maps import MMAPABLE, Map, create_map
from bpfence.plan.layout import CONNECTION, CONNECTION_KEY, FRAGMENT_KEY, REASONS

CONNECTIONS = 1 << 18
FRAGMENTS = 1 << 13
PROGRAMS = 16
"""Program array: slot * 8 + hook."""


@dataclass(frozen=True, slots=True)
class SharedMap:
    """One shared map, sizes in bytes."""

    kind: str
    key_size: int
    value_size: int
    entries: int
    flags: int = 0


SHARED_MAPS = {
    "active": SharedMap("array", 4, 8, 1, MMAPABLE),
    "programs": SharedMap("prog_array", 4, 4, PROGRAMS),
    "xdp_programs": SharedMap("prog_array", 4, 4, 2),
    "connections": SharedMap("lru_hash", CONNECTION_KEY.size, CONNECTION.size, CONNECTIONS),
    "fragments": SharedMap("lru_hash", FRAGMENT_KEY.size, 8, FRAGMENTS),
    "counters": SharedMap("percpu_array", 4, 8, len(REASONS)),
}
"""``active``: see `bpfence.loader.node.Active`, 0 = nothing committed. ``counters``: packets by index of `REASONS`."""


def create_shared_map(name: str) -> Map:
    """Make one of `SHARED_MAPS`. Raises what `create_map` raises."""
    shape = SHARED_MAPS[name]
    return create_map(shape.kind, shape.key_size, shape.value_size, shape.entries, shape.flags, name)
