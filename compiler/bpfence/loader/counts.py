"""Packets by outcome, as the kernel's per-CPU maps have them: those of endpoints in each slot, those of nobody shared.

In: maps. Out: numbers by reason (see `REASONS`), summed over the CPUs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bpfence.emit.program import ENDPOINT_COUNTERS
from bpfence.loader.maps import Map, create_map, read_per_cpu
from bpfence.plan.layout import COUNTED_REASONS, ENDPOINT_COUNTS, REASONS
from bpfence.plan.plan import Geometry

Counts = dict[str, int]


def create_endpoint_counters(geometry: Geometry) -> Map:
    """The map of one slot, all zero. Raises what `create_map` raises."""
    return create_map("percpu_array", 4, ENDPOINT_COUNTS.size, geometry.counted, name=ENDPOINT_COUNTERS)


def shared_counts(counters: Map) -> Counts:
    """Packets of no endpoint."""
    return {reason: read_per_cpu(counters, place) for place, reason in enumerate(REASONS)}


def endpoint_counts(counters: Map, place: int) -> Counts:
    """Packets of one endpoint (see `Geometry.counted`); none for a place beyond the map."""
    return _by_reason(_sums(counters.lookup(place.to_bytes(4, "little"))))


def slot_counts(counters: Map) -> Counts:
    """Packets of all endpoints of a slot."""
    return _by_reason(_sums(b"".join(raw_counts(counters))))


def raw_counts(counters: Map) -> tuple[bytes, ...]:
    """Everything in a slot's map, to be put back by `write_counts`."""
    places = range(counters.info.entries)
    return tuple(counters.lookup(place.to_bytes(4, "little")) or b"" for place in places)


def write_counts(counters: Map, raw: tuple[bytes, ...]) -> None:
    """Put back what `raw_counts` gave."""
    for place, value in enumerate(raw):
        counters.update(place.to_bytes(4, "little"), value)


def clear_counts(counters: Map) -> None:
    """Begin at zero."""
    write_counts(counters, (bytes(counters.stored_size),) * counters.info.entries)


def sum_counts(*parts: Mapping[str, int]) -> Counts:
    """Added up by reason, in the order of `REASONS`."""
    return {reason: sum(part.get(reason, 0) for part in parts) for reason in REASONS}


def _sums(raw: bytes | None) -> NDArray[np.uint64]:
    """Values of one place or more, all CPUs added up."""
    counts = np.frombuffer(raw or b"", np.uint64).reshape(-1, COUNTED_REASONS)
    sums: NDArray[np.uint64] = counts.sum(axis=0, dtype=np.uint64)
    return sums


def _by_reason(sums: NDArray[np.uint64]) -> Counts:
    return dict(zip(REASONS, sums.tolist(), strict=False))
