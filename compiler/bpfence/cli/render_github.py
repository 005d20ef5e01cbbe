"""Diagnostics in; workflow commands that GitHub shows at the lines of a pull request out."""

from __future__ import annotations

from collections.abc import Sequence

from bpfence.diagnostics import Diagnostic, Severity

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def render_github(items: Sequence[Diagnostic]) -> str:
    """One workflow command per diagnostic."""
    return "\n".join(_render_one(item) for item in items)


def _render_one(item: Diagnostic) -> str:
    span = item.span
    fields = {
        "file": span.path,
        "line": str(span.line),
        "endLine": str(span.end_line),
        "col": str(span.column),
        "endColumn": str(span.end_column),
        "title": item.code,
    }
    if span.line != span.end_line:
        del fields["col"], fields["endColumn"]
    written = ",".join(f"{name}={_escape_property(value)}" for name, value in fields.items())
    message = f"{item.message} ({item.help})" if item.help else item.message
    return f"::{_COMMANDS[item.severity]} {written}::{_escape(message)}"


def _escape(text: str) -> str:
    """A line break would let the input write workflow commands of its own."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
