"""The generations of a node: which there were, and bringing an earlier one into force again.

In: the state folder and the kernel's `active` word. Out: `Generation`s, or the report of a transaction. Going back is a
transaction like any other: staged, proved, committed, under a new number.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

from pydantic import ValidationError

from bpfence.emit.artefact import Manifest
from bpfence.emit.folder import MANIFEST, read_artefact
from bpfence.errors import KernelError
from bpfence.loader.kernel import require_kernel
from bpfence.loader.node import Active, NodePaths, open_node
from bpfence.loader.state import StateFolder
from bpfence.loader.transaction import ApplyReport, ApplySettings, apply, check_same_network
from bpfence.timing import Stopwatch


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation. ``since``: seconds of the Unix epoch; ``repeats``: the generation whose artefact it brought back,
    0 for none; ``kept``: its artefact is on disk, so it can come back; ``policies`` are empty when it is not.
    """

    number: int
    since: float
    in_force: bool
    repeats: int
    kept: bool
    policies: tuple[str, ...]


def read_history(paths: NodePaths) -> tuple[Generation, ...]:
    """The generations that were in force, newest first; empty when nothing is loaded. Raises KernelError."""
    require_kernel()
    active = _active(paths)
    folder = paths.folder
    kept = folder.kept()
    return tuple(
        Generation(
            record.number,
            record.since,
            record.number == active.generation,
            record.repeats,
            record.number in kept,
            _policies(folder, record.number),
        )
        for record in sorted(folder.read().generations, key=lambda one: -one.number)
        if record.number <= active.generation
    )


def rollback(settings: ApplySettings, generation: int | None = None, watch: Stopwatch | None = None) -> ApplyReport:
    """Bring an earlier generation's artefact into force again; without a number, that of the generation before the one
    in force. Raises KernelError when there is none, and what `apply` raises; the node is then as it was.
    """
    watch = watch or Stopwatch()
    history = read_history(settings.paths)
    if not history:
        raise KernelError("nothing is in force on this node, so there is nothing to go back to")
    earlier = [one for one in history if not one.in_force]
    chosen = next((one for one in earlier if generation in (None, one.number)), None)
    if chosen is None:
        known = ", ".join(str(one.number) for one in earlier if one.kept) or "none"
        what = (
            "no earlier generation is known" if generation is None else f"generation {generation} is not one to go to"
        )
        raise KernelError(f"{what}; there are: {known} (see `bpfence history`)")
    if not chosen.kept:
        raise KernelError(f"the artefact of generation {chosen.number} is no longer on disk; apply it from its source")
    with watch.stage("parse"):
        artefact = read_artefact(settings.paths.folder.generation(chosen.number))
    return apply(artefact, replace(settings, repeats=chosen.number), watch)


def _active(paths: NodePaths) -> Active:
    with ExitStack() as stack:
        node = open_node(paths.pins, stack)
        check_same_network(node, paths.folder.read())
        return Active(0, 0) if node is None else node.active


def _policies(folder: StateFolder, number: int) -> tuple[str, ...]:
    try:
        return Manifest.model_validate_json((folder.generation(number) / MANIFEST).read_bytes()).policies
    except (OSError, ValidationError):
        return ()
