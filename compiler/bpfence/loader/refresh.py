"""An artefact in force, for a node that has changed: what need not be done again.

In: the artefact, the node as the kernel has it, the interfaces found now. Out: whether anything has changed at all, and
the packets of a proof that is about what is new.
"""

from __future__ import annotations

from collections.abc import Mapping

from bpfence.emit.artefact import Artefact
from bpfence.loader.host_probes import make_host_probes
from bpfence.loader.interfaces import Discovery, own_addresses, own_tables
from bpfence.loader.maps import read_array
from bpfence.loader.node import Node
from bpfence.loader.probes import Probe, make_probes
from bpfence.loader.spare import spare_fits
from bpfence.loader.stage import choose_slot
from bpfence.loader.state import NodeState

REFRESHED, REFRESH_PROBES = 8, 64
"""Endpoints and packets of the proof when nothing but interfaces has changed."""


def is_in_force(artefact: Artefact, node: Node, state: NodeState, discovery: Discovery) -> bool:
    """Whether the generation in force is this very artefact, for the very interfaces and addresses of the node."""
    active = node.active
    record, slot = state.record(active.generation), node.slots.get(active.slot)
    if record is None or slot is None or record.content != artefact.manifest.content:
        return False
    own = own_tables(artefact.manifest, discovery)
    return all(name in slot.tables and read_array(slot.tables[name]) == image for name, image in own.items())


def fits_standby(artefact: Artefact, node: Node) -> bool:
    """Whether the programs that the slot to fill has, or gets from the spare, are those of the artefact: then another
    proof has seen them, for `refresh` with these very tables apart from the interfaces.
    """
    slot = node.slots.get(choose_slot(node.active))
    return (slot is not None and slot.shape == artefact.manifest.shape) or spare_fits(node, artefact)


def refreshing_probes(artefact: Artefact, discovery: Discovery, known: Mapping[int, int]) -> tuple[Probe, ...]:
    """For the interfaces that are new, and few others. ``known``: interface -> what the table in force says of it."""
    there = own_addresses(artefact.manifest, discovery)
    new = [item for item in discovery.found if known.get(item.index) != item.value]
    old = [item for item in discovery.found if known.get(item.index) == item.value]
    chosen = (*new[:REFRESHED], *old[: max(1, REFRESHED - len(new))])
    return (*make_probes(artefact, chosen, there, REFRESH_PROBES), *make_host_probes(artefact, discovery))
