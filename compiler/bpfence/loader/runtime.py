"""What all generations share: the maps and the dispatchers. Made at the first apply, gone with `unload`."""

from __future__ import annotations

import hashlib
import re
from contextlib import ExitStack

from bpfence.emit.program import DISPATCHER_PROGRAMS, HOST_PROGRAMS, IDLE_PROGRAM, SHARED_BY_DISPATCHERS, XDP_DISPATCHER
from bpfence.errors import KernelError
from bpfence.loader.bpffs import RUNTIME, Pins, program_place, remove_pins
from bpfence.loader.maps import (
    create_array,
    open_pinned,
    open_pinned_fd,
    pin,
    prog_array_set,
    read_array,
    write_array,
)
from bpfence.loader.node import Node, open_node
from bpfence.loader.programs import SCHED_CLS, XDP, Program, load_programs, pin_programs
from bpfence.loader.shared import SHARED_MAPS, create_shared_map

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def create_runtime(pins: Pins, dispatcher_text: str, undo: ExitStack, stack: ExitStack) -> Node:
    """Make and pin the shared maps and the dispatchers, with nothing in force; ``undo`` takes them away again."""
    undo.callback(remove_pins, pins)
    for name in SHARED_MAPS:
        with create_shared_map(name) as made:
            pin(made.fd, pins.shared(name))
    maps = {name: pins.shared(name) for name in SHARED_BY_DISPATCHERS}
    for kind, names in ((SCHED_CLS, (*DISPATCHER_PROGRAMS, IDLE_PROGRAM)), (XDP, (XDP_DISPATCHER,))):
        programs = load_programs(dispatcher_text, names, maps, kind=kind)
        pin_programs(programs, {name: pins.shared(name) for name in programs})
    _let_hosts_pass(pins)
    # INVARIANT: last, because it says that the rest is complete (see `Pins.exist`)
    with create_array(RUNTIME, 32) as made:
        write_array(made, text_hash(dispatcher_text))
        pin(made.fd, pins.shared(RUNTIME))
    node = open_node(pins, stack)
    if node is None:
        raise KernelError(f"what was just pinned below {pins.root} is gone again")
    return node


def _let_hosts_pass(pins: Pins) -> None:
    """In each slot, until it gets programs of its own."""
    with Program(IDLE_PROGRAM, open_pinned_fd(pins.shared(IDLE_PROGRAM))) as idle:
        for slot in (0, 1):
            for name in HOST_PROGRAMS:
                array, index = program_place(slot, name)
                with open_pinned(pins.shared(array)) as opened:
                    prog_array_set(opened, index, idle.fd)


def check_runtime(pins: Pins, dispatcher_text: str) -> None:
    """Raise KernelError when the dispatchers in the kernel are not those that an artefact was made for."""
    with open_pinned(pins.shared(RUNTIME)) as pinned:
        if read_array(pinned) != text_hash(dispatcher_text):
            raise KernelError(
                "what is loaded is of another bpfence version; its dispatchers are not replaced while they serve: "
                "run `bpfence unload`, then apply again"
            )


def text_hash(text: str) -> bytes:
    """The name of dispatchers: a hash of the code alone. A comment, the tool's version among them, changes nothing."""
    return hashlib.sha256(_COMMENT.sub("", text).encode()).digest()
