"""Bench ``path``: what a whole program costs, from the frame to the verdict, by what the packet is.

In: the fixture of ``verdict`` with 10,000 rules, and a host endpoint with 1,000, staged in places of their own. Out:
nanoseconds of one run, and beside it those of an empty program of the same type on the same frame; nothing is
subtracted.

- ``established``: packets of an open TCP connection, through the slot's program alone.
- ``established-dispatcher``: the same, with the dispatcher before it, as a packet meets them on an interface.
- ``established-many``: each run's packet is one of 16,384 open TCP connections, chosen at random: neither notes about
  hot flows nor caches help. A step ahead of the program chooses; ``none`` has this step too.
- ``new``: each run's packet is the first of a flow of its own, from one of 65,536 addresses: tables are asked and the
  flow is remembered, in a table that is full. A step ahead of the program writes address and port; ``none`` has this
  step too.
- ``notrack``, ``xdp-drop``: what a host endpoint lets pass untracked, and what it drops before the stack.

Method: BPF_PROG_TEST_RUN, 2**20 runs a sample on one CPU, samples interleaved in shuffled order. While timing, the
kernel's own counters have to show that every packet was allowed (dropped, with ``xdp-drop``).
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from bpfence.bench.fixture import APPS, Fixture, make_fixture, options
from bpfence.bench.lane import load_generator
from bpfence.bench.machine import pinned, undisturbed
from bpfence.bench.path_case import Case
from bpfence.bench.path_hosts import EmptyPrograms, host_cases
from bpfence.bench.path_workload import load_steps, workload_cases
from bpfence.bench.place import Place, bench_place
from bpfence.bench.results import Effort, Note, Parameter, Result, Say
from bpfence.bench.staged import stage_node
from bpfence.emit.artefact import Artefact
from bpfence.pipeline import compile_artefact

RULES, QUICK_RULES, QUICK_APPS = 10_000, 100, 32
HOST_RULES, QUICK_HOST_RULES = 1_000, 10
FAMILIES = (4, 6)
RUNS, QUICK_RUNS = 1 << 20, 1 << 14
WARM_RUNS = 1 << 19
"""new flows before the first sample: twice what the connection table holds"""
SECONDS = 0.3


def run(effort: Effort, say: Say) -> Iterator[Result | Note]:
    """Measure. KernelError when a packet gets another verdict than it should: then no figure is given."""
    with bench_place() as place, ExitStack() as stack:
        cases, notes = _prepare(place, effort, say, stack)
        with pinned():
            _measure(cases, effort, say)
    say("")
    for case in cases:
        params: dict[str, Parameter] = {"flow": case.flow, "family": case.family}
        yield Result("path", case.subject, params, "program", "ns", tuple(case.samples))
    yield from map(Note, notes)


def _prepare(place: Place, effort: Effort, say: Say, stack: ExitStack) -> tuple[list[Case], list[str]]:
    say("path: compiling the policies")
    fixture = make_fixture(*((QUICK_RULES, QUICK_APPS) if effort.quick else (RULES, APPS)))
    artefact = _artefact(fixture)
    node = stage_node(place.folder / "node", artefact, artefact.manifest.endpoints[0].id, stack)
    steps = load_steps(place)
    cases = [case for family in FAMILIES for case in workload_cases(node, steps, family)]
    empty = EmptyPrograms(steps.none, load_generator(place).drop_xdp)
    notes: dict[str, None] = {}
    for family in FAMILIES:
        more, missing = host_cases(place, QUICK_HOST_RULES if effort.quick else HOST_RULES, family, empty, stack)
        cases += more
        notes |= dict.fromkeys(missing)
    return cases, list(notes)


def _artefact(fixture: Fixture) -> Artefact:
    with tempfile.TemporaryDirectory(prefix="bpfence-bench-") as folder:
        loaded = fixture.load(Path(folder))
    return compile_artefact(loaded, options())


def _measure(cases: Sequence[Case], effort: Effort, say: Say) -> None:
    choose = random.Random(1)
    runs = QUICK_RUNS if effort.quick else RUNS
    for case in cases:
        if case.flow == "new":
            case.run(runs if effort.quick else WARM_RUNS)
    for number in range(effort.samples):
        for case in choose.sample(cases, len(cases)):
            say(f"path: sample {number + 1} of {effort.samples}, {case.subject} {case.flow} IPv{case.family}")
            with undisturbed(SECONDS):
                case.samples.append(case.run(runs))
