"""The spare: maps and programs of the shape that is in force, loaded and proved ahead for a slot that holds others.

A first generation leaves the other slot empty, and one of a new shape leaves it with the generation before, which
packets and `rollback` may still need. So that the change after that is one of bytes too, its programs are made ready
when the commit is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from bpfence.emit.artefact import Artefact
from bpfence.loader.bpffs import remove_tree
from bpfence.loader.counts import clear_counts
from bpfence.loader.maps import write_array
from bpfence.loader.node import Node, Slot, open_slot
from bpfence.loader.objects import ObjectStore
from bpfence.loader.probes import Probe
from bpfence.loader.prove import Proof, prove
from bpfence.loader.slot_pins import make_slot_pins, same_shape


def spare_fits(node: Node, artefact: Artefact) -> bool:
    """Whether the spare's programs can take the artefact."""
    return node.spare is not None and same_shape(node.spare, artefact)


def take_spare(spare: Slot, folder: Path, images: Mapping[str, bytes], undo: ExitStack) -> None:
    """Fill the spare and move its pins to ``folder``; ``undo`` moves them back. What the tables hold then is nobody's.
    Raises KernelError, OSError.
    """
    clear_counts(spare.counters)
    for name, table in spare.tables.items():
        write_array(table, images[name])
    remove_tree(folder)
    spare.folder.rename(folder)
    undo.callback(folder.rename, spare.folder)


def provide_spare(
    node: Node, standby: Slot | None, artefact: Artefact, images: Mapping[str, bytes], probes: Iterable[Probe],
    store: ObjectStore,
) -> tuple[int, Proof | None]:  # fmt: skip
    """Make a spare for the artefact, which is in force, unless ``standby``, the other slot, can take the next change or
    there is one. Returns how many programs were loaded, and their proof. Raises KernelError; there is none then.
    """
    place, making = node.pins.spare, node.pins.spare_staging
    if standby is not None and same_shape(standby, artefact):
        remove_tree(place)
        return 0, None
    if place.exists() and spare_fits(node, artefact):
        return 0, None
    remove_tree(place)
    try:
        make_slot_pins(making, node.pins, artefact, images, store)
        with ExitStack() as opened:
            made = open_slot(making, -1, opened)
            assert made is not None  # its pins were made above
            proof = prove(made, probes, node.maps["connections"])
            making.rename(place)
            return len(made.programs), proof
    finally:
        remove_tree(making)
