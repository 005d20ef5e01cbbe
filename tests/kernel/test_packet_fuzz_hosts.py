"""Frames of every kind through the programs at the node's own interfaces: the kernel answers as the simulator.

``BPFENCE_FUZZ_PACKETS`` in the environment says how many; unset, a number that takes some seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from bpfence.bench.xdp import xdp_answer
from bpfence.emit.artefact import Artefact, HostEntry
from bpfence.emit.program import emit_dispatcher_program
from bpfence.loader.bpffs import Pins
from bpfence.loader.counts import endpoint_counts
from bpfence.loader.kernel import TestRunner, read_per_cpu, write_array
from bpfence.loader.node import Node, Slot
from bpfence.loader.runtime import create_runtime
from bpfence.loader.stage import stage
from bpfence.loader.trial import loopback_interfaces
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact
from bpfence.plan.layout import HOST_INTERFACE, REASONS
from bpfence.simulate.frame import Direction, FragmentMemory, Outcome
from bpfence.simulate.host_frame import HostFrameSimulator
from bpfence.simulate.simulator import Simulator
from kernel.plane import DROP, PASS
from kernel.test_packet_fuzz import BATCH, MESSAGES, PACKETS, PEERS, PORTS, PROTOCOLS
from support.packet_fuzz import Ground, Surroundings, Tally, Target, batches, fuzz

pytestmark = pytest.mark.kernel

FEW = 20_000
"""of each artefact"""
LEAST_SHARES = {"allowed": 0.15, "denied": 0.15, "malformed": 0.1, "fragment": 0.01, "untracked": 0.03, "not-ip": 0.01}
"""what the frames must be like for the comparison to mean something"""
HERE = Path(__file__).parent
INPUTS = {
    "endpoints": ("packet_fuzz_hosts.yaml",),
    "endpoints and nodes": ("packet_fuzz_hosts.yaml", "packet_fuzz_nodes.yaml"),
}
OWN = ("10.0.0.1", "fd00::1", "192.0.2.7", "10.1.0.10", "fd00:1::10", "224.0.0.5", "ff02::5", "255.255.255.255")
"""the node's addresses, those of a pod, and those of everybody"""
XDP_DROP, XDP_PASS = 1, 2
XDP_LARGEST = 3_400
"""a page without what the kernel keeps before and behind a frame"""


@pytest.fixture
def staged(bpffs: Path) -> Iterator[tuple[Node, ExitStack]]:
    """A node with nothing in force, and what closes its slots."""
    with ExitStack() as stack, ExitStack() as undo:
        folder = bpffs / "fuzzed-hosts"
        folder.mkdir(mode=0o700)
        stack.callback(folder.rmdir)
        yield create_runtime(Pins(folder), emit_dispatcher_program(), undo, stack), stack


class HostScene:
    """One interface of a node, with one host endpoint or none, and the programs of the slot."""

    def __init__(self, node: Node, slot: Slot, artefact: Artefact) -> None:
        self._slot = slot
        self._shared = node.maps["counters"]
        self._manifest = artefact.manifest
        self._frames = HostFrameSimulator(Simulator(artefact))
        self._place = 0

    def counted(self, reason: int) -> int:
        """Packets that the programs have counted for a reason, at this endpoint's place and at nobody's."""
        here = endpoint_counts(self._slot.counters, self._place)[REASONS[reason]]
        return here + read_per_cpu(self._shared, reason)

    def targets(self, host: HostEntry | None) -> list[Target]:
        """Put the host endpoint at the interface; its programs, which have seen no fragment yet."""
        index = -1 if host is None else self._manifest.hosts.index(host)
        room = self._manifest.geometry["interfaces"]
        write_array(self._slot.tables["interfaces"], loopback_interfaces(room, HOST_INTERFACE | index + 1))
        self._place = self._manifest.geometry["endpoints"] + max(index, 0)
        memory = FragmentMemory()
        ways: tuple[tuple[Direction, int], ...] = (("ingress", 1), ("egress", 0), ("egress", 1))
        tracked = [self._target(host, direction, received, memory) for direction, received in ways]
        early = self._slot.programs["host_xdp"]
        return [*tracked, self._early(host, partial(xdp_answer, early))]

    def _target(self, host: HostEntry | None, direction: Direction, received: int, memory: FragmentMemory) -> Target:
        run = TestRunner(self._slot.programs[f"host_{direction}"].fd, received=received).run
        judge = partial(self._frames.judge, direction=direction, host=host, received=bool(received), memory=memory)
        name = f"{host.name if host else 'nobody'} {direction} {'received' if received else 'sent'}"
        return Target(name, run, judge, direction == "egress", PASS, DROP)

    def _early(self, host: HostEntry | None, run: partial[int]) -> Target:
        def judge(frame: bytes) -> Outcome:
            return self._frames.judge_early(frame, host)

        name = f"{host.name if host else 'nobody'} xdp"
        return Target(name, run, judge, False, XDP_PASS, XDP_DROP, decides=False, largest=XDP_LARGEST)


def send_frames(node: Node, stack: ExitStack, artefact: Artefact, frames: int) -> Tally:
    with ExitStack() as undo:
        own = {"interfaces": bytes(len(artefact.tables["interfaces"]))}
        slot = stage(node, 0, artefact, own, undo, stack).slot
        undo.pop_all()
    slot.set_generation(1)
    scene, tally = HostScene(node, slot, artefact), Tally()
    hosts = (*artefact.manifest.hosts[:1] * 3, *artefact.manifest.hosts[1:] * 2, None)
    around = Surroundings(OWN, PEERS, PORTS, MESSAGES, PROTOCOLS)
    for number, size in enumerate(batches(frames, BATCH)):
        host = hosts[number % len(hosts)]
        targets = scene.targets(None if host is None or host.name.startswith("node/") else host)
        ground = Ground(scene.counted, node.maps["connections"], node.maps["fragments"])
        fuzz(targets, ground, around, f"host frames {number}", size, tally)
        ground.clear()
    print(f"{tally.frames} frames: {dict(tally.reasons().most_common())}")
    return tally


@pytest.mark.parametrize("name", INPUTS)
def test_the_kernel_answers_every_frame_at_a_host_as_the_simulator(staged: tuple[Node, ExitStack], name: str) -> None:
    loaded = load_input([str(HERE / file) for file in INPUTS[name]], Options())
    artefact = compile_artefact(loaded, Options(node="n1"))
    assert (
        artefact.manifest.features["own_untracked"]
        == artefact.manifest.features["early_sources"]
        == (name == "endpoints and nodes")
    )
    tally = send_frames(*staged, artefact, int(os.environ.get(PACKETS, FEW)))
    reasons = tally.reasons()
    few = {name: reasons[name] for name, share in LEAST_SHARES.items() if reasons[name] < share * tally.frames}
    assert not few, reasons
    early = sum(
        count for (target, reason), count in tally.counts.items() if target.endswith("xdp") and reason == "denied"
    )
    assert early > 0.01 * tally.frames
