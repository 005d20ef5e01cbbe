"""Packets by outcome, as the kernel's per-CPU maps have them: those of endpoints in each slot, those of nobody shared.

In: maps. Out: numbers by reason (see `REASONS`), summed over the CPUs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bpfence.emit.program import ENDPOINT_COUNTERS
from bpfence.errors import KernelError
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
    return _by_reason(_sums(raw_counts(counters)))


def raw_counts(counters: Map) -> bytes:
    """Everything in a slot's map, to be put back by `write_counts`."""
    try:
        return b"".join(values for _, values in counters.batches())
    except KernelError:  # before 5.13 one by one
        return b"".join(counters.lookup(key) or b"" for key in _keys(counters))


def write_counts(counters: Map, raw: bytes) -> None:
    """Put back what `raw_counts` gave."""
    keys, size = _keys(counters), counters.stored_size
    try:
        counters.update_many(b"".join(keys), raw)
    except KernelError:  # before 5.13 one by one
        for place, key in enumerate(keys):
            counters.update(key, raw[place * size : (place + 1) * size])


def clear_counts(counters: Map) -> None:
    """Begin at zero."""
    write_counts(counters, bytes(counters.stored_size * counters.info.entries))


def sum_counts(*parts: Mapping[str, int]) -> Counts:
    """Added up by reason, in the order of `REASONS`."""
    return {reason: sum(part.get(reason, 0) for part in parts) for reason in REASONS}


def _keys(counters: Map) -> list[bytes]:
    return [place.to_bytes(4, "little") for place in range(counters.info.entries)]


def _sums(raw: bytes | None) -> NDArray[np.uint64]:
    """Values of one place or more, all CPUs added up."""
    counts = np.frombuffer(raw or b"", np.uint64).reshape(-1, COUNTED_REASONS)
    sums: NDArray[np.uint64] = counts.sum(axis=0, dtype=np.uint64)
    return sums


def _by_reason(sums: NDArray[np.uint64]) -> Counts:
    return dict(zip(REASONS, sums.tolist(), strict=False))
