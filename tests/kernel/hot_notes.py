"""The notes about hot flows that a program keeps per CPU: its map, found by asking the kernel."""

from __future__ import annotations

import numpy as np

from bpfence.loader.kernel import Map, Program
from bpfence.loader.programs import program_info
from bpfence.loader.syscalls import BpfCall, ProgramById
from bpfence.plan.layout import HOT_FLOW

MAP_GET_FD_BY_ID = 14


def open_notes(program: Program) -> Map:
    for number in program_info(program.fd).map_ids:
        found = Map(BpfCall()(MAP_GET_FD_BY_ID, ProgramById(number)))
        if found.name == "hot_flows":
            return found
        found.close()
    raise AssertionError(f"{program.name} keeps no notes")


def clear_notes(notes: Map) -> None:
    notes.update(bytes(4), bytes(notes.stored_size))


def read_notes(notes: Map) -> np.ndarray:
    """Of every CPU."""
    return np.frombuffer(notes.lookup(bytes(4)) or b"", HOT_FLOW.dtype)


def noted(notes: Map, key: np.void) -> tuple[int, int]:
    """Packets and bytes of a flow that its entry does not count yet."""
    flows = read_notes(notes)
    own = flows[flows["key"] == key]
    return int(own["packets"].sum()), int(own["bytes"].sum())
