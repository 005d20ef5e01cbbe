"""The pins of one node: the bpf file system is mounted when missing, folders and names of everything pinned below the root."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from bpfence.errors import KernelError, PermissionMissing
from bpfence.loader.namespaces import mount

BPF_FS_MAGIC = "bpf"
SHARED_MAPS = ("active", "programs", "connections", "fragments", "counters")
DISPATCHERS = {"egress": "dispatch_egress", "ingress": "dispatch_ingress"}
"""Direction as the endpoint sees it -> pinned program."""


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

    def slot_names(self, slot: int) -> tuple[str, ...]:
        """What is pinned in a slot; nothing for a slot never filled."""
        folder = self.slot(slot)
        return tuple(sorted(os.listdir(folder))) if folder.is_dir() else ()

    @property
    def exist(self) -> bool:
        """Whether bpfence's shared state is there: every shared map and both dispatchers."""
        return all((self.root / name).exists() for name in (*SHARED_MAPS, *DISPATCHERS.values()))


def ensure_root(pins: Pins) -> None:
    """Mount the bpf file system when missing and make the root, closed to everybody but root."""
    _mount_when_missing(_mount_point(pins.root))
    try:
        pins.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        pins.root.chmod(0o700)
    except OSError as error:
        raise KernelError(f"can't make {pins.root}: {error.strerror}") from error


def make_folder(path: Path) -> None:
    """A fresh, empty folder for pins."""
    remove_tree(path)
    path.mkdir(mode=0o700)


def remove_tree(path: Path) -> None:
    """Remove pins and the folder that holds them; a missing one is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)


def filesystem_of(path: Path) -> str:
    """The type of the file system that holds ``path`` (its nearest existing ancestor)."""
    while not path.exists():
        path = path.parent
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, target, found, *_ = line.split()
        inside = path.resolve().is_relative_to(target)
        if inside and len(target) >= len(best):
            best, kind = target, found
    return kind


def _mount_point(root: Path) -> Path:
    """Where to mount: the standard place when the root is below it, else the root's parent."""
    standard = Path("/sys/fs/bpf")
    return standard if root.is_relative_to(standard) else root.parent


def _mount_when_missing(point: Path) -> None:
    if filesystem_of(point) == BPF_FS_MAGIC:
        return
    if os.geteuid() != 0:
        raise PermissionMissing(f"no bpf file system at {point} and no right to mount one; run as root")
    if not point.is_dir():
        raise KernelError(f"{point} does not exist; the bpf file system is mounted there (is CONFIG_BPF_SYSCALL on?)")
    mount("bpf", str(point), "bpf", 0, "mode=0700")
