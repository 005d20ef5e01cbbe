"""What a node remembers on disk: the artefacts of its last generations, and `node.json` with what only we can know.

INVARIANT: nothing here decides what is in force. The kernel's `active` word does; these files describe it, and a
crash between the two leaves at worst a folder of a generation that never came into force.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bpfence.errors import KernelError

KEEP_GENERATIONS = 5


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AttachedInterface(_Model):
    """An interface that carries our dispatchers. ``xdp``: the mode of the one before the stack, empty for none."""

    index: int
    name: str
    endpoint: str
    xdp: str = ""


class GenerationRecord(_Model):
    """One generation that was brought (or about to be brought) into force. ``since``: seconds of the Unix epoch.
    ``repeats``: the earlier generation whose artefact it is, 0 for none.
    """

    number: int
    since: float
    content: str
    shape: str
    slot: int
    interfaces: tuple[AttachedInterface, ...] = ()
    repeats: int = 0


class NodeState(_Model):
    """node.json. ``last_generation``: the highest number ever given out; numbers are never used twice.

    ``network``: inode of the network namespace. ``mounted``: the bpf file system that we mounted. ``qdiscs``:
    interfaces whose clsact is ours. ``committed``: CLOCK_BOOTTIME of the last commit, in seconds. ``probes``:
    packets that proofs added to the shared counters, by reason. ``folded``: packets that endpoints of generations
    without a slot have had, by reason; ``folded_generation``: the last of these generations.
    """

    format_version: str = "1.0"
    network: int = 0
    last_generation: int = 0
    committed: float = 0.0
    mounted: str = ""
    qdiscs: tuple[int, ...] = ()
    probes: dict[str, int] = {}
    folded: dict[str, int] = {}
    folded_generation: int = 0
    generations: tuple[GenerationRecord, ...] = ()

    def record(self, number: int) -> GenerationRecord | None:
        return next((item for item in self.generations if item.number == number), None)


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The state folder of a node: root only."""

    root: Path

    def ensure(self, undo: ExitStack) -> None:
        """Make the folder, closed to everybody but root; ``undo`` removes what was not there before."""
        try:
            if not self.root.exists():
                undo.callback(self.remove)
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
            (self.root / "generations").mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise KernelError(f"can't make {self.root}: {error.strerror}") from error

    @property
    def objects(self) -> Path:
        """Where compiled programs are kept for the next time; anything in it may be removed."""
        return self.root / "objects"

    def restore_on(self, undo: ExitStack) -> None:
        """Let ``undo`` put node.json back as it is now."""
        if (self.root / "node.json").exists():
            undo.callback(self.write, self.read())
        else:
            undo.callback((self.root / "node.json").unlink, missing_ok=True)

    def generation(self, number: int) -> Path:
        """The artefact folder of a generation."""
        return self.root / "generations" / str(number)

    def kept(self) -> tuple[int, ...]:
        """Generations whose artefacts are on disk, ascending."""
        folder = self.root / "generations"
        if not folder.is_dir():
            return ()
        return tuple(sorted(int(name) for name in os.listdir(folder) if name.isdecimal()))

    def read(self) -> NodeState:
        """node.json; an empty state when there is none. Raises KernelError when it can't be understood."""
        try:
            text = (self.root / "node.json").read_text()
        except FileNotFoundError:
            return NodeState()
        try:
            return NodeState.model_validate_json(text)
        except ValidationError as error:
            raise KernelError(f"{self.root / 'node.json'} is damaged: {error.error_count()} problem(s)") from error

    def write(self, state: NodeState) -> None:
        """Replace node.json in one step: a reader or a crash sees the old text or the new."""
        path, fresh = self.root / "node.json", self.root / "node.json.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(state.model_dump(), indent=1, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def forget_generations(self, active: int) -> None:
        """Keep the artefacts of the active generation and of the last few before it."""
        older = [number for number in self.kept() if number != active]
        keep = {active, *sorted(older)[-(KEEP_GENERATIONS - 1) :]}
        for number in older:
            if number not in keep:
                self.forget(number)

    def forget(self, number: int) -> None:
        shutil.rmtree(self.generation(number), ignore_errors=True)

    def remove(self) -> None:
        """Remove the folder and everything that is ours in it; the lock file goes last."""
        shutil.rmtree(self.root / "generations", ignore_errors=True)
        shutil.rmtree(self.objects, ignore_errors=True)
        for name in ("node.json", "node.json.new", "lock"):
            (self.root / name).unlink(missing_ok=True)
        if self.root.is_dir() and not any(self.root.iterdir()):
            self.root.rmdir()
