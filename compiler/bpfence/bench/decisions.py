"""The programs that ``verdict`` times over the same keys: our own decision code, the LPM layout, nothing.

In: a `Fixture` and its artefact. Out: `DecisionSet`s, one per family, that answer single keys and time many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpfence.bench.cilium_layout import (
    IDENTITY_ENTRY,
    IDENTITY_KEY,
    POLICY_ENTRY,
    POLICY_KEY,
    identity_entries,
    policy_entries,
)
from bpfence.bench.fixture import Fixture, address
from bpfence.bench.keys import COUNT, KEY_SIZE, Keys
from bpfence.bench.place import Place
from bpfence.emit.artefact import Artefact
from bpfence.emit.c_text import constants, fragment, pinned_map
from bpfence.emit.program import ENDPOINT_TABLES, emit_decision
from bpfence.errors import KernelError
from bpfence.loader.kernel import Map, Program, TestRunner, program_info, write_array
from bpfence.plan.layout import Field, Struct, check_layout
from bpfence.plan.plan import Features, Geometry, Plan

SUBJECTS = ("none", "bpfence", "cilium-layout")
ROUND = 128
"""most decisions in one run of a program"""
FRAME = bytes(64)
_CONTROL = check_layout(Struct("bench_control", (
    Field("allowed", "u64"), Field("position", "u32"), Field("decisions", "u32"), Field("row", "u32"),
    Field("reserved", "u32"), Field("network", "be32", 4, "all words of the addresses but the last"),
)))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Timing:
    """``nanoseconds`` of one decision, drawing its key included; ``allowed`` of ``decisions``."""

    nanoseconds: float
    allowed: int
    decisions: int


@dataclass(frozen=True, slots=True)
class DecisionSet:
    """The three programs for one fixture and family."""

    rules: int
    addresses: int
    family: int
    programs: dict[str, Program]
    control: Map
    keys: Map
    row: int

    def use(self, keys: Keys) -> None:
        """Ask about these from now on."""
        write_array(self.keys, keys.records(self.family))

    def answers(self, subject: str, count: int) -> NDArray[np.bool_]:
        """The verdicts on the first keys in use, one by one."""
        self._reset(1)
        runner = TestRunner(self.programs[subject].fd)
        return np.array([runner.run(FRAME) == 1 for _ in range(count)])

    def time(self, subject: str, decisions: int, per_run: int = ROUND) -> Timing:
        """Ask about so many keys in a row, ``per_run`` in each run of the program."""
        self._reset(per_run)
        runner = TestRunner(self.programs[subject].fd, repeat=decisions // per_run)
        runner.run(FRAME)
        done = decisions // per_run * per_run
        return Timing(runner.last.duration_ns / per_run, self._allowed(), done)

    def time_once(self, runner: TestRunner) -> int:
        """Nanoseconds of a single run, with the position going on from the last."""
        runner.run(FRAME)
        return runner.last.duration_ns

    def begin_single_runs(self, subject: str, per_run: int) -> TestRunner:
        """A runner for `time_once`."""
        self._reset(per_run)
        return TestRunner(self.programs[subject].fd)

    def verified_instructions(self, subject: str) -> int:
        return program_info(self.programs[subject].fd).verified_instructions

    def _reset(self, per_run: int) -> None:
        record = np.zeros(1, dtype=_CONTROL.dtype)
        record["decisions"], record["row"] = per_run, self.row
        record["network"][0, :3] = np.frombuffer(address(0, 6).packed[:12], dtype="<u4")
        write_array(self.control, record.tobytes())

    def _allowed(self) -> int:
        content = self.control.lookup(bytes(4))
        if content is None:
            raise KernelError("the benchmark's control map has lost its element")
        return int(np.frombuffer(content, dtype=_CONTROL.dtype)[0]["allowed"])


@dataclass(frozen=True, slots=True)
class LoadedFixture:
    """A fixture in the kernel. ``entries``: of the LPM policy map; ``table_bytes``: of our tables for decisions."""

    sets: tuple[DecisionSet, ...]
    entries: int
    table_bytes: int


def load_fixture(place: Place, fixture: Fixture, artefact: Artefact, families: tuple[int, ...]) -> LoadedFixture:
    """Put the tables of both layouts and the programs of each family into the kernel."""
    tables = {name: image for name, image in artefact.tables.items() if name not in ENDPOINT_TABLES}
    for name, image in tables.items():
        place.array(name, image)
    place.prefixes("bench_identities", *identity_entries(fixture))
    policy = place.prefixes("bench_policy", *policy_entries(fixture))
    entries = policy.info.entries
    sets = tuple(_load_family(place, artefact, fixture, family, entries) for family in families)
    return LoadedFixture(sets, entries, sum(len(image) for image in tables.values()))


def _load_family(place: Place, artefact: Artefact, fixture: Fixture, family: int, entries: int) -> DecisionSet:
    own = place.below(f"family{family}")
    control = own.array("bench_control", bytes(_CONTROL.size))
    keys = own.array("bench_keys", bytes(COUNT * KEY_SIZE))
    text = _program_text(artefact, family, entries)
    functions = {f"bench_{subject.replace('-', '_')}": subject for subject in SUBJECTS}
    loaded = own.programs(text, tuple(functions), place.pins())
    programs = {subject: loaded[function] for function, subject in functions.items()}
    return DecisionSet(len(fixture.grants), fixture.addresses, family, programs, control, keys, _ingress_row(artefact))


def _ingress_row(artefact: Artefact) -> int:
    (offset,) = {row.offset for row in artefact.manifest.rows if row.direction == "ingress"}
    return offset


def _program_text(artefact: Artefact, family: int, entries: int) -> str:
    manifest = artefact.manifest
    plan = Plan(Features(**manifest.features), Geometry(**manifest.geometry))
    sizes = {"BENCH_WORDS": 1 if family == 4 else 4, "BENCH_KEYS": COUNT, "BENCH_ROUND": ROUND}
    maps = [
        pinned_map("array", "__u32", _CONTROL.size, "bench_control", 1, "position and count"),
        pinned_map("array", "__u32", COUNT * KEY_SIZE, "bench_keys", 1, "keys to ask about"),
    ]
    prefixes = [
        pinned_map("lpm_trie", "struct identity_key", "struct identity_entry", "bench_identities", entries, "identity"),
        pinned_map("lpm_trie", "struct policy_key", "struct policy_entry", "bench_policy", entries, "policy"),
    ]
    structs = [struct.c_text() for struct in (IDENTITY_KEY, IDENTITY_ENTRY, POLICY_KEY, POLICY_ENTRY, _CONTROL)]
    parts = [fragment("bench/cilium_layout.h"), fragment("bench/decisions.h")]
    return "\n".join([emit_decision(plan), constants(sizes), *structs, *maps, *prefixes, *parts])
