"""An artefact in force on a node without interfaces: one endpoint or host behind the loopback device, for timed test
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bpfence.bench.path_case import timed
from bpfence.emit.artefact import Artefact
from bpfence.emit.program import emit_dispatcher_program
from bpfence.errors import KernelError
from bpfence.loader.bpffs import Direction, Pins
from bpfence.loader.counts import slot_counts
from bpfence.loader.kernel import Program
from bpfence.loader.node import Active, Slot
from bpfence.loader.runtime import create_runtime
from bpfence.loader.stage import stage
from bpfence.loader.trial import loopback_interfaces


@dataclass(frozen=True, slots=True)
class StagedNode:
    """``programs``: those of the slot in force; ``dispatchers``: those that stand before them."""

    programs: Mapping[str, Program]
    dispatchers: Mapping[Direction, Program]
    slot: Slot

    def timed(
        self,
        program: Program,
        frame: bytes,
        runs: int,
        reason: str = "allowed",
        clock: Callable[[Program, bytes, int], float] = timed,
    ) -> float:
        """Nanoseconds of a run. KernelError unless every one of them ends for that reason."""
        before = self._count(reason)
        taken = clock(program, frame, runs)
        counted = self._count(reason) - before
        if counted != runs:
            raise KernelError(f"{program.name}: {counted} of {runs} packets {reason} while timed")
        return taken

    def _count(self, reason: str) -> int:
        return slot_counts(self.slot.counters)[reason]


def stage_node(folder: Path, artefact: Artefact, owner: int, stack: ExitStack) -> StagedNode:
    """Bring the artefact into force. ``folder``: for the pins, they go with it or with ``stack``; ``owner``: what the
    interface table says about the loopback device.
    """
    folder.mkdir(mode=0o700)
    own = {"interfaces": loopback_interfaces(artefact.manifest.geometry["interfaces"], owner)}
    with ExitStack() as undo:
        node = create_runtime(Pins(folder), emit_dispatcher_program(), undo, stack)
        slot = stage(node, 0, artefact, own, undo, stack).slot
        stack.push(undo.pop_all())
    slot.set_generation(1)
    node.set_active(Active(1, 0))
    return StagedNode(slot.programs, node.dispatchers, slot)
