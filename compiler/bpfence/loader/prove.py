"""The proof before a commit: probe packets run through the staged programs, each verdict compared with the
simulator's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from bpfence.errors import KernelError
from bpfence.loader.bpffs import DIRECTION_PROGRAM
from bpfence.loader.counts import clear_counts
from bpfence.loader.flow_keys import FlowEntries
from bpfence.loader.host_interfaces import HostInterface
from bpfence.loader.maps import Map
from bpfence.loader.node import Slot
from bpfence.loader.probes import Probe
from bpfence.loader.programs import TestRunner

TC_DROP = 2


@dataclass(frozen=True, slots=True)
class Proof:
    """How many packets were sent, by reason. ``of_nobody``: those among them that the shared counters count."""

    sent: dict[str, int]
    of_nobody: dict[str, int]


def prove(slot: Slot, probes: Iterable[Probe], connections: Map) -> Proof:
    """Run every probe. Raises KernelError at the first that differs. The slot's own counters are zero afterwards.

    INVARIANT: the slot's generation is still zero, so an entry that a probe leaves in the shared connection table
    is older than every generation and would be decided again. It is removed all the same; flows that were there
    before stay.
    """
    sent: Counter[str] = Counter()
    of_nobody: Counter[str] = Counter()
    entries = FlowEntries(connections)
    runners = {name: TestRunner(program.fd) for name, program in slot.programs.items()}
    for probe in probes:
        runner = runners[DIRECTION_PROGRAM[probe.direction]]
        runner.at(probe.interface.index, probe.received)
        count = _run(runner, probe, entries)
        sent[probe.reason] += count
        if isinstance(probe.interface, HostInterface) and probe.interface.number < 0:
            of_nobody[probe.reason] += count
    clear_counts(slot.counters)
    return Proof(dict(sent), dict(of_nobody))


def _run(runner: TestRunner, probe: Probe, connections: FlowEntries) -> int:
    """How many packets were sent: one, or none when a live flow has this very tuple, which is then not ours to
    touch.
    """
    if connections.has(probe.key):
        return 0
    passed = True  # what is not known yet may have opened a flow
    try:
        passed = runner.run(probe.frame) != TC_DROP
    finally:
        if passed or probe.allowed:
            connections.remove(probe.key)
    if passed != probe.allowed:
        raise KernelError(
            f"the proof failed: {probe.title}: the tables say {_word(probe.allowed)}, the kernel's program says "
            f"{_word(passed)}; nothing was changed. This is a bug in bpfence: please report it with the artefact"
        )
    return 1


def _word(allowed: bool) -> str:
    return "allow" if allowed else "deny"
