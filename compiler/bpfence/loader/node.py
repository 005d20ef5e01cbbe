"""The node as the kernel has it: pinned maps and programs opened, the active word read. What is in force is read
here and nowhere else.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bpfence.emit.program import ENDPOINT_COUNTERS, IDLE_PROGRAM, SLOT_PROGRAMS
from bpfence.loader.bpffs import DISPATCHERS, SHAPE, Direction, Pins
from bpfence.loader.maps import Map, open_pinned, open_pinned_fd, read_array, write_array
from bpfence.loader.programs import Program, program_info
from bpfence.loader.shared import SHARED_MAPS
from bpfence.loader.state import StateFolder

DEFAULT_BPFFS = Path("/sys/fs/bpf/bpfence")
DEFAULT_STATE = Path("/var/lib/bpfence")
GENERATION_SIZE = 8
"""The generation is the first field of the slot header, 64 bits."""


@dataclass(frozen=True, slots=True)
class NodePaths:
    """Where a node keeps what it has: pins below ``bpffs``, files below ``state``."""

    bpffs: Path = DEFAULT_BPFFS
    state: Path = DEFAULT_STATE

    @classmethod
    def chosen(cls, bpffs: Path | None, state: Path | None) -> NodePaths:
        """The options given, else BPFENCE_BPFFS and BPFENCE_STATE, else the defaults."""
        environment = os.environ
        return cls(
            bpffs=Path(bpffs or environment.get("BPFENCE_BPFFS") or DEFAULT_BPFFS).absolute(),
            state=Path(state or environment.get("BPFENCE_STATE") or DEFAULT_STATE).absolute(),
        )

    @property
    def pins(self) -> Pins:
        return Pins(self.bpffs)

    @property
    def folder(self) -> StateFolder:
        return StateFolder(self.state)


@dataclass(frozen=True, slots=True)
class Active:
    """The one word that says what is in force. Generation 0: nothing is."""

    generation: int
    slot: int

    @classmethod
    def unpack(cls, word: int) -> Active:
        return cls(word >> 1, word & 1)

    @property
    def word(self) -> int:
        return self.generation << 1 | self.slot


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot's pins, opened. ``shape``: hash of the programs in it."""

    number: int
    tables: Mapping[str, Map]
    programs: Mapping[str, Program]
    shape: str
    counters: Map
    """packets of its endpoints, see `bpfence.loader.counts`"""

    @property
    def generation(self) -> int:
        """What its header says; 0: nothing usable is in it."""
        return int.from_bytes(read_array(self.tables["header"])[:GENERATION_SIZE], "little")

    def set_generation(self, number: int) -> None:
        """INVARIANT: zero before a table of the slot is touched, the number after the last one is right."""
        write_array(self.tables["header"], number.to_bytes(GENERATION_SIZE, "little"))


@dataclass(frozen=True, slots=True)
class Node:
    """bpfence's state in this node's kernel, opened."""

    pins: Pins
    maps: Mapping[str, Map]
    dispatchers: Mapping[Direction, Program]
    idle: Program
    slots: Mapping[int, Slot]

    @property
    def active(self) -> Active:
        return Active.unpack(int.from_bytes(read_array(self.maps["active"])[:8], "little"))

    def set_active(self, active: Active) -> None:
        """The commit: one aligned store of 8 bytes, which every packet sees whole or not at all."""
        with mmap.mmap(self.maps["active"].fd, mmap.PAGESIZE) as memory:
            word = ctypes.c_uint64.from_buffer(memory)
            word.value = active.word
            del word  # the mapping can't be closed while somebody looks into it

    @property
    def program_ids(self) -> dict[Direction, int]:
        return {direction: program_info(program.fd).id for direction, program in self.dispatchers.items()}


def open_node(pins: Pins, stack: ExitStack) -> Node | None:
    """Open what is pinned; None when bpfence is not loaded here. Descriptors are closed with ``stack``."""
    if not pins.exist:
        return None
    maps = {name: stack.enter_context(open_pinned(pins.shared(name))) for name in SHARED_MAPS}
    dispatchers = {
        direction: stack.enter_context(Program(name, open_pinned_fd(pins.shared(name))))
        for direction, name in DISPATCHERS.items()
    }
    idle = stack.enter_context(Program(IDLE_PROGRAM, open_pinned_fd(pins.shared(IDLE_PROGRAM))))
    slots = {number: slot for number in (0, 1) if (slot := open_slot(pins.slot(number), number, stack))}
    return Node(pins, maps, dispatchers, idle, slots)


def open_slot(folder: Path, number: int, stack: ExitStack) -> Slot | None:
    """Open a slot's pins; None when the slot was never filled."""
    if not all((folder / name).exists() for name in (SHAPE, ENDPOINT_COUNTERS)):
        return None
    tables: dict[str, Map] = {}
    programs: dict[str, Program] = {}
    for path in sorted(folder.iterdir()):
        if path.name in SLOT_PROGRAMS:
            programs[path.name] = stack.enter_context(Program(path.name, open_pinned_fd(path)))
        else:
            tables[path.name] = stack.enter_context(open_pinned(path))
    counters = tables.pop(ENDPOINT_COUNTERS)
    return Slot(number, tables, programs, read_array(tables.pop(SHAPE)).hex(), counters)
