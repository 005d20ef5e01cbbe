"""What serves: the word, the pins, the programs and where the dispatchers jump to, against what was written down when
the generation came into force.

In: the open node and its record. Out: a line for each difference. A pin only says what bpfence would read or write; the
kernel's own numbers say whether that is what packets meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from bpfence.emit.artefact import Manifest
from bpfence.emit.program import ENDPOINT_COUNTERS, HOST_PROGRAMS, SLOT_PROGRAMS, slot_programs
from bpfence.loader.bpffs import RUNTIME, program_place
from bpfence.loader.maps import NAME_LENGTH, Map, map_name, open_pinned, prog_array_get, read_array
from bpfence.loader.node import Active, Node, NodePaths, Slot
from bpfence.loader.programs import Program, program_by_id
from bpfence.loader.runtime import text_hash
from bpfence.loader.state import GenerationRecord
from bpfence.plan.layout import MARK_NUMBERS
from bpfence.plan.plan import Features


def program_tags(node: Node, slot: Slot) -> dict[str, str]:
    """The tags of the programs that serve, to be written down when a generation comes into force."""
    return {name: program.info.tag for name, program in _programs(node, slot).items()}


def kernel_ids(node: Node, slot: Slot) -> dict[str, int]:
    """The kernel's number of everything pinned that serves, to be written down with the tags.

    A program stays what it is, maps included, and the kernel gives out a number once. So the same number is the same
    program on the same maps.
    """
    maps = {name: table.info.id for name, table in _maps(node, slot).items()}
    return maps | {name: program.info.id for name, program in _programs(node, slot).items()}


def _programs(node: Node, slot: Slot) -> dict[str, Program]:
    programs = (*node.dispatchers.values(), node.idle, *slot.programs.values())
    return {program.name: program for program in programs}


def _maps(node: Node, slot: Slot) -> dict[str, Map]:
    return {**node.maps, **slot.tables, ENDPOINT_COUNTERS: slot.counters}


def word_drift(node: Node, record: GenerationRecord | None) -> Iterator[str]:
    """The word says no more, and nothing else, than the commit wrote; marks of the generation before it aside."""
    word = node.word
    active = Active.unpack(word)
    slot = node.slots[active.slot]
    if active.word != word:
        yield f"the word that says what is in force has bits without a meaning: {word:#x}"
    if slot.generation != active.generation:
        yield f"the slot's header says generation {slot.generation}"
    before = (active.number + MARK_NUMBERS - 2) % MARK_NUMBERS + 1
    if active.number == 0 or active.standby not in (0, before):
        yield f"the numbers of the generations in force are {active.number} and {active.standby}, which can't be"
    if record is None:
        return
    if record.slot != active.slot:
        yield f"generation {record.number} was put into slot {record.slot}, and slot {active.slot} is in force"
    if record.mark not in (0, active.number):
        yield f"packets of the generation in force carry the number {active.number}, not {record.mark}"


def pin_drift(node: Node, slot: Slot, record: GenerationRecord | None, manifest: Manifest | None) -> Iterator[str]:
    """Pins that are gone, or are another map or program than the one that serves."""
    ids, tags = (record.ids, record.tags) if record is not None else ({}, {})
    programs, found = _programs(node, slot), kernel_ids(node, slot)
    for name in sorted(({*ids, *tags, *_wanted_programs(manifest)}) - found.keys()):
        yield f"nothing is pinned as {name} any more"
    for name, program in programs.items():
        info = program.info
        if tags.get(name, info.tag) != info.tag:
            yield f"program {name} is not the one that was loaded: its tag is {info.tag}, not {tags[name]}"
        elif ids.get(name, info.id) != info.id:
            yield f"program {name} is not the one that was loaded: its id is {info.id}, not {ids[name]}"
    for name in sorted(_maps(node, slot).keys() & ids.keys()):
        if found[name] != ids[name]:
            yield f"another map is pinned as {name} than the one in force: its id is {found[name]}, not {ids[name]}"
    if not ids:
        yield from _unpinned_maps(node, slot)
    shape = slot.shape if manifest is None else manifest.shape
    if slot.shape != shape or (record is not None and record.shape != slot.shape):
        yield f"the slot's pin for the hash of its programs says {slot.shape[:12]}, which they are not"


def _wanted_programs(manifest: Manifest | None) -> Iterable[str]:
    return () if manifest is None else chain.from_iterable(slot_programs(Features(**manifest.features)).values())


def _unpinned_maps(node: Node, slot: Slot) -> Iterator[str]:
    """Without a record: a map that programs use and that is not pinned must not have the name of one that is. The name
    of a map is given when it is made, and cut.
    """
    maps = _maps(node, slot)
    pinned = {table.info.id for table in maps.values()}
    names = {name[:NAME_LENGTH]: name for name in maps}
    used = {number for program in _programs(node, slot).values() for number in program.info.map_ids}
    for number in sorted(used - pinned):
        found = map_name(number)
        if found in names:
            yield f"another map is pinned as {names[found]} than the one that programs use, whose id is {number}"


def jump_drift(node: Node, slot: Slot, record: GenerationRecord | None, manifest: Manifest | None) -> Iterator[str]:
    """The program arrays hold what was loaded, and nothing where nothing was."""
    ids, tags = (record.ids, record.tags) if record is not None else ({}, {})
    needed = {*_wanted_programs(manifest), *tags}
    for name in SLOT_PROGRAMS:
        array, index = program_place(slot.number, name)
        held = prog_array_get(node.maps[array], index)
        if name in ids:
            right = held == ids[name]
        elif name in slot.programs:
            right = held == slot.programs[name].info.id
        elif name in needed:
            right = _has_tag(held, tags.get(name))
        else:
            right = held == (node.idle.info.id if name in HOST_PROGRAMS else 0)
        if not right:
            yield f"program {name} is not where the dispatchers jump to"


def _has_tag(number: int, tag: str | None) -> bool:
    """Of a program without a pin. ``tag`` None: it is not known, and any program may be the one."""
    program = program_by_id(number) if number else None
    if program is None:
        return False
    with program:
        return tag in (None, program.info.tag)


def runtime_drift(paths: NodePaths, node: Node) -> Iterator[str]:
    """The pin that says which dispatchers are loaded names those of the artefact in force, if that is on disk."""
    try:
        text = (paths.folder.generation(node.active.generation) / "programs" / "dispatcher.c").read_text()
    except OSError:
        return
    with open_pinned(paths.pins.shared(RUNTIME)) as pinned:
        if read_array(pinned) != text_hash(text):
            yield f"the pin {RUNTIME} names other dispatchers than those of the artefact in force"


def serving_drift(
    paths: NodePaths, node: Node, record: GenerationRecord | None, manifest: Manifest | None
) -> Iterator[str]:
    """All of these."""
    slot = node.slots[node.active.slot]
    yield from word_drift(node, record)
    yield from pin_drift(node, slot, record, manifest)
    yield from jump_drift(node, slot, record, manifest)
    yield from runtime_drift(paths, node)
