"""A fault at each step of each command: the old or the new generation, whole, and the next command cleans up.

``BPFENCE_FAULTS=all`` meets every fault at every step. Without it: the first step of each place, and the last where
something changes; where a scenario before had a fault at the same place, one of many is met again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence

import pytest

from bpfence.loader.history import rollback
from bpfence.loader.transaction import ApplySettings, apply
from support.fault_cases import Bench, Scenario, faults_at, first_and_last, without_known
from support.fault_world import FaultWorld, fault_world
from support.faults import Fault, How, Step

pytestmark = pytest.mark.kernel

EVERYTHING = os.environ.get("BPFENCE_FAULTS") == "all"
HOWS: dict[How, int] = {"kill": 1, "error": 1, "torn": 1, "interrupt": 15, "terminate": 50}
KNOWN_SHARE = 30
ALL_HOWS: dict[How, int] = {"kill": 1, "error": 1, "torn": 1, "kill-after": 1, "interrupt": 1, "terminate": 10}


def nothing(world: FaultWorld) -> None:
    if world.policy() != "none" or world.paths.state.exists():
        world.unload()


def old_twice(world: FaultWorld) -> None:
    """The old policy in both slots."""
    if world.contents() != ("old", "old"):
        world.apply("old")
        world.apply("old")


def old_alone(world: FaultWorld) -> None:
    """One generation and nothing else."""
    if world.paths.folder.kept() != (1,) or world.contents() != ("old", ""):
        nothing(world)
        world.apply("old")


def old_after(*earlier: str) -> object:
    def prepare(world: FaultWorld) -> None:
        if world.contents() != ("old", earlier[-1]) or not all(map(world.kept, earlier)):
            for name in (*earlier, "old"):
                world.apply(name)

    return prepare


def back_to(name: str) -> object:
    def work(world: FaultWorld) -> None:
        # read as it stands: what a test does is no step of the command
        records = json.loads((world.paths.state / "node.json").read_text())["generations"]
        content = world.artefacts[name].manifest.content
        numbers = [one["number"] for one in records if one["content"] == content]
        rollback(ApplySettings(world.paths), numbers[-1])

    return work


def confirmed_within(world: FaultWorld) -> None:
    apply(world.artefacts["new"], ApplySettings(world.paths, confirm_within=600.0))


def take_back(world: FaultWorld) -> None:
    """If something waits for its confirmation. No timer outlives what it waits for."""
    if world.paths.folder.read().pending is not None and world.policy() == "new":
        rollback(ApplySettings(world.paths))
    end = time.monotonic() + 10.0
    while world.timers():
        assert time.monotonic() < end, "a timer is left"
        time.sleep(0.05)


SCENARIOS = (
    Scenario("data", "old", "new", old_twice, lambda world: world.apply("new")),
    Scenario("shape", "old", "other", old_twice, lambda world: world.apply("other")),
    Scenario("interfaces", "old", "moved", old_twice, lambda world: world.apply("moved")),
    Scenario("dry run", "old", "old", old_twice, lambda world: world.apply("other", dry_run=True)),
    Scenario("rollback", "old", "new", old_after("new"), back_to("new")),  # type: ignore[arg-type]
    Scenario("rollback from disk", "old", "other", old_after("other", "new"), back_to("other")),  # type: ignore[arg-type]
    Scenario("first", "none", "new", nothing, lambda world: world.apply("new")),
    Scenario("first dry run", "none", "none", nothing, lambda world: world.apply("new", dry_run=True)),
    Scenario("confirm", "old", "new", old_twice, confirmed_within, take_back, share=20),
    Scenario("unload", "old", "none", old_alone, lambda world: world.unload()),
)


@pytest.fixture(scope="module")
def bench(kernel: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with fault_world(tmp_path_factory.mktemp("faults")) as world:
        made = Bench(world)
        made.measure()
        yield made


def chosen_faults(bench: Bench, scenario: Scenario, steps: Sequence[Step]) -> list[Fault]:
    if EVERYTHING:
        return faults_at(steps, ALL_HOWS)
    every = faults_at(first_and_last(steps), HOWS)
    return every[:: scenario.share] if scenario.share > 1 else without_known(every, bench.known, KNOWN_SHARE)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name.replace(" ", "-"))
def test_old_or_new_and_nothing_left(bench: Bench, scenario: Scenario) -> None:
    steps = bench.steps(scenario)
    chosen = chosen_faults(bench, scenario, steps)
    assert chosen
    before = bench.runs
    wrong = bench.wrong(scenario, chosen)
    print(f"{scenario.name}: {len(steps)} steps, {bench.runs - before} runs, {len(wrong)} wrong")
    assert not wrong, f"{len(wrong)} of {len(chosen)}:\n" + "\n".join(wrong)


@pytest.mark.parametrize("scenario", SCENARIOS[:3], ids=lambda one: one.name)
def test_killed_while_undoing(bench: Bench, scenario: Scenario) -> None:
    faults = bench.undoing(scenario, bench.steps(scenario))
    assert len(faults) > 3
    wrong = bench.wrong(scenario, faults if EVERYTHING else faults[::3])
    assert not wrong, f"{len(wrong)} of {len(faults)}:\n" + "\n".join(wrong)
