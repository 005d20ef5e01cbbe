"""What a benchmark answers: one row per measured subject and parameter set, with its samples. Nothing in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

FORMAT_VERSION = "1.0"
Parameter = int | str
Say = Callable[[str], None]
"""told what is being measured, for people who wait"""


@dataclass(frozen=True, slots=True)
class Result:
    """``samples``: at least one; the value is their median."""

    bench: str
    subject: str
    params: Mapping[str, Parameter]
    metric: str
    unit: str
    samples: tuple[float, ...]

    @property
    def value(self) -> float:
        return median(self.samples)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the value; 0 for a single sample."""
        ordered = sorted(self.samples)
        quarter = len(ordered) // 4
        return (ordered[-1 - quarter] - ordered[quarter]) / 2 / abs(self.value) if self.value else 0.0

    def document(self) -> dict[str, Any]:
        """The row as JSON has it."""
        return {
            "bench": self.bench,
            "subject": self.subject,
            "params": dict(self.params),
            "metric": self.metric,
            "unit": self.unit,
            "value": _rounded(self.value),
            "samples": [_rounded(sample) for sample in self.samples],
        }


@dataclass(frozen=True, slots=True)
class Note:
    """What a reader of the results has to know: a subject that is left out, and why."""

    text: str


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure. ``quick``: small sizes and few samples, to see that everything works; its figures mean
    little.
    """

    quick: bool = False

    @property
    def samples(self) -> int:
        return 2 if self.quick else 5


def report_document(
    machine: Mapping[str, Any], results: Sequence[Result], notes: Sequence[Note] = ()
) -> dict[str, Any]:
    """The whole of ``bench -o json``."""
    return {
        "format_version": FORMAT_VERSION,
        "machine": dict(machine),
        "results": [result.document() for result in results],
        "notes": [note.text for note in notes],
    }


def _rounded(value: float) -> float:
    """Four significant digits below a thousand: more would be noise."""
    return round(value, 1) if abs(value) >= 1000 else float(f"{value:.4g}")
