"""Results as a table to read: one line per parameter set, subjects beside each other, with the ratio to ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bpfence.bench.results import Note, Result

OURS = "bpfence"
Line = tuple[str, ...]


def text_report(machine: Mapping[str, Any], results: Sequence[Result], notes: Sequence[Note] = ()) -> str:
    """The machine, then one table per bench and metric in the order of the results, then the notes."""
    lines = [
        f"kernel {machine['kernel']}, {machine['cpu']}, {machine['cpus']} CPUs, JIT {machine['jit']},"
        f" jit_harden {machine['jit_harden']}, clock {machine['clock']}, load {machine['load'][0]}",
        *(f"mitigation {name}: {text}" for name, text in machine["mitigations"].items()),
    ]
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.bench, result.metric, result.unit), []).append(result)
    for (bench, metric, unit), rows in groups.items():
        lines += [
            "",
            f"{bench}: {metric} [{unit}], median of {_sample_counts(rows)} samples (half the quartile distance)",
        ]
        lines += columns(_table(rows))
    lines += ["", *(f"note: {note.text}" for note in notes)] if notes else []
    return "\n".join(lines)


def columns(lines: Sequence[Line]) -> Iterator[str]:
    """Lines of cells as aligned text; the first line is the head."""
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    for line in lines:
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _sample_counts(rows: Iterable[Result]) -> str:
    counts = sorted({len(row.samples) for row in rows})
    return "-".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))


def _table(rows: Sequence[Result]) -> list[Line]:
    subjects = list(dict.fromkeys(row.subject for row in rows))
    names = list(dict.fromkeys(name for row in rows for name in row.params))
    compared = [subject for subject in subjects if subject != OURS] if OURS in subjects else []
    cells: dict[Line, dict[str, Result]] = {}
    for row in rows:
        cells.setdefault(tuple(str(row.params.get(name, "")) for name in names), {})[row.subject] = row
    head = (*names, *subjects, *(f"{subject}/{OURS}" for subject in compared))
    return [head, *(_line(place, found, subjects, compared) for place, found in cells.items())]


def _line(place: Line, found: Mapping[str, Result], subjects: Sequence[str], compared: Sequence[str]) -> Line:
    ours = found.get(OURS)
    ratios = (_ratio(found.get(subject), ours) for subject in compared)
    return (*place, *(_figure(found.get(subject)) for subject in subjects), *ratios)


def _figure(result: Result | None) -> str:
    if result is None:
        return "-"
    value = f"{result.value:,.0f}" if abs(result.value) >= 1000 else f"{result.value:.3g}"
    return f"{value} ({result.spread:.0%})" if len(result.samples) > 1 else value


def _ratio(other: Result | None, ours: Result | None) -> str:
    if other is None or ours is None or not ours.value:
        return "-"
    return f"{other.value / ours.value:.1f}x"
