"""An artefact's programs in the kernel without a node: nothing attached, own maps, gone afterwards.

In: an artefact and packets. Out: whether the kernel's programs let each pass. Used to compare the kernel with the
simulator and the reference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from bpfence.emit.artefact import Artefact, EndpointEntry
from bpfence.errors import KernelError
from bpfence.loader.bpffs import DIRECTION_PROGRAM, Pins, ensure_root, remove_tree
from bpfence.loader.frames import first_frame
from bpfence.loader.kernel import require_kernel
from bpfence.loader.maps import write_array
from bpfence.loader.node import Node, Slot
from bpfence.loader.programs import TestRunner
from bpfence.loader.prove import TC_DROP, connection_key
from bpfence.loader.runtime import create_runtime
from bpfence.loader.stage import stage
from bpfence.plan.layout import INTERFACE, INTERFACE_HASH
from bpfence.simulate.simulator import Packet

TRIALS = Path("/sys/fs/bpf")
TRIAL_PREFIX = "bpfence-trial-"
"""followed by the process's number"""
LOOPBACK = 1
"""the interface that a test run's packets come from when none is named"""


class Trial:
    """Staged programs, one endpoint at a time behind the loopback interface. Made by `trial`."""

    def __init__(self, node: Node, stack: ExitStack) -> None:
        self._node = node
        self._stack = stack
        self._connections = node.maps["connections"]
        self._slot: Slot | None = None
        self._endpoints: dict[str, EndpointEntry] = {}
        self._room = 0
        self._content = ""

    def use(self, artefact: Artefact) -> None:
        """Put an artefact's tables, and its programs when their shape is another, into the kernel."""
        if artefact.manifest.content == self._content:
            return
        self._content = ""
        self._endpoints = {entry.name: entry for entry in artefact.manifest.endpoints}
        self._room = artefact.manifest.geometry["interfaces"]
        with ExitStack() as undo:
            slot = stage(self._node, 0, artefact, loopback_interfaces(self._room, 0), undo, self._stack).slot
            undo.pop_all()  # nothing to go back to: the whole trial is removed at its end
        slot.set_generation(1)
        self._slot = slot
        self._node = replace(self._node, slots={0: slot})
        self._content = artefact.manifest.content

    def allowed(self, packets: Sequence[Packet]) -> list[bool]:
        """Whether each packet, as the first of its flow, passes."""
        slot = self._slot
        if slot is None:
            raise KernelError("no artefact is loaded for the trial")
        answers = [False] * len(packets)
        order = sorted(range(len(packets)), key=lambda n: (packets[n].endpoint, packets[n].direction))
        current = ("", "")
        runner: TestRunner | None = None
        for number in order:
            packet = packets[number]
            if runner is None or current != (packet.endpoint, packet.direction):
                current = (packet.endpoint, packet.direction)
                write_array(slot.tables["interfaces"], self.interfaces(packet.endpoint))
                program = slot.programs[DIRECTION_PROGRAM["egress" if packet.direction == "egress" else "ingress"]]
                runner = TestRunner(program.fd)
            answers[number] = self._run(runner, packet)
        return answers

    def interfaces(self, endpoint: str) -> bytes:
        """The interface table with the endpoint behind the loopback interface."""
        return loopback_interfaces(self._room, self._endpoints[endpoint].id)

    def _run(self, runner: TestRunner, packet: Packet) -> bool:
        ends = (packet.own, packet.peer) if packet.direction == "egress" else (packet.peer, packet.own)
        ports = (packet.source_port, packet.destination_port, packet.icmp_type, packet.icmp_code)
        passed = runner.run(first_frame(*ends, packet.protocol, *ports)) != TC_DROP
        if passed:
            self._connections.delete(connection_key(packet, LOOPBACK))
        return passed


def loopback_interfaces(room: int, endpoint: int) -> bytes:
    """The image of the interface table with one entry."""
    table = np.zeros(room, dtype=INTERFACE.dtype)
    place = ((LOOPBACK * INTERFACE_HASH) & 0xFFFFFFFF) >> 16 & (room - 1)
    table[place] = (LOOPBACK, endpoint)
    return table.tobytes()


def remove_stale_trials() -> None:
    """Remove what trials left whose process was killed."""
    if not TRIALS.is_dir():
        return
    for folder in TRIALS.glob(f"{TRIAL_PREFIX}*"):
        owner = folder.name.removeprefix(TRIAL_PREFIX)
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            remove_tree(folder)


@contextmanager
def trial(dispatcher_text: str) -> Iterator[Trial]:
    """A place to try artefacts; everything is removed at the end. KernelError when the kernel refuses."""
    require_kernel()
    remove_stale_trials()
    pins = Pins(TRIALS / f"{TRIAL_PREFIX}{os.getpid()}")
    with ExitStack() as stack, ExitStack() as undo:
        ensure_root(pins, undo)
        yield Trial(create_runtime(pins, dispatcher_text, undo, stack), stack)
