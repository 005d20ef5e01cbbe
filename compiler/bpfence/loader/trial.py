"""An artefact's programs in the kernel without a node: nothing attached, own maps, gone afterwards.

In: an artefact and packets. Out: whether the kernel's programs let each pass. Used to compare the kernel with the
simulator and the reference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import numpy as np

from bpfence.emit.artefact import Artefact, EndpointEntry, HostEntry
from bpfence.errors import KernelError
from bpfence.loader.bpffs import DIRECTION_PROGRAM, Direction, Pins, ensure_root, remove_tree
from bpfence.loader.flow_keys import connection_key
from bpfence.loader.frames import ACK, SYN, SYN_ACK, error_frame, first_frame
from bpfence.loader.kernel import require_kernel
from bpfence.loader.maps import write_array
from bpfence.loader.node import Node, Slot
from bpfence.loader.objects import ObjectStore
from bpfence.loader.programs import TestRunner
from bpfence.loader.prove import TC_DROP
from bpfence.loader.runtime import create_runtime
from bpfence.loader.stage import stage
from bpfence.plan.layout import HOST_INTERFACE, INTERFACE, INTERFACE_HASH
from bpfence.simulate.hosts import Crossing
from bpfence.simulate.simulator import Packet, answer_of

TRIALS = Path("/sys/fs/bpf")
TRIAL_PREFIX = "bpfence-trial-"
"""followed by the process's number"""
LOOPBACK = 1
"""the interface that a test run's packets come from when none is named"""
_ROUTER = {4: ip_address("192.0.2.254"), 6: ip_address("2001:db8::fe")}
"""somebody on the way"""


class Trial:
    """Staged programs, one endpoint at a time behind the loopback interface. Made by `trial`."""

    def __init__(self, node: Node, stack: ExitStack) -> None:
        self._node = node
        self._opened = ExitStack()
        """the descriptors of the slot that is in use"""
        stack.callback(lambda: self._opened.close())
        self._connections = node.maps["connections"]
        self._slot: Slot | None = None
        self._endpoints: dict[str, EndpointEntry] = {}
        self._hosts: tuple[HostEntry, ...] = ()
        self._store = ObjectStore()
        self._room = 0
        self._content = ""
        self._generation = 0

    def use(self, artefact: Artefact) -> None:
        """Put an artefact's tables, and its programs when their shape is another, into the kernel."""
        if artefact.manifest.content == self._content:
            return
        self._content = ""
        self._endpoints = {entry.name: entry for entry in artefact.manifest.endpoints}
        self._hosts = artefact.manifest.hosts
        self._room = artefact.manifest.geometry["interfaces"]
        with ExitStack() as undo, ExitStack() as opened:
            own = {"interfaces": loopback_interfaces(self._room, 0)}
            slot = stage(self._node, 0, artefact, own, undo, opened, self._store).slot
            undo.pop_all()  # nothing to go back to: the whole trial is removed at its end
            if slot is not self._slot:
                self._opened.close()
                self._opened = opened.pop_all()
        self._begin_generation(slot)
        self._slot = slot
        self._node = replace(self._node, slots={0: slot})
        self._content = artefact.manifest.content

    def _begin_generation(self, slot: Slot) -> None:
        """What the programs have noted about flows is not used in another generation."""
        self._generation += 1
        slot.set_generation(self._generation)

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

    def crosses(self, crossings: Sequence[Crossing]) -> list[bool]:
        """Whether the first packet of a flow passes each hook on its way."""
        return [self._cross(item) for item in crossings]

    def _cross(self, item: Crossing) -> bool:
        slot = self._slot
        if slot is None:
            raise KernelError("no artefact is loaded for the trial")
        direction: Direction = "egress" if item.packet.direction == "egress" else "ingress"
        if not item.workload:
            direction = "host-egress" if direction == "egress" else "host-ingress"
            if "host_ingress" not in slot.programs:
                return True
        write_array(slot.tables["interfaces"], loopback_interfaces(self._room, self._value(item)))
        received = 0 if item.party and item.packet.direction == ("egress" if not item.workload else "ingress") else 1
        return self._run(TestRunner(slot.programs[DIRECTION_PROGRAM[direction]].fd, received=received), item.packet)

    def _value(self, item: Crossing) -> int:
        if item.workload:
            return self._endpoints[item.workload].id
        return HOST_INTERFACE | (0 if item.host is None else self._hosts.index(item.host) + 1)

    def interfaces(self, endpoint: str) -> bytes:
        """The interface table with the endpoint behind the loopback interface."""
        return loopback_interfaces(self._room, self._endpoints[endpoint].id)

    def exchanges(self, packets: Sequence[Packet]) -> list[tuple[bool, ...]]:
        """What passes of the exchange that each packet begins: itself, the answer, itself again as data, and errors
        about it from the peer and from a router.
        """
        return [self._exchange(packet) for packet in packets]

    def _exchange(self, packet: Packet) -> tuple[bool, ...]:
        slot = self._slot
        if slot is None:
            raise KernelError("no artefact is loaded for the trial")
        write_array(slot.tables["interfaces"], self.interfaces(packet.endpoint))
        reply = answer_of(packet)
        there = TestRunner(slot.programs[DIRECTION_PROGRAM["egress" if packet.direction == "egress" else "ingress"]].fd)
        back = TestRunner(slot.programs[DIRECTION_PROGRAM["egress" if reply.direction == "egress" else "ingress"]].fd)
        request, towards = _frame(packet), (packet.peer, packet.own)
        router = _ROUTER[packet.own.version]
        if packet.direction == "ingress":
            towards = packet.own, packet.peer
        steps = (
            (there, request),
            (back, _frame(reply, SYN_ACK)),
            (there, _frame(packet, ACK)),
            (back, error_frame(*towards, request)),
            *([(back, error_frame(router, packet.own, request))] if packet.direction == "egress" else []),
        )
        answers = tuple(runner.run(frame) != TC_DROP for runner, frame in steps)
        for opener in (packet, reply):
            self._connections.delete(connection_key(opener, LOOPBACK))
        self._begin_generation(slot)
        return answers

    def _run(self, runner: TestRunner, packet: Packet) -> bool:
        passed = runner.run(_frame(packet)) != TC_DROP
        if passed:
            self._connections.delete(connection_key(packet, LOOPBACK))
        return passed


def _frame(packet: Packet, tcp_flags: int = SYN) -> bytes:
    ends = (packet.own, packet.peer) if packet.direction == "egress" else (packet.peer, packet.own)
    ports = (packet.source_port, packet.destination_port, packet.icmp_type, packet.icmp_code)
    return first_frame(*ends, packet.protocol, *ports, tcp_flags=tcp_flags)


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
