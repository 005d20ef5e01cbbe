"""Flows that probe packets of a command left which died in its proof: the connection table in, rid of them out."""

from __future__ import annotations

import numpy as np

from bpfence.loader.maps import Map
from bpfence.loader.node import Node
from bpfence.plan.layout import CONNECTION


def drop_probe_flows(node: Node) -> None:
    """Remove them, if some command died: a slot then still has generation zero, under which proofs run.

    INVARIANT: generations in force have numbers from 1 on, so no flow of a real packet goes. Raises KernelError.
    """
    if all(slot.generation for slot in node.slots.values()):
        return
    connections = node.maps["connections"]
    for key in _keys_of_no_generation(connections):
        connections.delete(key)


def _keys_of_no_generation(connections: Map) -> list[bytes]:
    size = connections.info.key_size
    found = []
    for keys, values in connections.batches():
        generations = np.frombuffer(values, CONNECTION.dtype)["generation"]
        found += [keys[place * size : (place + 1) * size] for place in np.flatnonzero(generations == 0).tolist()]
    return found
