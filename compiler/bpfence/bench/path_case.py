"""One measurement of ``path``, and how long runs of a program take. In: programs and frames. Out: nanoseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bpfence.loader.programs import Program, TestRunner


@dataclass(frozen=True, slots=True)
class Case:
    """One subject on one kind of packet. ``run``: time so many runs, in nanoseconds each."""

    subject: str
    flow: str
    family: int
    run: Callable[[int], float]
    samples: list[float] = field(default_factory=list)


def timed(program: Program, frame: bytes, runs: int) -> float:
    """Nanoseconds of a run of a tc program."""
    runner = TestRunner(program.fd, repeat=runs)
    runner.run(frame)
    return float(runner.last.duration_ns)
