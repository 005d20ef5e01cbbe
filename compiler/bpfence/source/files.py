"""Paths as the user gave them in; the files to read, each once and in a stable order, out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bpfence.diagnostics import Diagnostics
from bpfence.source.spans import Span

STDIN = "-"
STDIN_NAME = "<stdin>"
SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """``path`` as named by the user (or below the folder that was named), ``relative`` below the input root."""

    path: str
    relative: str


def find_files(paths: Sequence[str], diagnostics: Diagnostics) -> tuple[FoundFile, ...]:
    """Files in the order of the paths; folders are walked in sorted order, hidden entries are skipped.

    A file that is reached twice is listed once. Links are followed, also to folders; a folder is walked once.
    """
    found: list[FoundFile] = []
    seen: set[str] = set()
    for path in paths:
        for file in _files_of(path, diagnostics):
            identity = file.path if path == STDIN else os.path.realpath(file.path)
            if identity not in seen:
                seen.add(identity)
                found.append(file)
    return tuple(found)


def file_span(file: FoundFile) -> Span:
    """The beginning of a file, for messages about the file as a whole."""
    return Span(file.path, 1, 1, 1, 1, file.relative)


def _files_of(path: str, diagnostics: Diagnostics) -> Iterator[FoundFile]:
    if path == STDIN:
        yield FoundFile(STDIN_NAME, STDIN_NAME)
        return
    if os.path.isdir(path):
        yield from _walk(path, diagnostics)
        return
    file = FoundFile(path, os.path.basename(path))
    if os.path.lexists(path):
        yield file
        return
    diagnostics.error("SRC001", file_span(file), f"no such file or folder: {path}", "check the path")


def _walk(root: str, diagnostics: Diagnostics) -> Iterator[FoundFile]:
    empty = True
    for path in _sorted_files(root, diagnostics):
        empty = False
        yield FoundFile(path, os.path.relpath(path, root).replace(os.sep, "/"))
    if empty:
        span = file_span(FoundFile(root, "."))
        diagnostics.warning("SRC015", span, f"no {', '.join(SUFFIXES)} file in the folder {root}", "check the path")


def _sorted_files(root: str, diagnostics: Diagnostics) -> Iterator[str]:
    """Depth first with a stack of our own: the depth of a folder tree is input too."""
    pending = [root]
    walked: set[str] = set()
    while pending:
        path = pending.pop()
        if not os.path.isdir(path):
            yield path
            continue
        real = os.path.realpath(path)
        if real not in walked:
            walked.add(real)
            pending.extend(reversed(_entries(path, diagnostics)))


def _entries(folder: str, diagnostics: Diagnostics) -> list[str]:
    """The sub-folders and the files of interest, sorted by name."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as failure:
        span = file_span(FoundFile(folder, os.path.basename(folder)))
        diagnostics.error("SRC002", span, f"can't read the folder {folder}: {failure.strerror}")
        return []
    paths = [os.path.join(folder, name) for name in names if not name.startswith(".")]
    return [path for path in paths if path.lower().endswith(SUFFIXES) or os.path.isdir(path)]
