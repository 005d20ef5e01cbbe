"""The reason why the rest of a file is not read."""

from __future__ import annotations


class StopReading(Exception):  # noqa: N818 - it ends a file early, and becomes a diagnostic, not a failure
    """Raised inside a reader and turned into one diagnostic. Line and column count from 0."""

    def __init__(self, code: str, line: int, column: int, message: str, help_text: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.line = line
        self.column = column
        self.message = message
        self.help_text = help_text
