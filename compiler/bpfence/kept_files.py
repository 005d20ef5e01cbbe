"""JSON documents that a command keeps for the next run: a folder and a name in, the document or nothing out.

Whatever is kept may be lost or damaged at any time; then the work is done anew. A file begins with the SHA-256 of the
rest, and counts only when nobody but its owner can write to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

MOST_BYTES = 64 << 20
"""of one document"""
MOST_FILES = 4
"""in one folder; those longest unused go first"""


def read_kept(folder: Path, name: str) -> Any | None:
    """The document, None when there is none that can be trusted."""
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not _is_ours(os.fstat(descriptor)):
                return None
            digest, _, content = file.read(MOST_BYTES + 1).partition(b"\n")
            if digest.decode() != hashlib.sha256(content).hexdigest():
                return None
            document = json.loads(content)
            os.utime(descriptor)
            return document
    except (OSError, ValueError, RecursionError):
        return None


def write_kept(folder: Path, name: str, document: object) -> None:
    """Keep a document; one that can't be kept is no failure. The folder is made when missing, closed to others."""
    content = json.dumps(document, separators=(",", ":")).encode()
    if len(content) > MOST_BYTES - 1024:
        return
    fresh = folder / f"{name}.new"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        fresh.replace(folder / name)
        for path in list(_latest_first(folder))[MOST_FILES:]:
            path.unlink(missing_ok=True)


def _latest_first(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        found = [(entry.stat(follow_symlinks=False).st_mtime, entry.path) for entry in entries]
    yield from (Path(path) for _, path in sorted(found, reverse=True))


def _is_ours(facts: os.stat_result) -> bool:
    writable = facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid() and not writable
