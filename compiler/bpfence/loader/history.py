"""The generations of a node: which there were, and bringing an earlier one into force again.

In: the state folder and the kernel's `active` word. Out: `Generation`s, or the report of a transaction. Going back is a
transaction like any other: staged, proved, committed, under a new number. Where the other slot still holds the tables
and programs, nothing is written and nothing loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from bpfence.errors import KernelError
from bpfence.loader.kept import kept_artefact, kept_manifest
from bpfence.loader.kernel import require_kernel
from bpfence.loader.node import NodePaths, active_word
from bpfence.loader.pending import AwaitsConfirmation, pending_confirmation
from bpfence.loader.refusals import node_refusals
from bpfence.loader.stage import check_artefact
from bpfence.loader.state import GenerationRecord, NodeState, PendingConfirmation, StateFolder, locked_folder
from bpfence.loader.transaction import ApplyReport, ApplySettings, transact
from bpfence.loader.unload import UnloadReport, unload_locked
from bpfence.timing import Stopwatch

Confirmation = Literal["", "pending", "confirmed"]
_NOTHING = "nothing is in force on this node, so there is nothing to go back to"


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation. ``since``: seconds of the Unix epoch; ``repeats``: the generation whose artefact it brought back,
    0 for none; ``kept``: its artefact is on disk, so it can come back; ``policies`` are empty when it is not.

    ``by``: a user's name, ``automatic`` (a confirmation did not come) or ``watch``. ``confirmation``: empty when it
    never needed one. ``pending``: what happens, and when, unless it is confirmed. ``taken_back_by``: the generation
    that somebody put in its place to go back, 0 for none. ``refreshes``: the generation whose artefact
    it only brought to changed interfaces, 0 for none.
    """

    number: int
    since: float
    in_force: bool
    repeats: int
    kept: bool
    policies: tuple[str, ...]
    by: str = ""
    confirmation: Confirmation = ""
    pending: PendingConfirmation | None = None
    taken_back_by: int = 0
    refreshes: int = 0


@node_refusals()
def read_history(paths: NodePaths) -> tuple[Generation, ...]:
    """The generations that were in force, newest first; empty when nothing is loaded. Raises KernelError."""
    require_kernel()
    return _history(paths.folder, active_word(paths).generation)


def _history(folder: StateFolder, active: int) -> tuple[Generation, ...]:
    state = folder.read()
    known = sorted((one for one in state.generations if one.number <= active), key=lambda one: -one.number)
    taken_back = {one.takes_back: one.number for one in known if one.takes_back}
    kept = folder.kept()
    return tuple(
        _generation(record, record.number == active, record.number in kept, state, folder, taken_back)
        for record in known
    )


def _generation(
    record: GenerationRecord,
    in_force: bool,
    kept: bool,
    state: NodeState,
    folder: StateFolder,
    taken_back: dict[int, int],
) -> Generation:
    pending = state.pending if in_force and state.pending and state.pending.generation == record.number else None
    manifest = kept_manifest(folder, record.number)
    confirmation: Confirmation = "pending" if pending else "confirmed" if record.confirmed else ""
    return Generation(
        number=record.number,
        since=record.since,
        in_force=in_force,
        repeats=record.repeats,
        kept=kept,
        policies=manifest.policies if manifest else (),
        by=record.by,
        confirmation=confirmation,
        pending=pending,
        taken_back_by=taken_back.get(record.number, 0),
        refreshes=record.refreshes,
    )


@node_refusals()
def rollback(
    settings: ApplySettings, generation: int | None = None, watch: Stopwatch | None = None
) -> ApplyReport | UnloadReport:
    """Bring an earlier generation's artefact into force again; without a number, that of the last generation before the
    one in force whose artefact is another.

    While the generation in force waits for its confirmation, going back means to what was there before it: if that
    was nothing, bpfence is unloaded. Raises KernelError when there is no generation to go to or its artefact is gone or
    damaged, and what `apply` raises; the node is then as it was.
    """
    require_kernel()
    if not settings.paths.state.is_dir():
        raise KernelError(_NOTHING)
    with locked_folder(settings.paths.folder, settings.wait):
        return _rollback(settings, generation, watch or Stopwatch())


def _rollback(settings: ApplySettings, generation: int | None, watch: Stopwatch) -> ApplyReport | UnloadReport:
    paths = settings.paths
    active = active_word(paths).generation
    if not active:
        raise KernelError(_NOTHING)
    pending = pending_confirmation(paths)
    if pending is not None and settings.dry_run:
        raise AwaitsConfirmation(
            f"generation {active} waits for its confirmation; a dry run would use the slot of what it goes back to",
            active,
        )
    if pending is not None and settings.confirm_within:
        raise AwaitsConfirmation(
            f"generation {active} waits for its confirmation: take it back without a confirmation of its own, or "
            "`bpfence confirm` it first",
            active,
        )
    if pending is not None and generation is None:
        if not pending.back_to:
            return unload_locked(paths)
        generation = pending.back_to
    chosen = _chosen(paths.folder, active, generation)
    with watch.stage("parse"):
        artefact = kept_artefact(paths.folder, chosen)
    with watch.stage("preflight"):
        check_artefact(artefact)
    return transact(artefact, replace(settings, repeats=chosen, takes_back=active), watch)


def _chosen(folder: StateFolder, active: int, generation: int | None) -> int:
    """The number to go back to. Raises KernelError."""
    earlier = [one for one in _history(folder, active) if not one.in_force]
    if generation is None:
        return _last_different(folder.read(), active, earlier)
    if all(one.number != generation for one in earlier):
        raise KernelError(f"generation {generation} is not one to go to; {_there_are(earlier)}")
    return generation


def _last_different(state: NodeState, active: int, earlier: list[Generation]) -> int:
    """The last one with another artefact than the one in force; without any, just the last one."""
    if not earlier:
        raise KernelError(f"no earlier generation is known; {_there_are(earlier)}")
    contents = {one.number: one.content for one in state.generations}
    others = [one.number for one in earlier if contents[one.number] != contents.get(active)]
    return others[0] if others else earlier[0].number


def _there_are(earlier: list[Generation]) -> str:
    known = ", ".join(str(one.number) for one in earlier if one.kept) or "none"
    return f"there are: {known} (see `bpfence history`)"
