"""The pins of one node: the bpf file system is mounted when missing, folders and names of everything pinned below
the root.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bpfence.emit.program import IDLE_PROGRAM, XDP_DISPATCHER, XDP_PROGRAMS
from bpfence.errors import KernelError
from bpfence.loader.mounts import holds_bpf
from bpfence.loader.namespaces import mount, unmount
from bpfence.loader.shared import SHARED_MAPS
from bpfence.plan.layout import HOOK_EGRESS, HOOK_HOST_EGRESS, HOOK_HOST_INGRESS, HOOK_INGRESS, HOOKS_PER_SLOT

Direction = Literal["egress", "ingress", "host-ingress", "host-egress", "host-xdp"]
"""A hook. Of workloads as the endpoint behind the interface sees it: its egress arrives at the host end of the veth. Of
the node's own interfaces as the node sees it."""
WORKLOAD_DIRECTIONS: tuple[Direction, ...] = ("egress", "ingress")
XDP_HOOK: Direction = "host-xdp"
HOST_DIRECTIONS: tuple[Direction, ...] = ("host-ingress", "host-egress")

_KERNELS_OWN = frozenset(("maps.debug", "progs.debug"))
"""What the kernel itself puts into an empty bpf file system."""
DISPATCHERS: dict[Direction, str] = {
    "egress": "dispatch_egress",
    "ingress": "dispatch_ingress",
    "host-ingress": "dispatch_host_ingress",
    "host-egress": "dispatch_host_egress",
    "host-xdp": XDP_DISPATCHER,
}
"""Hook -> pinned program."""
_RUNTIME_PROGRAMS = (*DISPATCHERS.values(), IDLE_PROGRAM)
RUNTIME = "runtime"
"""A small map with the hash of the dispatchers' text: what is loaded and what an artefact expects must be the same."""
SHAPE = "shape"
"""A small map in each slot with the hash of its programs' text."""
DIRECTION_PROGRAM: dict[Direction, str] = {
    "egress": "workload_egress",
    "ingress": "workload_ingress",
    "host-ingress": "host_ingress",
    "host-egress": "host_egress",
    "host-xdp": "host_xdp",
}
HOOK_INDEX = {
    "workload_egress": HOOK_EGRESS,
    "workload_ingress": HOOK_INGRESS,
    "host_ingress": HOOK_HOST_INGRESS,
    "host_egress": HOOK_HOST_EGRESS,
}


def program_place(slot: int, program: str) -> tuple[str, int]:
    """Where the dispatchers look for a slot's program: (program array, index)."""
    if program in XDP_PROGRAMS:
        return "xdp_programs", slot
    return "programs", slot * HOOKS_PER_SLOT + HOOK_INDEX[program]


@dataclass(frozen=True, slots=True)
class Pins:
    """Where things are pinned. ``root`` lies in a bpf file system."""

    root: Path

    def shared(self, name: str) -> Path:
        return self.root / name

    def slot(self, slot: int) -> Path:
        return self.root / f"slot{slot}"

    def staging(self, slot: int) -> Path:
        """Where a slot's new pins are made before they take the slot's place."""
        return self.root / f"staging{slot}"

    def retired(self, slot: int) -> Path:
        """Where a slot's old pins stand until the commit."""
        return self.root / f"retired{slot}"

    @property
    def spare(self) -> Path:
        """Maps and programs for a slot that holds others (see `bpfence.loader.spare`)."""
        return self.root / "spare"

    @property
    def spare_staging(self) -> Path:
        """Where the spare is made."""
        return self.root / "staging-spare"

    @property
    def slots(self) -> tuple[Path, ...]:
        """Every folder that may hold the pins of a slot."""
        numbered = (place(number) for number in (0, 1) for place in (self.slot, self.staging, self.retired))
        return (*numbered, self.spare, self.spare_staging)

    @property
    def exist(self) -> bool:
        """Whether bpfence's shared state is there: every shared map and program."""
        return all((self.root / name).exists() for name in (*SHARED_MAPS, *_RUNTIME_PROGRAMS, RUNTIME))


def missing_mount(pins: Pins) -> str:
    """Where the bpf file system has to be mounted; empty when it is there."""
    return "" if holds_bpf(pins.root) else str(_mount_point(pins.root))


def ensure_root(pins: Pins, undo: ExitStack) -> str:
    """Mount the bpf file system when missing and make the root, closed to everybody but root. Returns the mount
    point when we mounted.

    What an interrupted command left of our own pins is removed; nothing else below the root is touched.
    """
    mounted = missing_mount(pins)
    if mounted:
        _mount(Path(mounted))
        undo.callback(unmount_unused, mounted)
    try:
        if not pins.root.exists():
            undo.callback(remove_root, pins)
        pins.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        pins.root.chmod(0o700)
    except OSError as error:
        raise KernelError(f"can't make {pins.root}: {error.strerror}") from error
    remove_pins(pins)
    return mounted


def remove_pins(pins: Pins) -> None:
    """Remove everything of ours below the root.

    INVARIANT: first what says that the rest is complete (see `Pins.exist`), so that nobody opens what is half gone.
    """
    pins.shared(RUNTIME).unlink(missing_ok=True)
    for folder in pins.slots:
        remove_tree(folder)
    for name in (*_RUNTIME_PROGRAMS, *SHARED_MAPS):
        pins.shared(name).unlink(missing_ok=True)


def remove_root(pins: Pins) -> None:
    """Remove our pins, and the root when nothing else is in it."""
    remove_pins(pins)
    if pins.root.is_dir() and not pins.root.is_mount() and not any(pins.root.iterdir()):
        pins.root.rmdir()


def unmount_unused(point: str) -> None:
    """Unmount a bpf file system that holds nothing any more; one that is not mounted (any more) is fine."""
    if Path(point).is_mount() and not {path.name for path in Path(point).iterdir()} - _KERNELS_OWN:
        unmount(point)


def make_folder(path: Path) -> None:
    """A fresh, empty folder for pins."""
    remove_tree(path)
    path.mkdir(mode=0o700)


def remove_tree(path: Path) -> None:
    """Remove pins and the folder that holds them; a missing one is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)


def _mount_point(root: Path) -> Path:
    """Where to mount: the standard place when the root is below it, else the root's parent."""
    standard = Path("/sys/fs/bpf")
    return standard if root.is_relative_to(standard) else root.parent


def _mount(point: Path) -> None:
    if not point.is_dir():
        raise KernelError(f"{point} does not exist; the bpf file system is mounted there (is CONFIG_BPF_SYSCALL on?)")
    mount("bpf", str(point), "bpf", 0, "mode=0700")
