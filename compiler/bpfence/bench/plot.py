"""Results as one SVG picture: a chart per bench and metric, below each other.

Where a subject was measured with several numbers of rules: lines over that number, both axes logarithmic, with those
subjects that have no rules as level lines. Else bars, the longest as long as the chart is wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bpfence.bench.results import Parameter, Result

WIDTH, PLOT_WIDTH, PLOT_HEIGHT = 960, 520, 300
LEFT, HEAD, FOOT, LINE = 90, 44, 46, 17
LABELS = 300
"""width of what stands beside bars"""
COLOURS = ("#c8102e", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f", "#bcbd22", "#e377c2")
GREY, INK = "#d8d8d8", "#222222"
OVER = "rules"
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One line: the values by number of rules, or a single value that belongs to no number."""

    title: str
    points: tuple[Point, ...]
    level: float | None = None


def svg_report(results: Sequence[Result]) -> str:
    """The whole picture, also of no results at all."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for row in results:
        groups.setdefault((row.bench, row.metric, row.unit), []).append(row)
    parts, top = [], 0
    for (bench, metric, unit), rows in groups.items():
        body, height = _lines(rows) if _is_curve(rows) else _bars(rows)
        parts.append(f'<g transform="translate(0 {top})">{_text(16, 26, f"{bench}: {metric} [{unit}]", size=16)}')
        parts += [*body, "</g>"]
        top += height
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{max(top, 1)}" font-family="sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#ffffff"/>', *parts, "</svg>", ""])


def _is_curve(rows: Iterable[Result]) -> bool:
    sizes: dict[str, set[Parameter]] = {}
    for row in rows:
        if OVER in row.params and row.value > 0:
            sizes.setdefault(row.subject, set()).add(row.params[OVER])
    return any(len(found) > 1 for found in sizes.values())


def _titles(rows: Sequence[Result], without: str = "") -> list[str]:
    """Subject and those parameters that differ between rows."""
    values: dict[str, set[Parameter | None]] = {name: set() for row in rows for name in row.params if name != without}
    for name, seen in values.items():
        seen.update(row.params.get(name) for row in rows)
    telling = [name for name, seen in values.items() if len(seen) > 1]
    return [" ".join([row.subject, *_told(row.params, telling)]) for row in rows]


def _told(params: Mapping[str, Parameter], names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name in params:
            value = params[name]
            yield f"{name} {value:,}" if isinstance(value, int) else value


def _bars(rows: Sequence[Result]) -> tuple[list[str], int]:
    most = max((row.value for row in rows), default=0) or 1
    subjects = list(dict.fromkeys(row.subject for row in rows))
    body = []
    for place, (row, title) in enumerate(zip(rows, _titles(rows), strict=True)):
        y = HEAD + place * LINE
        width = max(row.value, 0) / most * (WIDTH - LABELS - 120)
        colour = COLOURS[subjects.index(row.subject) % len(COLOURS)]
        body.append(_text(LABELS - 8, y + 12, title, anchor="end"))
        body.append(f'<rect x="{LABELS}" y="{y + 2}" width="{width:.1f}" height="{LINE - 4}" fill="{colour}"/>')
        body.append(_text(LABELS + width + 6, y + 12, _number(row.value)))
    return body, HEAD + len(rows) * LINE + LINE


def _series(rows: Sequence[Result]) -> list[Series]:
    lines: dict[str, list[Point]] = {}
    levels: dict[str, float] = {}
    for row, title in zip(rows, _titles(rows, OVER), strict=True):
        if row.value <= 0:
            continue  # has no place on a logarithmic axis
        if OVER in row.params:
            lines.setdefault(title, []).append((float(row.params[OVER]), row.value))
        else:
            levels[title] = row.value
    found = [Series(title, tuple(sorted(points))) for title, points in lines.items()]
    return [*found, *(Series(title, (), level) for title, level in levels.items())]


def _lines(rows: Sequence[Result]) -> tuple[list[str], int]:
    series = _series(rows)
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points] + [one.level for one in series if one.level is not None]
    across, up = _Scale(xs, LEFT, LEFT + PLOT_WIDTH), _Scale(ys, HEAD + PLOT_HEIGHT, HEAD)
    body = [*_grid(across, up)]
    for number, one in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        body += _curve(one, across, up, f'stroke="{colour}" fill="none" stroke-width="2"{_dash(number)}', colour)
        y = HEAD + 10 + number * LINE
        start = LEFT + PLOT_WIDTH + 20
        body.append(f'<line x1="{start}" y1="{y}" x2="{start + 24}" y2="{y}" stroke="{colour}"{_dash(number)}/>')
        body.append(_text(start + 30, y + 4, one.title))
    return body, max(HEAD + PLOT_HEIGHT, HEAD + len(series) * LINE) + FOOT


def _dash(number: int) -> str:
    """Another dash for each round of colours."""
    return "" if number < len(COLOURS) else f' stroke-dasharray="{2 + number // len(COLOURS) * 3}"'


def _curve(one: Series, across: _Scale, up: _Scale, style: str, colour: str) -> Iterator[str]:
    if one.level is not None:
        y = up.place(one.level)
        yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + PLOT_WIDTH}" y2="{y:.1f}" {style} opacity="0.6"/>'
        return
    places = [(across.place(x), up.place(y)) for x, y in one.points]
    yield f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}" {style}/>'
    yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places)


def _grid(across: _Scale, up: _Scale) -> Iterator[str]:
    bottom = HEAD + PLOT_HEIGHT
    for value in across.ticks():
        x = across.place(value)
        yield f'<line x1="{x:.1f}" y1="{HEAD}" x2="{x:.1f}" y2="{bottom}" stroke="{GREY}"/>'
        yield _text(x, bottom + 18, _number(value), anchor="middle")
    for value in up.ticks():
        y = up.place(value)
        yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + PLOT_WIDTH}" y2="{y:.1f}" stroke="{GREY}"/>'
        yield _text(LEFT - 8, y + 4, _number(value), anchor="end")
    yield _text(LEFT + PLOT_WIDTH / 2, bottom + 36, OVER, anchor="middle")


class _Scale:
    """Positive values to places, by whole decades."""

    __slots__ = ("_first", "_from", "_last", "_to")

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._first = math.floor(math.log10(min(values)))
        self._last = max(math.ceil(math.log10(max(values))), self._first + 1)
        self._from, self._to = start, end

    def place(self, value: float) -> float:
        share = (math.log10(value) - self._first) / (self._last - self._first)
        return self._from + share * (self._to - self._from)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self._first, self._last + 1)]


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{INK}"'
    return f"<text {place}>{escape(text)}</text>"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
