"""Bench ``flood``: how many packets a second one CPU can refuse, by bare hooks, by other filters and by bpfence.

In: subjects, each on a `Lane` of its own. Out: packets per second.

Method: 64-byte UDP frames are made by an XDP program under BPF_PROG_TEST_RUN on live frames, 64 at a time, with random
destinations (65,536 addresses, 16,384 ports) and source ports. They leave through the pod's end of a veth pair and
arrive at the node's end, all on one CPU, so a rate has the making of the packet in it, and its reciprocal is the whole
cost of a packet. What counts is what the node's interface has taken. No rule allows any of it: each packet meets the
denial at the end, the worst case of a linear chain. All lanes stand side by side; their samples are interleaved in
shuffled order. Before timing, every subject has to stop all of a small flood, and let pass what a rule allows.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from bpfence.bench.flood_rules import rules
from bpfence.bench.flood_subjects import QUICK_SIZES, NotHereError, Sizes, Subject, subjects
from bpfence.bench.lane import BATCH, Lane, load_generator, open_lane
from bpfence.bench.machine import pinned, undisturbed
from bpfence.bench.place import Place
from bpfence.bench.results import Effort, Note, Result, Say
from bpfence.bench.traffic import Traffic
from bpfence.demo.sandbox import run_isolated
from bpfence.errors import KernelError
from bpfence.loader.kernel import require_kernel
from bpfence.loader.node import NodePaths

SECONDS, QUICK_SECONDS = 0.2, 0.1
"""of one sample"""
SAMPLES = 9
"""short ones, so that a change of the machine's mood meets all subjects"""
PATIENCE = 45
"""Seconds; after that a busy machine is content with the usual number of samples."""
CHECKED = 1_000
CALIBRATION = 16_384


@dataclass(frozen=True, slots=True)
class Entry:
    """A subject at work. ``frames``: how many make a sample; ``begin_seconds``: what a run costs besides."""

    subject: Subject
    lane: Lane
    traffic: Traffic
    frames: int
    begin_seconds: float
    samples: list[float]


def run(effort: Effort, say: Say) -> Iterator[Result | Note]:
    """Measure in a process of its own, which leaves nothing behind however it ends."""
    require_kernel()
    yield from run_isolated(partial(_flood, effort, say))


def _flood(effort: Effort, say: Say, paths: NodePaths) -> list[Result | Note]:
    chosen, notes = subjects(QUICK_SIZES if effort.quick else Sizes())
    with ExitStack() as stack:
        folder = paths.bpffs.parent / "bench"
        folder.mkdir(mode=0o700)
        programs = load_generator(Place(folder, stack))
        entries = []
        with pinned():
            for number, subject in enumerate(chosen):
                say(f"flood: preparing {subject.title}")
                lane = open_lane(programs, stack)
                try:
                    subject.install(lane, _own_paths(paths, number))
                except NotHereError as reason:
                    notes.append(f"{subject.title} is left out: {reason}")
                    continue
                check(subject, lane)
                entries.append(_calibrated(subject, lane, effort))
            _measure(entries, effort, say)
    say("")
    found = [Result("flood", e.subject.name, e.subject.params, "rate", "packets/s", tuple(e.samples)) for e in entries]
    return [*found, *map(Note, notes)]


def _own_paths(paths: NodePaths, number: int) -> NodePaths:
    """Every lane's node has pins and files of its own."""
    return NodePaths(paths.bpffs.parent / f"lane{number}", paths.state / f"lane{number}")


def check(subject: Subject, lane: Lane) -> None:
    """Raise KernelError unless the filter stops the flood, and nothing that a rule allows."""
    passed = lane.passing(CHECKED, Traffic(inbound=subject.inbound))
    if passed != (0 if subject.filters else CHECKED):
        raise KernelError(f"{subject.title} lets {passed} of {CHECKED} packets pass that no rule allows")
    if subject.rules:
        peer, port = rules(subject.rules)[-1]
        passed = lane.passing(CHECKED, Traffic(peer, port, subject.inbound))
        if passed != CHECKED:
            raise KernelError(f"{subject.title} lets {passed} of {CHECKED} packets pass that its last rule allows")


def _calibrated(subject: Subject, lane: Lane, effort: Effort) -> Entry:
    traffic = Traffic(inbound=subject.inbound)
    with undisturbed(QUICK_SECONDS):
        begin = lane.begin_seconds(traffic)
        rate = lane.rate(CALIBRATION, begin, traffic)
    frames = max(1, round(rate * _seconds(effort) / BATCH)) * BATCH
    return Entry(subject, lane, traffic, frames, begin, [])


def _seconds(effort: Effort) -> float:
    return QUICK_SECONDS if effort.quick else SECONDS


def _measure(entries: Sequence[Entry], effort: Effort, say: Say) -> None:
    choose = random.Random(1)
    most = effort.samples if effort.quick else SAMPLES
    end = time.monotonic() + PATIENCE
    for number in range(most):
        if number >= effort.samples and time.monotonic() > end:
            break
        for entry in choose.sample(entries, len(entries)):
            say(f"flood: sample {number + 1} of {most}, {entry.subject.title}")
            with undisturbed(_seconds(effort)):
                rate = entry.lane.rate(entry.frames, entry.begin_seconds, entry.traffic)
            entry.samples.append(rate)
