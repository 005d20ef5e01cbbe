"""Frames of every kind, valid and broken, through a compiled policy's programs: the kernel answers as the simulator.

``BPFENCE_FUZZ_PACKETS`` in the environment says how many; unset, a number that takes some seconds.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bpfence.emit.artefact import Artefact, EndpointEntry
from bpfence.loader.counts import endpoint_counts, slot_counts
from bpfence.loader.kernel import TestRunner, read_per_cpu, write_array
from bpfence.loader.trial import loopback_interfaces
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact
from bpfence.plan.layout import HEADER, REASONS
from bpfence.plan.plan import Features, Geometry, Plan
from bpfence.simulate.frame import Direction, FragmentMemory, FrameSimulator
from bpfence.simulate.simulator import Simulator
from kernel.plane import DROP, PASS, Plane
from support.packet_fuzz import Ground, Surroundings, Tally, Target, batches, fuzz

pytestmark = pytest.mark.kernel

PACKETS = "BPFENCE_FUZZ_PACKETS"
FEW = 40_000
FEW_WITH_HOSTS = 20_000
ROUND = 12_000
BATCH = 2_000
"""frames of one endpoint and one seed; fragments are remembered so long"""
LEAST_SHARES = {"allowed": 0.15, "denied": 0.15, "malformed": 0.1, "fragment": 0.03, "untracked": 0.03,
                "source-check": 0.03, "not-ip": 0.01, "unknown-endpoint": 0.01}  # fmt: skip
"""what the frames must be like for the comparison to mean something"""
HERE = Path(__file__).parent
INPUT = HERE / "packet_fuzz.yaml"
HOSTS = {"say": ("packet_fuzz_everybody.yaml",), "drop": ("packet_fuzz_everybody.yaml", "packet_fuzz_drop.yaml")}
"""with the input: policies by which hosts have a say in what workloads exchange"""
DIRECTIONS: tuple[Direction, ...] = ("egress", "ingress")
PEERS = (
    "10.1.0.10", "10.1.0.30", "10.20.0.1", "10.20.0.200", "10.20.1.0", "192.0.2.7", "198.51.100.9", "10.0.0.1",
    "fd00:1::10", "fd00:1::30", "2001:db8:1::1", "2001:db8:1::80", "2001:db8:2::9", "fe80::9", "fd00:0::1",
)  # fmt: skip
PORTS = (53, 80, 81, 443, 1000, 8080, 8081, 8090, 40000, 30080, 68, 67, 9999, 0, 65535)
MESSAGES = ((8, 0), (0, 0), (3, 1), (3, 4), (11, 0), (13, 0), (5, 1), (128, 0), (129, 0), (1, 4), (140, 2), (144, 0))
PROTOCOLS = (47, 50, 89, 136)


def compiled(options: Options, *more: str) -> Artefact:
    """Rules with ports, source ports, ICMP types and codes, protocols and prefixes, for endpoints of every kind.
    ``more``: input files beside them.
    """
    return compile_artefact(load_input([str(INPUT), *more], Options()), options)


class Images:
    """An artefact as `Plane.fill` takes it."""

    def __init__(self, artefact: Artefact) -> None:
        manifest = artefact.manifest
        self.plan = Plan(Features(**manifest.features), Geometry(**manifest.geometry))
        self.images = {name: np.frombuffer(data, np.uint8).copy() for name, data in artefact.tables.items()}
        self.images["header"].view(HEADER.dtype)["generation"] = 1


class Scene:
    """One interface, with one endpoint or none behind it, and both programs of the slot. ``own``: whether the node
    itself sends packets, too.
    """

    def __init__(self, plane: Plane, artefact: Artefact, own: bool) -> None:
        self._own = own
        self._slot = plane.fill(Images(artefact))
        self._shared = plane.shared["counters"]
        self._at_place(0)
        self._room = artefact.manifest.geometry["interfaces"]
        self._frames = FrameSimulator(Simulator(artefact))

    def counted(self, reason: int) -> int:
        """Packets that the programs have counted for a reason, whoever's they are."""
        here = endpoint_counts(self._slot.counters, self._place)[REASONS[reason]]
        return here + self._elsewhere[REASONS[reason]] + read_per_cpu(self._shared, reason)

    def targets(self, entry: EndpointEntry | None) -> list[Target]:
        """Put the endpoint behind the interface; the two programs, which have seen no fragment yet."""
        table = loopback_interfaces(self._room, entry.id if entry else 0)
        if entry is None:
            table = bytes(len(table))
        write_array(self._slot.tables["interfaces"], table)
        self._at_place(entry.id if entry else 0)
        memory = FragmentMemory()
        name = entry.name if entry else None
        targets = [self._target(direction, name, True, memory) for direction in DIRECTIONS]
        return [*targets, self._target("ingress", name, False, memory)] if self._own else targets

    def _at_place(self, place: int) -> None:
        counters = self._slot.counters
        here = endpoint_counts(counters, place)
        self._place = place
        self._elsewhere = {reason: count - here[reason] for reason, count in slot_counts(counters).items()}

    def _target(self, direction: Direction, endpoint: str | None, received: bool, memory: FragmentMemory) -> Target:
        run = TestRunner(self._slot.programs[f"workload_{direction}"].fd, received=int(received)).run
        judge = partial(self._frames.judge, direction=direction, endpoint=endpoint, memory=memory, received=received)
        name = f"{endpoint} {direction}{'' if received else ' from the node'}"
        return Target(name, run, judge, direction == "egress", PASS, DROP)


def send_frames(plane: Plane, artefact: Artefact, frames: int, own: bool = False) -> Tally:
    scene, tally = Scene(plane, artefact, own), Tally()
    entries = (*artefact.manifest.endpoints * 3, None)
    ground = Ground(scene.counted, plane.shared["connections"], plane.shared["fragments"])
    for number, size in enumerate(batches(frames, BATCH)):
        entry = entries[number % len(entries)]
        around = Surroundings(entry.addresses if entry else (), PEERS, PORTS, MESSAGES, PROTOCOLS)
        fuzz(scene.targets(entry), ground, around, f"frames {number}", size, tally)
        ground.clear()
    print(f"{tally.frames} frames: {dict(tally.reasons().most_common())}")
    return tally


def test_the_kernel_answers_every_frame_as_the_simulator(plane: Plane) -> None:
    tally = send_frames(plane, compiled(Options(node="n1")), int(os.environ.get(PACKETS, FEW)))
    reasons = tally.reasons()
    few = {name: reasons[name] for name, share in LEAST_SHARES.items() if reasons[name] < share * tally.frames}
    assert not few, reasons


@pytest.mark.parametrize("name", HOSTS)
def test_the_kernel_answers_as_the_simulator_where_hosts_have_a_say(plane: Plane, name: str) -> None:
    artefact = compiled(Options(node="n1"), *(str(HERE / file) for file in HOSTS[name]))
    assert artefact.manifest.features["hosts_at_workloads"]
    tally = send_frames(plane, artefact, int(os.environ.get(PACKETS, FEW_WITH_HOSTS)), own=True)
    reasons = tally.reasons()
    assert min(reasons["allowed"], reasons["denied"]) > 0.1 * tally.frames


def test_flows_that_need_no_state_leave_none(plane: Plane) -> None:
    """The frames of one round, among them fragments, which follow their first one all the same."""
    options = Options(node="n1", automatic_notrack=True)
    plain = send_frames(plane, compiled(Options(node="n1")), ROUND).reasons()
    marked = send_frames(plane, compiled(options), ROUND).reasons()
    assert plain.total() == marked.total()
    assert marked["untracked"] > plain["untracked"]
    passed = ("allowed", "untracked")
    assert {name: count for name, count in plain.items() if name not in passed} == {
        name: count for name, count in marked.items() if name not in passed
    }
