"""Bench ``verdict``: what one decision costs, ours beside two longest-prefix policy lookups, for growing policies.

In: `fixture`s compiled by the pipeline for one endpoint. Out: nanoseconds per decision above an empty program that
draws the same keys; for both layouts what they cost besides: instructions that the verifier walked, load time, bytes,
entries, and the share of packets allowed. And what a policy full of CIDRs weighs, ours alone.

Method: a program asks for 128 keys a run, a sample is 16 passes over 65,536 keys (2**20 decisions) after one unmeasured
pass, under BPF_PROG_TEST_RUN on one CPU. Samples of all fixtures, key sets and subjects are interleaved in shuffled
order; each is taken against the empty program's sample next to it. Before timing, every key's verdict is compared
between the rules and both layouts; while timing, the number of allowed packets. ``cold`` keys are random ones in runs
of 8, with the caches walked over before each run.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from bpfence.bench.decisions import ROUND, SUBJECTS, DecisionSet, LoadedFixture, load_fixture
from bpfence.bench.fixture import APPS, Fixture, make_fixture, options
from bpfence.bench.keys import COUNT, Keys, draw_keys
from bpfence.bench.machine import last_level_cache, pinned
from bpfence.bench.memory import cidr_results
from bpfence.bench.place import Place, bench_place
from bpfence.bench.results import Effort, Parameter, Result, Say
from bpfence.emit.artefact import Artefact
from bpfence.errors import KernelError
from bpfence.pipeline import compile_artefact

RULES = (10, 100, 1_000, 10_000, 100_000)
FAMILIES = (4, 6)
DISTRIBUTIONS = ("hot", "random", "zipf")
PASSES = 16
QUICK_RULES, QUICK_APPS, QUICK_ANSWERS = (10, 100), 32, 4096
COLD_RUNS, COLD_DECISIONS = 24, 8
_COMPARED = tuple(subject for subject in SUBJECTS if subject != "none")


@dataclass(frozen=True, slots=True)
class Case:
    """One parameter set: a fixture's programs with one kind of keys."""

    programs: DecisionSet
    distribution: str
    keys: Keys

    @property
    def order(self) -> tuple[int, int, int]:
        """Places the sizes of one curve one after another."""
        return self.programs.family, (*DISTRIBUTIONS, "cold").index(self.distribution), self.programs.rules

    @property
    def params(self) -> dict[str, Parameter]:
        return {
            "rules": self.programs.rules,
            "keys": self.distribution,
            "family": self.programs.family,
            "addresses": self.programs.addresses,
        }


@dataclass(frozen=True, slots=True)
class Prepared:
    """A fixture in the kernel with what it took to get there."""

    rules: int
    compile_seconds: float
    loaded: LoadedFixture
    cases: tuple[Case, ...]


def run(effort: Effort, say: Say) -> Iterator[Result]:
    """Measure. KernelError when a verdict is wrong: then no figure is given."""
    with bench_place() as place:
        prepared = [_prepare(place, rules, effort, say) for rules in (QUICK_RULES if effort.quick else RULES)]
        with pinned():
            cases = [case for item in prepared for case in item.cases]
            measured = _measure(cases, effort, say)
        facts = [fact for item in prepared for fact in _facts(item)]
    say("")
    yield from _results(sorted(measured, key=lambda item: item[0].order))
    yield from facts
    yield from cidr_results("verdict")


def _prepare(place: Place, rules: int, effort: Effort, say: Say) -> Prepared:
    say(f"verdict: compiling {rules} rules")
    fixture = make_fixture(rules, QUICK_APPS if effort.quick else APPS)
    artefact, seconds = _compile(fixture)
    loaded = load_fixture(place.below(f"rules{rules}"), fixture, artefact, FAMILIES)
    cases = []
    for distribution in DISTRIBUTIONS:
        keys = draw_keys(fixture, distribution)
        for programs in loaded.sets:
            say(f"verdict: comparing verdicts of {rules} rules, {distribution} keys, IPv{programs.family}")
            _check_answers(Case(programs, distribution, keys), QUICK_ANSWERS if effort.quick else COUNT)
            cases.append(Case(programs, distribution, keys))
            if distribution == "random":
                cases.append(Case(programs, "cold", keys))
    return Prepared(rules, seconds, loaded, tuple(cases))


def _compile(fixture: Fixture) -> tuple[Artefact, float]:
    with tempfile.TemporaryDirectory(prefix="bpfence-bench-") as folder:
        loaded = fixture.load(Path(folder))
    begun = time.perf_counter()
    return compile_artefact(loaded, options()), time.perf_counter() - begun


def _check_answers(case: Case, count: int) -> None:
    """The verdict on each of the first ``count`` keys must be the rules' own, in both layouts."""
    case.programs.use(case.keys)
    for subject in _COMPARED:
        wrong = np.flatnonzero(case.programs.answers(subject, count) != case.keys.expected[:count])
        if len(wrong):
            raise KernelError(
                f"{subject} decides {len(wrong)} of {count} {case.distribution} keys wrongly, the first is {wrong[0]}"
            )


Samples = dict[str, list[float]]


def _measure(cases: list[Case], effort: Effort, say: Say) -> list[tuple[Case, Samples]]:
    choose = random.Random(1)
    measured: list[tuple[Case, Samples]] = [(case, {subject: [] for subject in _COMPARED}) for case in cases]
    for number in range(effort.samples):
        for place, (case, samples) in enumerate(choose.sample(measured, len(measured))):
            say(f"verdict: sample {number + 1} of {effort.samples}, case {place + 1} of {len(measured)}")
            case.programs.use(case.keys)
            order = choose.sample(SUBJECTS, len(SUBJECTS))
            times = {subject: _sample(case, subject, effort) for subject in order}
            for subject in _COMPARED:
                samples[subject].append(times[subject] - times["none"])
    return measured


def _sample(case: Case, subject: str, effort: Effort) -> float:
    if case.distribution == "cold":
        return _cold_sample(case, subject, 4 if effort.quick else COLD_RUNS)
    passes = 1 if effort.quick else PASSES
    case.programs.time(subject, COUNT)
    timing = case.programs.time(subject, passes * COUNT)
    if subject != "none" and timing.allowed != passes * int(case.keys.expected.sum()):
        raise KernelError(
            f"{subject} allowed {timing.allowed} of {timing.decisions} {case.distribution} keys while timed"
        )
    return timing.nanoseconds


def _cold_sample(case: Case, subject: str, runs: int) -> float:
    """The median of single runs, each after reading twice the last-level cache."""
    trample = np.ones(last_level_cache() * 2 // 8, dtype=np.int64)
    runner = case.programs.begin_single_runs(subject, COLD_DECISIONS)
    taken = []
    for _ in range(runs):
        trample.sum()
        taken.append(case.programs.time_once(runner) / COLD_DECISIONS)
    return median(taken)


def _results(measured: list[tuple[Case, Samples]]) -> Iterator[Result]:
    for case, samples in measured:
        for subject, taken in samples.items():
            yield Result("verdict", subject, case.params, "decision", "ns", tuple(taken))
    for case, samples in measured:
        for subject in samples:
            yield Result("verdict", subject, case.params, "allowed", "share", (float(case.keys.expected.mean()),))


def _facts(item: Prepared) -> Iterator[Result]:
    """What each layout costs besides time per decision."""
    rules: Mapping[str, Parameter] = {"rules": item.rules}
    yield Result("verdict", "bpfence", rules, "compile", "s", (item.compile_seconds,))
    yield Result("verdict", "bpfence", rules, "table-bytes", "bytes", (float(item.loaded.table_bytes),))
    yield Result("verdict", "cilium-layout", rules, "policy-entries", "count", (float(item.loaded.entries),))
    for programs in item.loaded.sets:
        params = {**rules, "family": programs.family, "decisions": ROUND}
        for subject in _COMPARED:
            walked = float(programs.verified_instructions(subject))
            yield Result("verdict", subject, params, "verified-instructions", "count", (walked,))
            yield Result("verdict", subject, params, "load", "s", (programs.programs[subject].load_seconds,))
