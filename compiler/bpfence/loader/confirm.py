"""Confirming a generation: from then on it stays."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bpfence.errors import KernelError
from bpfence.loader.kernel import require_kernel
from bpfence.loader.node import NodePaths, active_word
from bpfence.loader.pending import pending_confirmation, seconds_left
from bpfence.loader.refusals import node_refusals
from bpfence.loader.state import AUTOMATIC, NodeState, locked_folder
from bpfence.loader.transaction import take_back

LOCK_SECONDS = 10.0
"""How long to wait for another command; it may be the timer itself."""


@dataclass(frozen=True, slots=True)
class ConfirmReport:
    """``generation``: the one in force. ``already``: it waited for no confirmation any more. ``left``: seconds to the
    deadline.
    """

    generation: int
    already: bool
    left: float


@node_refusals()
def confirm(paths: NodePaths) -> ConfirmReport:
    """Keep the generation in force. Raises KernelError when nothing waits for a confirmation, and after the deadline:
    then what was there before is in force again.
    """
    require_kernel()
    if not paths.state.is_dir():
        raise KernelError("nothing is in force on this node, so there is nothing to confirm")
    with locked_folder(paths.folder, LOCK_SECONDS):
        pending = pending_confirmation(paths)
        state = paths.folder.read()
        if pending is None:
            return _nothing_pending(state, active_word(paths).generation)
        left = seconds_left(pending)
        if left <= 0:
            take_back(paths, pending)
            raise KernelError(
                f"it is {-left:.1f} s too late: generation {pending.generation} has been taken back; apply it again"
            )
        records = tuple(
            one.model_copy(update={"confirmed": time.time()}) if one.number == pending.generation else one
            for one in state.generations
        )
        paths.folder.write(state.model_copy(update={"pending": None, "generations": records}))
        return ConfirmReport(pending.generation, False, left)


def _nothing_pending(state: NodeState, generation: int) -> ConfirmReport:
    record = state.record(generation)
    if not generation:
        raise KernelError("nothing is in force on this node, so there is nothing to confirm")
    if record is not None and record.confirmed:
        return ConfirmReport(generation, True, 0.0)
    if record is not None and record.by == AUTOMATIC:
        raise KernelError(
            f"it is too late: generation {record.takes_back} was not confirmed in time and has been taken back; "
            f"generation {generation} is in force"
        )
    raise KernelError(f"generation {generation} is in force and waits for no confirmation")
