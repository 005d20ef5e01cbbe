"""Input paths under watch: folders with all below them, and files by the folder they lie in.

Editors and mounted volumes do not write into a file, they put another in its place; a folder sees both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bpfence.loader.inotify import Change, Inotify

_SUFFIXES = (".yaml", ".yml", ".json")
_VOLUME_LINK = "..data"
"""What Kubernetes exchanges when the content of a mounted ConfigMap or Secret changes."""
_ARTEFACT = "manifest.json"


@dataclass(slots=True)
class WatchedFiles:
    """``paths``: as a user names them. `add` again after changes, for folders that are new."""

    paths: Sequence[Path]
    inotify: Inotify
    _folders: set[Path] = field(default_factory=set)
    _named: set[tuple[Path, str]] = field(default_factory=set)

    def add(self) -> None:
        """Watch everything that is there now. Raises KernelError when the kernel's limit of watches is reached."""
        for path in self.paths:
            place = path.absolute()
            self._named.add((place.parent, place.name))
            self.inotify.add(place.parent)
            if place.is_dir():
                for folder in _folders_below(place):
                    self._folders.add(folder)
                    self.inotify.add(folder)

    def changed(self) -> bool:
        """Whether something has happened that could be input."""
        matters = [self._matters(change) for change in self.inotify.read()]
        return any(matters)

    def _matters(self, change: Change) -> bool:
        if change.lost or (change.folder, change.name) in self._named:
            return True
        if change.name == _VOLUME_LINK:
            return True
        if change.folder not in self._folders or change.name.startswith("."):
            return False
        return not change.name or change.is_folder or change.name.lower().endswith(_SUFFIXES)


def _folders_below(root: Path) -> Iterator[Path]:
    """The folder and those in it, hidden ones left out as they are when input is read."""
    yield root
    if (root / _ARTEFACT).is_file():
        return  # an artefact changes with its manifest, which is written last
    for place, folders, _ in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place) / name for name in folders)
