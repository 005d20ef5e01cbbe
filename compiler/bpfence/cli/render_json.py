"""Diagnostics in; the fields of the documented JSON out."""

from __future__ import annotations

from collections.abc import Sequence

from bpfence.diagnostics import Diagnostic, Severity

Fields = dict[str, str | int]


def diagnostic_fields(item: Diagnostic) -> Fields:
    """One diagnostic as a JSON object."""
    span = item.span
    return {
        "code": item.code,
        "severity": item.severity.value,
        "message": item.message,
        "help": item.help,
        "path": span.path,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
        "policy": item.policy,
    }


def severity_counts(items: Sequence[Diagnostic]) -> dict[str, int]:
    """``{"errors": 1, "warnings": 0, "notes": 2}``."""
    return {f"{severity.value}s": sum(item.severity is severity for item in items) for severity in Severity}
