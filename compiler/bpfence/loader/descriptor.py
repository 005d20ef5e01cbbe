"""A file descriptor that somebody owns: closed once, at the end of a ``with`` block at the latest."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self


class Descriptor:
    """Owns ``fd``; -1 once it is closed."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Give the descriptor back; again is fine."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
