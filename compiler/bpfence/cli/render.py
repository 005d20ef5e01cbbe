"""Diagnostics in; text for people out: place, message, source line with an underline, help, and a count."""

from __future__ import annotations

from collections.abc import Sequence

import click

from bpfence.cli.printable import printable, width
from bpfence.cli.source_lines import SourceLines
from bpfence.diagnostics import Diagnostic, Severity
from bpfence.source.spans import Span

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_SHOWN = 160


def render_text(items: Sequence[Diagnostic], *, colour: bool = False) -> str:
    """All diagnostics in their order and the count; empty for none."""
    if not items:
        return ""
    lines = SourceLines()
    blocks = [_render_one(item, lines, colour) for item in items]
    return "\n".join((*blocks, f"found {count_text(items)}"))


def count_text(items: Sequence[Diagnostic]) -> str:
    """``3 errors and 1 warning in 2 files``."""
    parts = [
        f"{number} {severity.value}{'' if number == 1 else 's'}"
        for severity in Severity
        if (number := sum(item.severity is severity for item in items))
    ]
    files = len({item.span.path for item in items})
    counts = " and ".join((", ".join(parts[:-1]), parts[-1])) if len(parts) > 1 else "".join(parts) or "nothing"
    return f"{counts} in {files} file{'' if files == 1 else 's'}"


def _render_one(item: Diagnostic, lines: SourceLines, colour: bool) -> str:
    label = f"{item.severity.value}[{item.code}]"
    if colour:
        label = click.style(label, fg=_COLOURS[item.severity], bold=True)
    block = [f"{printable(str(item.span))}: {label}: {printable(item.message)}"]
    block += _excerpt(item.span, lines, _COLOURS[item.severity] if colour else "")
    if item.help:
        block.append(f"  help: {printable(item.help)}")
    return "\n".join(block)


def _excerpt(span: Span, lines: SourceLines, colour: str) -> list[str]:
    """The line of the span and the underline; nothing when the file can't be shown."""
    text = lines.line(span.path, span.line)
    if text is None or not text.strip():
        return []
    end = span.end_column if span.end_line == span.line else len(text) + 1
    start, end = span.column - 1, min(max(end - 1, span.column), len(text))
    text, start, end = _crop(text, start, end)
    before, marked = printable(text[:start]), printable(text[start:end])
    underline = "^" * max(1, width(marked))
    number = str(span.line)
    if colour:
        underline = click.style(underline, fg=colour, bold=True)
    return [
        f"  {number} | {printable(text).rstrip()}",
        f"  {' ' * len(number)} | {' ' * width(before)}{underline}",
    ]


def _crop(text: str, start: int, end: int) -> tuple[str, int, int]:
    """A window of a very long line around its mark (JSON without line breaks)."""
    if len(text) <= _SHOWN:
        return text, start, end
    first = max(0, start - _SHOWN // 2)
    return text[first : first + _SHOWN], start - first, min(end - first, _SHOWN)
