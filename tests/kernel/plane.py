"""A data plane under test: real maps, two slots and the dispatchers; packets go in by test runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bpfence.emit.program import (
    DISPATCHER_PROGRAMS,
    ENDPOINT_COUNTERS,
    SHARED_BY_DISPATCHERS,
    WORKLOAD_PROGRAMS,
    emit_dispatcher_program,
    emit_workload_program,
)
from bpfence.loader.counts import create_endpoint_counters, shared_counts, slot_counts, sum_counts
from bpfence.loader.kernel import (
    Map,
    Program,
    TestRunner,
    create_array,
    kernel_hz,
    load_programs,
    pin,
    prog_array_set,
    write_array,
)
from bpfence.loader.node import Active
from bpfence.loader.shared import SHARED_MAPS, create_shared_map
from bpfence.plan.layout import CONNECTION, CONNECTION_KEY, HOOKS_PER_SLOT, REASONS
from bpfence.plan.plan import Plan
from kernel.hot_notes import clear_notes, noted, open_notes
from kernel.images import Tables

PASS, DROP = -1, 2


@dataclass(slots=True)
class SlotUnderTest:
    """One slot: its tables and its two programs."""

    plan: Plan
    tables: dict[str, Map]
    programs: dict[str, Program]
    counters: Map
    notes: Map
    """about hot flows: they know nothing of what a test does to the connection table"""


@dataclass(slots=True)
class Plane:
    """The shared maps, the dispatchers and the slots made so far."""

    root: Path
    shared: dict[str, Map]
    dispatchers: dict[str, Program]
    slots: dict[tuple[Plan, int], SlotUnderTest] = field(default_factory=dict)
    current: SlotUnderTest | None = None

    @classmethod
    def create(cls, root: Path) -> Plane:
        shared = {name: create_shared_map(name) for name in SHARED_MAPS}
        for name, made in shared.items():
            pin(made.fd, root / name)
        pins = {name: root / name for name in SHARED_BY_DISPATCHERS}
        return cls(root, shared, load_programs(emit_dispatcher_program(), DISPATCHER_PROGRAMS, pins))

    def slot(self, plan: Plan, number: int = 0) -> SlotUnderTest:
        """The slot's programs for a plan, compiled once a session."""
        if (plan, number) not in self.slots:
            self.slots[plan, number] = self._make_slot(plan, self.root / f"slot{len(self.slots)}")
        slot = self.slots[plan, number]
        for hook, name in enumerate(WORKLOAD_PROGRAMS):
            prog_array_set(self.shared["programs"], number * HOOKS_PER_SLOT + hook, slot.programs[name].fd)
        return slot

    def _make_slot(self, plan: Plan, folder: Path) -> SlotUnderTest:
        folder.mkdir()
        tables = {table.name: create_array(table.name, table.size) for table in plan.tables()}
        pins = {name: folder / name for name in tables}
        for name, made in tables.items():
            pin(made.fd, pins[name])
        pins |= {name: self.root / name for name in ("connections", "fragments", "counters")}
        counters = create_endpoint_counters(plan.geometry)
        pins[ENDPOINT_COUNTERS] = folder / ENDPOINT_COUNTERS
        pin(counters.fd, pins[ENDPOINT_COUNTERS])
        programs = load_programs(
            emit_workload_program(plan, ["under test"]), WORKLOAD_PROGRAMS, pins, {"HZ": kernel_hz()}
        )
        return SlotUnderTest(plan, tables, programs, counters, open_notes(programs[WORKLOAD_PROGRAMS[0]]))

    def fill(self, tables: Tables, number: int = 0) -> SlotUnderTest:
        """Write the images into a slot and send packets to it from now on."""
        slot = self.slot(tables.plan, number)
        for name, image in tables.images.items():
            write_array(slot.tables[name], image.tobytes())
        clear_notes(slot.notes)
        self.current = slot
        return slot

    def commit(self, generation: int, number: int, mark: int = 1, standby: int = 0) -> None:
        """Publish a slot to the dispatchers; generation 0 takes everything back. ``mark`` and ``standby``: numbers of
        this generation and of the one before it.
        """
        word = Active(generation, number, mark, standby).word
        self.shared["active"].update(bytes(4), word.to_bytes(8, "little"))

    def egress(self, frame: bytes) -> str:
        """The outcome of a frame that the endpoint sends, a name of `REASONS`."""
        return self._outcome("workload_egress", frame)

    def ingress(self, frame: bytes) -> str:
        """The outcome of a frame that the endpoint receives."""
        return self._outcome("workload_ingress", frame)

    def _outcome(self, program: str, frame: bytes, ifindex: int = 0) -> str:
        assert self.current is not None
        before = self.counters()
        answer = TestRunner(self.current.programs[program].fd, ifindex=ifindex).run(frame)
        after = self.counters()
        (outcome,) = [name for name in REASONS if after[name] != before[name]]
        assert answer == (PASS if outcome in ("allowed", "untracked", "unknown-endpoint", "not-ip") else DROP), outcome
        return outcome

    def counters(self) -> dict[str, int]:
        """Packets by outcome, of every endpoint and of none."""
        return sum_counts(shared_counts(self.shared["counters"]), *map(slot_counts, self._slot_counters()))

    def _slot_counters(self) -> Iterator[Map]:
        return (slot.counters for slot in self.slots.values())

    def connections(self) -> list[tuple[np.void, np.void]]:
        """Every tracked flow: key and value, with all packets counted so far."""
        found = []
        for raw_key, raw_value in self.shared["connections"].iterate():
            key = np.frombuffer(raw_key, CONNECTION_KEY.dtype)[0]
            value = np.frombuffer(raw_value, CONNECTION.dtype).copy()[0]
            for slot in self.slots.values():
                packets, size = noted(slot.notes, key)
                value["packets"] += packets
                value["bytes"] += size
            found.append((key, value))
        return found

    def age(self, seconds: float) -> None:
        """Let every flow and first fragment be that much older."""
        jiffies = int(seconds * kernel_hz())
        for name in ("connections", "fragments"):
            for key, value in list(self.shared[name].iterate()):
                seen = int.from_bytes(value[:8], "little") - jiffies
                self.shared[name].update(key, seen.to_bytes(8, "little") + value[8:])
        self._clear_notes()

    def forget(self) -> None:
        """Empty the shared state."""
        for name in ("connections", "fragments"):
            for key, _ in list(self.shared[name].iterate()):
                self.shared[name].delete(key)
        self._clear_notes()
        self.commit(0, 0)

    def _clear_notes(self) -> None:
        for slot in self.slots.values():
            clear_notes(slot.notes)

    def close(self) -> None:
        for slot in self.slots.values():
            for program in slot.programs.values():
                program.close()
            for table in (*slot.tables.values(), slot.counters, slot.notes):
                table.close()
        for dispatcher in self.dispatchers.values():
            dispatcher.close()
        for made in self.shared.values():
            made.close()
