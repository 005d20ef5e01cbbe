"""How long each stage took, for benchmarks and progress. Never part of an output that must be reproducible."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stopwatch:
    """``seconds``: wall time per stage, in order of first use. ``on_stage``: told each stage's name as it begins."""

    seconds: dict[str, float] = field(default_factory=dict)
    on_stage: Callable[[str], None] | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block under the stage's name; repeated use adds up."""
        if self.on_stage is not None:
            self.on_stage(name)
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun
