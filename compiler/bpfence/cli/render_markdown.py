"""Diagnostics in; a Markdown table for comments on a pull request out."""

from __future__ import annotations

from collections.abc import Sequence

from bpfence.cli.printable import printable
from bpfence.cli.render import count_text
from bpfence.diagnostics import Diagnostic

_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|#"})


def render_markdown(items: Sequence[Diagnostic]) -> str:
    """A heading with the counts, and a row per diagnostic."""
    if not items:
        return "### bpfence check: nothing found"
    rows = ["| place | severity | code | message | help |", "|---|---|---|---|---|"]
    rows += [_row(item) for item in items]
    return "\n".join((f"### bpfence check: {count_text(items)}", "", *rows))


def _row(item: Diagnostic) -> str:
    place = f"{item.span.path}:{item.span.line}"
    cells = (place, item.severity.value, item.code, item.message, item.help)
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    return printable(text).translate(_SPECIAL)
