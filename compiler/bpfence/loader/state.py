"""What a node remembers on disk: the artefacts of its last generations, and `node.json` with what only we can know.

INVARIANT: nothing here decides what is in force. The kernel's `active` word does; these files describe it, and a
crash between the two leaves at worst a folder of a generation that never came into force.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bpfence.errors import KernelError
from bpfence.loader.lock import node_lock

KEEP_GENERATIONS = 5
_MANIFEST = "manifest.json"
"""written last, so that a folder that has it is whole"""
AUTOMATIC, WATCH = "automatic", "watch"
"""Who brought a generation into force, when no person did."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AttachedInterface(_Model):
    """An interface that carries our dispatchers. ``xdp``: the mode of the one before the stack, empty for none.
    ``hardware``: the address of a workload's interface.
    """

    index: int
    name: str
    endpoint: str
    xdp: str = ""
    hardware: str = ""


class _Content(BaseModel):
    """As much of a manifest as says which artefact it is of."""

    content: str


class GenerationRecord(_Model):
    """One generation that was brought (or about to be brought) into force. ``since``: seconds of the Unix epoch.
    ``repeats``: the earlier generation whose artefact it is, 0 for none. ``takes_back``: the generation that was in
    force when somebody went back to this artefact, 0 for none. ``refreshes``: the generation whose artefact was in
    force already, when only interfaces or addresses of the node had changed, else 0. ``by``: a user's name, `AUTOMATIC`
    or `WATCH`. ``confirmed``: when `bpfence confirm` was run for it, seconds of the Unix epoch, 0 for never.
    """

    number: int
    since: float
    content: str
    shape: str
    slot: int
    interfaces: tuple[AttachedInterface, ...] = ()
    repeats: int = 0
    takes_back: int = 0
    refreshes: int = 0
    by: str = ""
    confirmed: float = 0.0
    tags: dict[str, str] = {}
    """program -> its tag, the kernel's hash over the instructions, when the generation came into force"""
    ids: dict[str, int] = {}
    """pin -> the kernel's number of its program or map, at the same moment"""
    mark: int = 0
    """what packets carry while it is in force (see `Active.number`), 0 when nobody wrote it down"""
    addresses: tuple[str, ...] = ()
    """the node's own addresses that were found then, on a node with policies of hosts"""


class PendingConfirmation(_Model):
    """A generation that is taken back unless `bpfence confirm` is run in time.

    INVARIANT: written before the commit of ``generation``, so it means something only while that very generation is in
    force. ``back_to``: the generation to go back to, 0 for none: then bpfence is unloaded. ``deadline``:
    CLOCK_BOOTTIME in seconds; ``until``: the same moment in seconds of the Unix epoch, for people. ``failure``: why
    going back did not work when it was last tried.
    """

    generation: int
    back_to: int
    deadline: float
    until: float
    failure: str = ""


class NodeState(_Model):
    """node.json. ``last_generation``: the highest number ever given out; numbers are never used twice.

    ``boot``: the kernel's boot id; what it did in an earlier life is gone. ``network``: inode of the network namespace.
    ``mounted``: the bpf file system that we mounted. ``qdiscs``: interfaces whose clsact is ours. ``committed``:
    CLOCK_BOOTTIME of the last commit, in seconds, ``committed_before`` of the one before it. ``probes``: packets that
    proofs added to the shared counters, by reason. ``folded``: packets that endpoints of generations without a slot
    have had, by reason; ``folded_generation``: the last of these generations. ``pending``: what the last generation
    waits for.
    """

    format_version: str = "1.0"
    boot: str = ""
    network: int = 0
    last_generation: int = 0
    committed: float = 0.0
    committed_before: float = 0.0
    mounted: str = ""
    qdiscs: tuple[int, ...] = ()
    probes: dict[str, int] = {}
    folded: dict[str, int] = {}
    folded_generation: int = 0
    pending: PendingConfirmation | None = None
    generations: tuple[GenerationRecord, ...] = ()

    def record(self, number: int) -> GenerationRecord | None:
        return next((item for item in self.generations if item.number == number), None)


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The state folder of a node: root only."""

    root: Path

    def ensure(self, *, empty: bool = False) -> None:
        """Make the folder, closed to everybody but root, with or without what is in it. Raises KernelError."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
            if not empty:
                (self.root / "generations").mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise KernelError(f"can't make {self.root}: {error.strerror}") from error

    @property
    def in_use(self) -> bool:
        """Whether something is known of a node."""
        return (self.root / "node.json").exists()

    @property
    def objects(self) -> Path:
        """Where compiled programs are kept for the next time; anything in it may be removed."""
        return self.root / "objects"

    @property
    def programs(self) -> Path:
        """Where lowered policies are kept for the next time; anything in it may be removed."""
        return self.root / "programs"

    def restore_on(self, undo: ExitStack, state: NodeState, still_needed: Callable[[], bool] = lambda: False) -> None:
        """Let ``undo`` put node.json back as it is now, which is ``state``, unless what it says then is
        ``still_needed``, because something else could not be undone: the next command has to know of it.
        """
        before = state if self.in_use else None

        def restore() -> None:
            if still_needed():
                return
            if before is None:
                (self.root / "node.json").unlink(missing_ok=True)
            else:
                self.write(before)

        undo.callback(restore)

    def generation(self, number: int) -> Path:
        """The artefact folder of a generation."""
        return self.root / "generations" / str(number)

    @property
    def fresh(self) -> Path:
        """Where the files of an artefact lie until it is a generation's."""
        return self.root / "generations" / "fresh"

    def kept(self) -> tuple[int, ...]:
        """Generations whose artefacts are on disk, ascending."""
        folder = self.root / "generations"
        if not folder.is_dir():
            return ()
        return tuple(sorted(int(name) for name in os.listdir(folder) if name.isdecimal()))

    def read(self) -> NodeState:
        """node.json; an empty state when there is none. Raises KernelError when it can't be understood."""
        try:
            text = (self.root / "node.json").read_text("utf-8")
        except FileNotFoundError:
            return NodeState()
        try:
            return NodeState.model_validate_json(text)
        except ValidationError as error:
            raise KernelError(
                f"{self.root / 'node.json'} is damaged: {error.error_count()} problem(s); what is in force stays, and "
                "`bpfence unload --force` takes it off, so that it can be applied again"
            ) from error

    def discard_damaged(self, *, loaded: bool) -> None:
        """Remove node.json when it can't be understood. ``loaded``: whether something may be in force; if not, the
        artefacts, which nothing else tells of, go with it.
        """
        try:
            self.read()
        except KernelError:
            (self.root / "node.json").unlink(missing_ok=True)
            if not loaded:
                _remove_tree(self.root / "generations")
                self.ensure()

    def write(self, state: NodeState, *, durable: bool = False) -> None:
        """Replace node.json in one step: a reader or a crash of the process sees the old text or the new.

        ``durable``: so does a machine that loses its power. It also loses everything that the file describes.
        """
        path, fresh = self.root / "node.json", self.root / "node.json.new"
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(state.model_dump_json(indent=1) + "\n")
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise

    def link_generation(self, old: int, new: int, content: str) -> bool:
        """Give a generation the artefact files of another, without a copy, if they are those of this content. False
        when they are not or can't be linked, with nothing there.
        """
        source, target = self.generation(old), self.generation(new)
        self.forget(new)
        try:
            if _Content.model_validate_json((source / _MANIFEST).read_bytes()).content != content:
                return False
            for path in sorted(source.rglob("*"), key=lambda one: (one.name == _MANIFEST, one)):
                place = target / path.relative_to(source)
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if path.is_file():
                    os.link(path, place, follow_symlinks=False)
            if (target / _MANIFEST).is_file():
                return True
        except (OSError, ValidationError):
            pass  # another file system, no hard links, damaged: the files are written instead
        self.forget(new)
        return False

    def forget_generations(self, active: int, records: Sequence[GenerationRecord] = ()) -> None:
        """Keep the artefacts of the active generation and of the last few before it.

        A generation that another only refreshed is not one of these: its artefact is that of the other, and a busy
        node would soon have nothing else to go back to.
        """
        refreshed = {one.refreshes for one in records}
        older = [number for number in self.kept() if number != active]
        useful = [number for number in older if number not in refreshed]
        keep = {active, *sorted(useful)[-(KEEP_GENERATIONS - 1) :]}
        for number in older:
            if number not in keep:
                self.forget(number)

    def forget_unfinished(self, active: int, state: NodeState) -> None:
        """Remove what commands left that died before their commit: artefacts of generations that never were in force.

        ``active``: the generation in force, 0 for none; ``state``: as node.json has it.
        """
        known = {one.number for one in state.generations if one.number <= active}
        for number in self.kept():
            if number not in known and number != active:
                self.forget(number)
        (self.root / "node.json.new").unlink(missing_ok=True)

    def forget(self, number: int) -> None:
        _remove_tree(self.generation(number))

    def remove_unused(self) -> None:
        """Remove the folder unless it has node.json or a generation's artefact."""
        if not self.in_use and not self.kept():
            self.remove()

    def remove(self) -> None:
        """Remove the folder and everything that is ours in it; the lock file goes last."""
        _remove_tree(self.root / "generations")
        _remove_tree(self.objects)
        _remove_tree(self.programs)
        for name in ("node.json", "node.json.new", "lock"):
            (self.root / name).unlink(missing_ok=True)
        with suppress(OSError):  # somebody else keeps something in it, or waits for the lock
            self.root.rmdir()


@contextmanager
def locked_folder(folder: StateFolder, wait: float = 0.0) -> Iterator[None]:
    """Hold the node's lock for the block. The folder is made when missing, and goes again when it has neither node.json
    nor a generation's artefact: node.json can be lost while something is in force, and the artefact is what is left.

    ``wait``: seconds to wait for another holder. Raises LockHeld, KernelError.
    """
    with ExitStack() as stack:
        while True:
            try:
                folder.ensure(empty=True)
                stack.enter_context(node_lock(folder.root, wait))
            except FileNotFoundError:
                continue  # its holder has removed it with the folder
            except BaseException:
                with suppress(OSError):  # if it is empty: who has just made it makes it again
                    folder.root.rmdir()
                raise
            break
        # INVARIANT: nobody removes what is in the folder without holding the lock
        try:
            folder.ensure()
            yield
        finally:
            folder.remove_unused()


def _remove_tree(path: Path) -> None:
    """A missing one is fine. Raises OSError."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def boot_id() -> str:
    """The kernel's name for the time since it was started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def user_name() -> str:
    """Who runs this: the user behind sudo, else the process's own."""
    behind = os.environ.get("SUDO_USER", "")
    if behind and behind.isprintable():
        return behind[:64]
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
