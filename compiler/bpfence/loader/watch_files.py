"""Input paths under watch: folders with all below them, files by the folder they lie in, and every link on the way.

Editors and mounted volumes do not write into a file, they put another in its place; a folder sees both. Who does write
into a file leaves half of it there for a while: until it is closed, or gone, nothing should be read.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bpfence.loader.inotify import Change, Inotify

_SUFFIXES = (".yaml", ".yml", ".json")
_VOLUME_LINK = "..data"
"""What Kubernetes exchanges when the content of a mounted ConfigMap or Secret changes."""
_ARTEFACT = "manifest.json"
_MOST_LINKS = 40
"""on the way to a file, as in the kernel"""
WRITE_PATIENCE = 30.0
"""Seconds without a write after which an open file is told of, and a new one that is still empty read as it is."""

Place = tuple[Path, str]
"""A folder, by its real path, and a name in it."""


@dataclass(slots=True)
class _Writer:
    """``last``: when it last wrote, by the monotonic clock; ``empty``: it has only made the file so far."""

    last: float
    empty: bool
    told: bool = False


@dataclass(slots=True)
class WatchedFiles:
    """``paths``: as a user names them. `add` again after changes, for folders and links that are new. ``torn``:
    somebody has been writing into a file since it was last set to False: what was read meanwhile may be half of it.
    """

    paths: Sequence[Path]
    inotify: Inotify
    torn: bool = False
    _folders: set[Path] = field(default_factory=set)
    _named: set[Place] = field(default_factory=set)
    _writers: dict[Place, _Writer] = field(default_factory=dict)

    def add(self) -> None:
        """Watch everything that is there now. Raises KernelError when the kernel's limit of watches is reached."""
        self._folders, self._named = set(), set()
        for path in self.paths:
            place = path.absolute()
            self._named.update(_way(place))
            if place.is_dir():
                for folder, links in _folders_below(place):
                    self._folders.add(folder)
                    self._named.update(step for link in links for step in _way(link))
        wanted = self._folders | {folder for folder, _ in self._named}
        self._writers = {place: writer for place, writer in self._writers.items() if place[0] in wanted}
        self.inotify.keep(wanted)
        for folder in sorted(wanted):
            self.inotify.add(folder)

    def changed(self) -> bool:
        """Whether something has happened that could be input, and is whole."""
        now = time.monotonic()
        matters = [self._see(change, now) for change in self.inotify.read()]
        return any(matters)

    @property
    def free_at(self) -> float:
        """When nobody will be writing any more, as far as is known, by the monotonic clock; infinite when a file has to
        be closed first.
        """
        ends = (writer.last + WRITE_PATIENCE if writer.empty else float("inf") for writer in self._writers.values())
        return max(ends, default=0.0)

    @property
    def overdue_at(self) -> float:
        """When `overdue` will have something."""
        waits = (one.last + WRITE_PATIENCE for one in self._writers.values() if not (one.empty or one.told))
        return min(waits, default=float("inf"))

    def overdue(self, now: float) -> tuple[Path, ...]:
        """Files that are open for writing and were not written for long; each is told of once."""
        found = []
        for (folder, name), writer in self._writers.items():
            if not (writer.empty or writer.told) and writer.last + WRITE_PATIENCE <= now:
                writer.told = True
                found.append(folder / name)
        return tuple(sorted(found))

    def forget_writers(self) -> None:
        """Files may be read as they are."""
        self._writers.clear()

    def _see(self, change: Change, now: float) -> bool:
        if change.lost:
            self._writers.clear()
            return True
        place = change.folder, change.name
        if change.kind in ("whole", "gone"):
            self._writers.pop(place, None)
        if change.kind == "gone" and (change.is_folder or not change.name):
            gone = change.folder / change.name
            self._writers = {one: writer for one, writer in self._writers.items() if not one[0].is_relative_to(gone)}
        if not self._matters(change):
            return False
        found = _size(change.folder / change.name) if change.kind in ("being written", "new") else None
        if change.kind == "being written":
            if found is not None:  # else it has been removed, and its writer goes on with nobody's file
                self._writers[place] = _Writer(now, empty=False)
                self.torn = True
            return False
        if found == 0:  # what has bytes already was linked there, or its writer is told of next
            self._writers.setdefault(place, _Writer(now, empty=True))
            self.torn = True
        return True

    def _matters(self, change: Change) -> bool:
        if (change.folder, change.name) in self._named or change.name == _VOLUME_LINK:
            return True
        if change.folder not in self._folders or change.name.startswith("."):
            return False
        if not change.name or change.is_folder or change.name.lower().endswith(_SUFFIXES):
            return True
        return (change.folder / change.name).is_dir()  # a link to a folder


def _folders_below(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """The folder and those in it, each once by its real path, with the links in it that lead to input; hidden ones are
    left out as they are when input is read.
    """
    pending, seen = [root], set()
    while pending:
        folder = pending.pop()
        real = Path(os.path.realpath(folder))
        if real in seen:
            continue
        seen.add(real)
        if folder == root and (root / _ARTEFACT).is_file():
            yield real, []
            return  # an artefact changes with its manifest, which is written last
        below, links = _entries(folder)
        pending.extend(below)
        yield real, links


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """(folders in it, links to folders or to files of interest)."""
    below, links = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = Path(entry.path)
                is_folder = path.is_dir() if entry.is_symlink() else entry.is_dir()
                if is_folder:
                    below.append(path)
                if entry.is_symlink() and (is_folder or entry.name.lower().endswith(_SUFFIXES)):
                    links.append(path)
    except OSError:
        pass  # it has gone meanwhile, or can't be read: whoever reads input says so
    return below, links


def _way(path: Path) -> Iterator[Place]:
    """Every link that is followed on the way to an absolute path, and where it ends; what lies there may be missing."""
    place, left, links = Path("/"), [*reversed(path.parts[1:])], 0
    while left:
        name = left.pop()
        if name == "..":
            place = place.parent
            continue
        target = place / name
        if not target.is_symlink():
            place = target
            continue
        yield place, name
        links += 1
        if links > _MOST_LINKS:
            return
        try:
            to = Path(os.readlink(target))
        except OSError:
            return  # exchanged at this moment, which is a change of its own
        place = Path("/") if to.is_absolute() else place
        left.extend(reversed(to.parts[1:] if to.is_absolute() else to.parts))
    yield place.parent, place.name


def _size(path: Path) -> int | None:
    """Of a regular file; None for whatever else."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
