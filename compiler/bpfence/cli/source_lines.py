"""A file and a line number in; the line's text out, for excerpts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

_LARGEST = 64 << 20


@dataclass(slots=True)
class SourceLines:
    """Keeps the file it read last: diagnostics come sorted by place. Files that can't be read again have no lines."""

    path: str = ""
    lines: list[str] = field(default_factory=list)

    def line(self, path: str, number: int) -> str | None:
        """Line ``number`` (from 1) of the file."""
        if path != self.path:
            self.path, self.lines = path, _read_lines(path)
        return self.lines[number - 1] if 1 <= number <= len(self.lines) else None


def _read_lines(path: str) -> list[str]:
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _LARGEST:
            return []
        with open(path, encoding="utf-8-sig", errors="replace", newline="\n") as stream:
            return [line.rstrip("\r") for line in stream.read().split("\n")]
    except (OSError, ValueError):
        return []
