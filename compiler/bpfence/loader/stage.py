"""Filling the inactive slot: an artefact and an interface table in, the slot's maps and programs ready for the
proof out.

INVARIANT: dispatchers have nothing to do with the slot (`bpfence.loader.standby`), and its generation is zero from
before the first byte is touched until `Slot.set_generation` after the proof. Every step puts its reverse on the undo
stack, so a failure leaves the slot's earlier content as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from bpfence.emit.artefact import Artefact
from bpfence.emit.folder import check_hashes
from bpfence.emit.program import (
    HOST_PROGRAMS,
    SLOT_PROGRAMS,
)
from bpfence.errors import KernelError
from bpfence.loader.bpffs import Pins, program_place, remove_tree
from bpfence.loader.counts import clear_counts, raw_counts, write_counts
from bpfence.loader.maps import Map, prog_array_get, prog_array_set, read_array, write_array
from bpfence.loader.node import Active, Node, Slot, open_slot
from bpfence.loader.objects import ObjectStore
from bpfence.loader.programs import Program
from bpfence.loader.slot_pins import make_slot_pins, same_shape
from bpfence.loader.spare import spare_fits, take_spare
from bpfence.plan.plan import Features, Geometry, Plan


@dataclass(frozen=True, slots=True)
class Staged:
    """A slot that holds the new tables. ``shape_reused``: no program was loaded."""

    slot: Slot
    shape_reused: bool
    programs_loaded: int
    table_bytes: int


def check_artefact(artefact: Artefact) -> None:
    """The artefact's hashes hold, and its tables are exactly those of its plan. Raises BpfenceError."""
    check_hashes(artefact)
    manifest = artefact.manifest
    try:
        plan = Plan(Features(**manifest.features), Geometry(**manifest.geometry))
        wanted = {spec.name: spec.size for spec in plan.tables()}
    except TypeError as error:
        raise KernelError(f"the artefact's plan can't be read: {error}; compile it again with this version") from error
    given = {entry.name: entry.size for entry in manifest.tables}
    if wanted != given:
        different = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
        raise KernelError(f"the artefact's tables are not those of its plan ({', '.join(different)}); compile it again")


def choose_slot(active: Active) -> int:
    """The slot that is not in force."""
    return 1 - active.slot if active.generation else 0


def stage(
    node: Node,
    number: int,
    artefact: Artefact,
    own: Mapping[str, bytes],
    undo: ExitStack,
    stack: ExitStack,
    store: ObjectStore | None = None,
) -> Staged:
    """Put the artefact into slot ``number``. ``own``: images of the tables that are facts of this node; ``store``:
    where compiled programs are kept.

    Programs are loaded only when the slot holds others. Raises KernelError; ``undo`` then restores the slot.
    """
    images = {**artefact.tables, **own}
    old = node.slots.get(number)
    if old is not None and same_shape(old, artefact):
        return _refill(node, old, images, undo)
    return _replace(node, number, (artefact, store or ObjectStore()), images, undo, stack)


def _refill(node: Node, slot: Slot, images: dict[str, bytes], undo: ExitStack) -> Staged:
    """Only bytes, and only those of tables that differ."""
    generation = slot.generation
    undo.callback(slot.set_generation, generation)
    slot.set_generation(0)
    undo.callback(write_counts, slot.counters, raw_counts(slot.counters))
    clear_counts(slot.counters)
    written = 0
    for name, table in slot.tables.items():
        before = read_array(table)
        if before == images[name]:
            continue
        undo.callback(write_array, table, before if name != "header" else bytes(8) + before[8:])
        write_array(table, images[name])
        written += len(before)
    # a command that died while it replaced the slot may have left the array with other programs than the pins
    _set_programs(node, slot, undo)
    return Staged(slot, True, 0, written)


def _replace(
    node: Node,
    number: int,
    made: tuple[Artefact, ObjectStore],
    images: dict[str, bytes],
    undo: ExitStack,
    stack: ExitStack,
) -> Staged:
    """The spare or new maps and programs, beside the slot's old pins; these step aside until the commit."""
    pins = node.pins
    artefact, store = made
    folder, place, aside = pins.staging(number), pins.slot(number), pins.retired(number)
    spare = node.spare if spare_fits(node, artefact) else None
    if spare is not None:
        take_spare(spare, folder, images, undo)
    else:
        undo.callback(remove_tree, folder)
        make_slot_pins(folder, pins, artefact, images, store)
    remove_tree(aside)
    if place.exists():
        place.rename(aside)
        undo.callback(aside.rename, place)
    folder.rename(place)
    undo.callback(place.rename, folder)
    slot = open_slot(place, number, stack)
    assert slot is not None  # its pins were made above
    _set_programs(node, slot, undo)
    loaded = 0 if spare is not None else len(slot.programs)
    return Staged(slot, spare is not None, loaded, sum(len(image) for image in images.values()))


def _set_programs(node: Node, slot: Slot, undo: ExitStack) -> None:
    """Point the program array's places of this slot at its programs, where they point elsewhere; the undo points
    them back at the old ones.
    """
    old = node.slots.get(slot.number)
    before = {} if old is None else old.programs
    idle = dict.fromkeys(HOST_PROGRAMS, node.idle)
    for name in SLOT_PROGRAMS:
        array, index = program_place(slot.number, name)
        wanted = slot.programs.get(name, idle.get(name))
        if prog_array_get(node.maps[array], index) == (wanted.info.id if wanted else 0):
            continue
        _put_program(node.maps[array], index, wanted)
        undo.callback(_put_program, node.maps[array], index, before.get(name, idle.get(name)))


def _put_program(programs: Map, index: int, program: Program | None) -> None:
    if program is None:
        programs.delete(index.to_bytes(4, "little"))
    else:
        prog_array_set(programs, index, program.fd)


def drop_leftovers(pins: Pins) -> None:
    """Pins that an interrupted transaction left beside the slots."""
    for folder in pins.slots:
        if folder not in (pins.slot(0), pins.slot(1), pins.spare):
            remove_tree(folder)
