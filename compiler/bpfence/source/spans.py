"""Places in input text. Nothing in, small value types out; every later stage carries them along."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of one input file. Lines and columns count from 1; the end column is exclusive.

    ``path`` is the file as the user named it, for messages; ``relative`` is the path below the input root the user
    gave, for artefacts, which must not depend on where the checkout lies.
    """

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    relative: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"
