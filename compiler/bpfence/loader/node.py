"""The node as the kernel has it: pinned maps and programs opened, the active word read. What is in force is read
here and nowhere else.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bpfence.emit.program import ENDPOINT_COUNTERS, IDLE_PROGRAM, SLOT_PROGRAMS
from bpfence.errors import KernelError
from bpfence.loader.bpffs import DISPATCHERS, SHAPE, Direction, Pins
from bpfence.loader.maps import Map, open_pinned, open_pinned_fd, read_array, write_array
from bpfence.loader.mounts import lasting_root
from bpfence.loader.namespaces import current_inode
from bpfence.loader.programs import Program
from bpfence.loader.shared import SHARED_MAPS
from bpfence.loader.state import NodeState, StateFolder
from bpfence.plan.layout import ACTIVE_GENERATION, ACTIVE_STANDBY, MARK_NUMBERS, MARK_SHIFT

DEFAULT_BPFFS = Path("/sys/fs/bpf/bpfence")
DEFAULT_STATE = Path("/var/lib/bpfence")
GENERATION_SIZE = 8
"""The generation is the first field of the slot header, 64 bits."""
_NEEDED = (SHAPE, ENDPOINT_COUNTERS, "header", "interfaces")


@dataclass(frozen=True, slots=True)
class NodePaths:
    """Where a node keeps what it has: pins below ``bpffs``, files below ``state``."""

    bpffs: Path = DEFAULT_BPFFS
    state: Path = DEFAULT_STATE

    @classmethod
    def chosen(cls, bpffs: Path | None, state: Path | None) -> NodePaths:
        """The options given, else BPFENCE_BPFFS and BPFENCE_STATE, else the defaults. KernelError when pins would end
        with this process.
        """
        environment = os.environ
        return cls(
            bpffs=lasting_root(Path(bpffs or environment.get("BPFENCE_BPFFS") or DEFAULT_BPFFS).absolute()),
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
    """The one word that says what is in force. Generation 0: nothing is.

    ``number``: 1 to 3, what packets of this generation carry in their mark. ``standby``: the number of the generation
    before it, whose packets are still decided by the other slot; 0 when that slot does not hold it whole any more.
    """

    generation: int
    slot: int
    number: int = 1
    standby: int = 0

    @classmethod
    def unpack(cls, word: int) -> Active:
        if not word:
            return cls(0, 0)
        number, standby = ((word >> shift) & MARK_NUMBERS for shift in (MARK_SHIFT, MARK_SHIFT - ACTIVE_STANDBY))
        return cls(word >> ACTIVE_GENERATION, word & 1, number, standby)

    @property
    def word(self) -> int:
        if not self.generation:
            return 0
        numbers = self.number << MARK_SHIFT | self.standby << MARK_SHIFT - ACTIVE_STANDBY
        return self.generation << ACTIVE_GENERATION | numbers | self.slot

    def successor(self, generation: int, slot: int) -> Active:
        """What comes into force after this. INVARIANT: this one stays whole in its slot, which is the other one."""
        return Active(generation, slot, self.number % MARK_NUMBERS + 1, self.number if self.generation else 0)


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot's pins, opened. ``number``: -1 for the spare. ``shape``: hash of the programs in it."""

    number: int
    folder: Path
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
    spare: Slot | None = None
    """maps and programs that no slot uses (see `bpfence.loader.spare`)"""

    @property
    def word(self) -> int:
        """As the dispatchers read it; 0: they let every packet pass."""
        return int.from_bytes(read_array(self.maps["active"])[:8], "little")

    @property
    def active(self) -> Active:
        return Active.unpack(self.word)

    def set_active(self, active: Active, stored: Callable[[], object] | None = None) -> None:
        """The commit: one aligned store of 8 bytes, which every packet sees whole or not at all. ``stored`` is called
        when it has been made, with nothing in between that could fail.
        """
        self._store(active, stored)

    def withdraw_standby(self) -> int:
        """From now on packets of the generation before the one in force are ``stale``. Returns its number."""
        active = self.active
        if active.standby:
            self._store(replace(active, standby=0))
        return active.standby

    def restore_standby(self, number: int, generation: int) -> None:
        """Take `withdraw_standby` back, while that generation is still in force. The other slot holds again what it
        held then.
        """
        active = self.active
        if active.generation == generation:
            self._store(replace(active, standby=number))

    def _store(self, active: Active, stored: Callable[[], object] | None = None) -> None:
        with mmap.mmap(self.maps["active"].fd, mmap.PAGESIZE) as memory:
            word = ctypes.c_uint64.from_buffer(memory)
            try:
                word.value = active.word
            finally:
                # also when a signal's handler raises just here
                if stored is not None and word.value == active.word:
                    stored()
                del word  # the mapping can't be closed while somebody looks into it

    @property
    def program_ids(self) -> dict[Direction, int]:
        return {direction: program.info.id for direction, program in self.dispatchers.items()}


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
    return Node(pins, maps, dispatchers, idle, slots, open_slot(pins.spare, -1, stack))


def active_word(paths: NodePaths) -> Active:
    """What is in force in the current network namespace. Raises KernelError."""
    pins = paths.pins
    if not pins.exist:
        return Active(0, 0)
    _check_network(paths.folder.read())
    with open_pinned(pins.shared("active")) as word:
        return Active.unpack(int.from_bytes(read_array(word)[:8], "little"))


def check_same_network(node: Node | None, state: NodeState) -> None:
    """Raise KernelError when the pins belong to another network namespace than the current one."""
    if node is not None:
        _check_network(state)


def _check_network(state: NodeState) -> None:
    if state.network not in (0, current_inode()):
        raise KernelError(
            "bpfence is loaded for another network namespace with these --bpffs and --state; enter that one "
            "(nsenter --net=...) or give this one folders of its own; when that namespace is gone, "
            "`bpfence unload --force` removes what is left"
        )


def open_slot(folder: Path, number: int, stack: ExitStack) -> Slot | None:
    """Open a slot's pins; None when the slot was never filled, or lacks what nobody can do without."""
    if not all((folder / name).exists() for name in _NEEDED):
        return None
    tables: dict[str, Map] = {}
    programs: dict[str, Program] = {}
    for path in sorted(folder.iterdir()):
        if path.name in SLOT_PROGRAMS:
            programs[path.name] = stack.enter_context(Program(path.name, open_pinned_fd(path)))
        else:
            tables[path.name] = stack.enter_context(open_pinned(path))
    counters = tables.pop(ENDPOINT_COUNTERS)
    return Slot(number, folder, tables, programs, read_array(tables.pop(SHAPE)).hex(), counters)
