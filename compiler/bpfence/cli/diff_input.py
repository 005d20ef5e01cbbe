"""One side of a diff: an artefact with what is known about where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bpfence.emit.artefact import Artefact
from bpfence.emit.folder import MANIFEST
from bpfence.identity.world import World
from bpfence.ir.nodes import Program


@dataclass(frozen=True, slots=True)
class Compiled:
    """An artefact, with what it was compiled from where that is known."""

    artefact: Artefact
    world: World | None = None
    program: Program | None = None


def is_artefact(paths: Sequence[str]) -> bool:
    """Whether the paths are one artefact folder."""
    return len(paths) == 1 and (Path(paths[0]) / MANIFEST).is_file()
