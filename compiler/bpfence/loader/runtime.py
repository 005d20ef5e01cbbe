"""What all generations share: the maps and the two dispatchers. Made at the first apply, gone with `unload`."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack

from bpfence.emit.program import DISPATCHER_PROGRAMS, SHARED_BY_DISPATCHERS
from bpfence.errors import KernelError
from bpfence.loader.bpffs import RUNTIME, Pins, remove_pins
from bpfence.loader.maps import MMAPABLE, Map, create_array, create_map, open_pinned, pin, read_array, write_array
from bpfence.loader.node import Node, open_node
from bpfence.loader.programs import load_programs
from bpfence.plan.layout import CONNECTION, CONNECTION_KEY, FRAGMENT_KEY, HOOKS_PER_SLOT, REASONS

MOST_CONNECTIONS = 1 << 17
"""A flow between two local endpoints has two entries. The table is allocated at once: about 20 MB."""
MOST_FRAGMENTS = 1 << 13


def create_runtime(pins: Pins, dispatcher_text: str, undo: ExitStack, stack: ExitStack) -> Node:
    """Make and pin the shared maps and the dispatchers, with nothing in force; ``undo`` takes them away again."""
    undo.callback(remove_pins, pins)
    for made in _shared_maps():
        with made:
            pin(made.fd, pins.shared(made.name))
    maps = {name: pins.shared(name) for name in SHARED_BY_DISPATCHERS}
    for name, program in load_programs(dispatcher_text, DISPATCHER_PROGRAMS, maps).items():
        with program:
            pin(program.fd, pins.shared(name))
    with create_array(RUNTIME, 32) as made:
        write_array(made, _hash(dispatcher_text))
        pin(made.fd, pins.shared(RUNTIME))
    node = open_node(pins, stack)
    if node is None:
        raise KernelError(f"what was just pinned below {pins.root} is gone again")
    return node


def check_runtime(pins: Pins, dispatcher_text: str) -> None:
    """Raise KernelError when the dispatchers in the kernel are not those that an artefact was made for."""
    with open_pinned(pins.shared(RUNTIME)) as pinned:
        if read_array(pinned) != _hash(dispatcher_text):
            raise KernelError(
                "what is loaded was made by another version of bpfence, and dispatchers are never replaced while they serve; run "
                "`bpfence unload`, then apply again"
            )


def _shared_maps() -> tuple[Map, ...]:
    return (
        create_map("array", 4, 8, 1, MMAPABLE, "active"),
        create_map("prog_array", 4, 4, 2 * HOOKS_PER_SLOT, 0, "programs"),
        create_map("lru_hash", CONNECTION_KEY.size, CONNECTION.size, MOST_CONNECTIONS, 0, "connections"),
        create_map("lru_hash", FRAGMENT_KEY.size, 8, MOST_FRAGMENTS, 0, "fragments"),
        create_map("percpu_array", 4, 8, len(REASONS), 0, "counters"),
    )


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
