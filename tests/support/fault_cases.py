"""Commands under faults, one fault after the other: what must hold after each, and whatever does not, in words."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bpfence.errors import BpfenceError
from bpfence.loader.history import read_history
from bpfence.loader.status import read_status
from support.fault_world import FaultWorld, essence, untidy
from support.faults import Fault, How, Outcome, Step, run

_CLEAN = (("old", "old", "new", "old"), ("old", "other", "old"), ("other", "other"), ("old", "moved", "old"), ("new",))
_VERBOSE = bool(os.environ.get("BPFENCE_FAULTS"))
_WITH_TRAFFIC = 25
_PATIENCE = 15.0
"""seconds within which the kernel has let go of what nobody holds"""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command. ``start``, ``end``: what is in force before and after it. ``prepare`` brings the node to where it
    starts, and does nothing when it is there. ``settle`` comes before the next command, where it would be refused.
    ``share``: at every how manieth step.
    """

    name: str
    start: str
    end: str
    prepare: Callable[[FaultWorld], None]
    work: Callable[[FaultWorld], object]
    settle: Callable[[FaultWorld], object] | None = None
    share: int = 1


@dataclass(slots=True)
class Bench:
    """Runs scenarios in a world. ``clean``: nodes as commands that met no fault leave them, by what is in force."""

    world: FaultWorld
    pristine: dict[str, Any] = field(default_factory=dict)
    clean: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    before: dict[str, Any] | None = None
    """the node as the last run has left it, when nothing has to be done about it"""
    known: set[tuple[How, str, str]] = field(default_factory=set)
    runs: int = 0

    def measure(self) -> None:
        """What clean nodes look like."""
        world = self.world
        self.pristine = world.snapshot()
        for sequence in _CLEAN:
            for name in sequence:
                world.apply(name)
                self.wait_until_held()
                self.clean.setdefault(name, []).append(essence(world.snapshot()))
            world.unload()
        self.wait_until_held()

    def steps(self, scenario: Scenario) -> tuple[Step, ...]:
        """Those of a run that meets no fault. Before it another: what that compiles is not compiled again, unless the
        command begins with an empty folder.
        """
        for _ in range(2):
            scenario.prepare(self.world)
            outcome = run(lambda: scenario.work(self.world), [])
            assert outcome.done, outcome.trace
            assert not outcome.open_files, outcome.open_files
            assert self.world.policy() == scenario.end
            left = self.recover(scenario, 1)
            assert not left, left
        return outcome.steps

    def undoing(self, scenario: Scenario, steps: Sequence[Step]) -> list[list[Fault]]:
        """The commit fails, and a kill comes at a step that undoing takes: one pair for each such step."""
        commit = [step for step in steps if step.call == "mmap.__new__" and step.site.startswith("loader/node.py")][-1]
        scenario.prepare(self.world)
        outcome = run(lambda: scenario.work(self.world), [Fault(commit, "error")])
        assert outcome.refused, outcome
        place = next(n for n, one in enumerate(outcome.steps) if (one.place, one.nth) == (commit.place, commit.nth))
        undone = first_and_last(outcome.steps[place + 1 :])
        return [[Fault(commit, "error"), fault] for fault in faults_at(undone, {"kill": 1})]

    def wrong(self, scenario: Scenario, faults: Iterable[Fault | list[Fault]]) -> list[str]:
        """One line for each expectation that a fault, or several in one run, broke."""
        found = []
        self.before = None
        for number, fault in enumerate(faults):
            try:
                lines = self.meet(scenario, fault if isinstance(fault, list) else [fault], number)
            except (BpfenceError, OSError, AssertionError, KeyError) as error:
                lines = [f"afterwards nothing works: {type(error).__name__}: {error}"]
            if lines:
                self.start_anew()
            what = ", then ".join(map(str, fault)) if isinstance(fault, list) else str(fault)
            for line in lines:
                print(f"{what}\n    {line}", flush=True)
            if _VERBOSE and number % 20 == 0:
                print(f"{scenario.name} {number} {time.strftime('%X')}", flush=True)
            found += [f"{what}\n    {line}" for line in lines]
        return found

    def meet(self, scenario: Scenario, faults: Sequence[Fault], number: int) -> list[str]:
        """Run the command with faults at some of its steps."""
        world = self.world
        self.runs += 1
        if self.before is None:
            scenario.prepare(world)
            if world.policy() != scenario.start:
                return [f"the scenario does not begin: {world.policy()}"]
            self.wait_until_held()
            self.before = world.snapshot()
        before, files = self.before, _open_files()
        self.before = None
        outcome = run(lambda: scenario.work(world), list(faults))
        lines = [] if outcome.reached or all(fault.step.waiting for fault in faults) else ["the step was not reached"]
        lines += [f"left open: {name}" for name in outcome.open_files]
        lines += self._judge(scenario, outcome, faults, before, number)
        if _open_files() != files:
            lines.append("the next command left files open")
        return lines

    def _judge(
        self, scenario: Scenario, outcome: Outcome, faults: Sequence[Fault], before: dict[str, Any], number: int
    ) -> list[str]:
        world = self.world
        if not outcome.signal and not outcome.done:
            return self._judge_refusal(scenario, outcome, faults, before, number)
        policy = world.policy()
        allowed = (scenario.start, scenario.end) if outcome.signal else (scenario.end,)
        lines = [] if policy in allowed else [f"in force: {policy}, not one of {allowed}"]
        if number % _WITH_TRAFFIC == 0 and not world.talks(policy):
            lines.append(f"real packets do not follow {policy}")
        read_status(world.paths)
        read_history(world.paths)
        return lines + self.recover(scenario, number)

    def _judge_refusal(
        self, scenario: Scenario, outcome: Outcome, faults: Sequence[Fault], before: dict[str, Any], number: int
    ) -> list[str]:
        world = self.world
        lines = []
        if not outcome.refused and not outcome.interrupted:
            lines.append(f"not an error of bpfence's own: {outcome.error}")
        changed = self._differences(before)
        policy = world.policy()
        if policy == scenario.start and not changed:
            self.before = {**before, **_counts(world.snapshot())}
            return lines
        if policy not in (scenario.start, scenario.end):
            lines.append(f"in force: {policy}")
        # what undoes can't be undone, and nothing may be removed without the lock: then the next command does it
        may_have_changed = (
            any(fault.step.undoing or _is_locking(fault, outcome) for fault in faults)
            or (outcome.interrupted and policy == scenario.end)
            or scenario.name == "unload"
        )
        if not may_have_changed:
            lines.append(f"refused ({outcome.error}), and yet changed: {changed}, in force: {policy}")
        read_status(world.paths)
        return lines + self.recover(scenario, number)

    def _differences(self, before: dict[str, Any]) -> dict[str, Any]:
        end = time.monotonic() + _PATIENCE
        while True:
            now = self.world.snapshot()
            names = [name for name in before.keys() | now.keys() if before.get(name) != now.get(name)]
            if names != ["kernel"] or time.monotonic() > end:
                return {name: _difference(before.get(name), now.get(name)) for name in names}
            time.sleep(0.02)

    def recover(self, scenario: Scenario, number: int) -> list[str]:
        """The next command, and what is left then: it must be what a clean one leaves. By turns what was in force
        before and what comes after.
        """
        lines: list[str] = []
        to_nothing = "none" in (scenario.start, scenario.end)
        if scenario.settle is not None:
            scenario.settle(self.world)
        for name in self._next(scenario, number):
            self.world.apply(name)
            lines += self._leftovers(name)
        if to_nothing:
            self.world.unload()
            changed = self._differences(self.pristine)
            if changed:
                lines.append(f"after unload there is still {changed}")
        return lines

    def _next(self, scenario: Scenario, number: int) -> tuple[str, ...]:
        ends = [name for name in (scenario.start, scenario.end) if name != "none"]
        if "none" in (scenario.start, scenario.end):
            return tuple(ends) if number % 2 else ()
        return (scenario.end, "old") if scenario.name == "shape" or number % 4 == 0 else ("old",)

    def _leftovers(self, name: str) -> list[str]:
        world = self.world
        lines = []
        if world.policy() != name:
            lines.append(f"after the next apply: {world.policy()}")
        drift = read_status(world.paths).drift
        if drift:
            lines.append(f"after the next apply: drift {drift}")
        snapshot = world.snapshot()
        lines += [f"after the next apply: {line}" for line in untidy(world, snapshot)]
        end = time.monotonic() + _PATIENCE
        while (found := essence({**snapshot, "kernel": world.kernel.found()})) not in self.clean[name]:
            if time.monotonic() > end:
                wanted = min((_difference(one, found) for one in self.clean[name]), key=lambda one: len(str(one)))
                lines.append(f"after the next apply, not as after a clean one: {wanted}")
                break
            time.sleep(0.02)
        return lines

    def wait_until_held(self) -> None:
        """The kernel frees late what earlier commands let go of: wait until all that there is is pinned."""
        end = time.monotonic() + _PATIENCE
        while any((left := self.world.nobodys()).values()):
            assert time.monotonic() < end, f"nobody holds {left}"
            time.sleep(0.01)

    def start_anew(self) -> None:
        """After something that nothing helps against."""
        self.before = None
        with suppress(BpfenceError):
            self.world.clear()


def faults_at(steps: Sequence[Step], hows: Mapping[How, int]) -> list[Fault]:
    """Faults at steps. ``hows``: how -> at every how manieth of those where it can be."""
    return [Fault(step, how) for how, every in hows.items() for step in _fitting(steps, how)[::every]]


def first_and_last(steps: Sequence[Step]) -> list[Step]:
    """Of each place the first; the last too where something changes."""
    last = {step.place: step for step in steps}
    return [step for step in steps if step.nth == 1 or (step.changes and step is last[step.place])]


def without_known(faults: Sequence[Fault], known: set[tuple[How, str, str]], every: int) -> list[Fault]:
    """Those that no scenario before had at that place, and every how manieth of the others. ``known`` grows."""

    def place(fault: Fault) -> tuple[How, str, str]:
        return (fault.how, *fault.step.place)

    fresh = [fault for fault in faults if place(fault) not in known]
    others = [fault for fault in faults if place(fault) in known][::every]
    known |= {place(fault) for fault in fresh}
    return [*fresh, *others]


def _fitting(steps: Sequence[Step], how: How) -> list[Step]:
    return [step for step in steps if _fits(step, how)]


def _fits(step: Step, how: How) -> bool:
    match how:
        case "error":
            return step.failing
        case "torn":
            return step.call in ("write", "store")
        case "kill" | "kill-after":
            return step.changes
        case _:
            return True


def _is_locking(fault: Fault, outcome: Outcome) -> bool:
    """An empty folder with a lock in it may be left."""
    return fault.step.call == "fcntl.flock" or (outcome.interrupted and "loader/lock.py" in fault.step.site)


def _counts(snapshot: dict[str, Any]) -> dict[str, Any]:
    """The questions were packets, and have been counted."""
    return {name: value for name, value in snapshot.items() if name.startswith("counts")}


def _difference(before: object, now: object) -> object:
    """Of two values, what is not in both."""
    if isinstance(before, dict) and isinstance(now, dict):
        return {
            str(key): _difference(before.get(key), now.get(key))
            for key in sorted(before.keys() | now.keys(), key=str)
            if before.get(key) != now.get(key)
        }
    if isinstance(before, list) and isinstance(now, list):
        return {"gone": [x for x in before if x not in now], "new": [x for x in now if x not in before]}
    return f"{before} -> {now}"


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
