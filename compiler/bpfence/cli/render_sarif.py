"""Diagnostics in; a SARIF 2.1.0 log out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from bpfence import __version__
from bpfence.diagnostics import Diagnostic

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render_sarif(items: Sequence[Diagnostic]) -> str:
    """The log with one run; every code is a rule of it."""
    codes = sorted({item.code for item in items})
    driver = {"name": "bpfence", "version": __version__, "rules": [{"id": code} for code in codes]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(item, codes.index(item.code)) for item in items],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _result(item: Diagnostic, rule: int) -> dict[str, Any]:
    text = f"{item.message}. {item.help}" if item.help else item.message
    return {
        "ruleId": item.code,
        "ruleIndex": rule,
        "level": item.severity.value,
        "message": {"text": text},
        "locations": [{"physicalLocation": _place(item)}],
    }


def _place(item: Diagnostic) -> dict[str, Any]:
    span = item.span
    uri = quote(span.path.encode("utf-8", "surrogateescape"))
    region = {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }
    return {"artifactLocation": {"uri": uri}, "region": region}
