"""Verdict changes in; the documented JSON out."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

from bpfence.analyse.table_diff import VerdictChanges
from bpfence.analyse.table_rows import NO_RULES, ChangeRow, Rules, rows_of

Document = dict[str, Any]


def changes_document(changes: VerdictChanges, limit: int, rules: Rules = NO_RULES) -> Document:
    """``changes``, ``summary`` and ``endpoints``."""
    rows = list(islice(chain.from_iterable(rows_of(group, rules) for group in changes.groups), limit))
    added, removed = changes.count("added"), changes.count("removed")
    return {
        "changes": [row_document(row) for row in rows],
        "summary": {
            "added": added,
            "removed": removed,
            "exposes_world": changes.exposing,
            "within_workloads": changes.within,
            "listed": len(rows),
            "truncated": len(rows) < added + removed,
        },
        "endpoints": {"added": list(changes.endpoints_added), "removed": list(changes.endpoints_removed)},
    }


def row_document(row: ChangeRow) -> Document:
    """One row."""
    document: Document = {
        "kind": row.kind,
        "src": row.source,
        "dst": row.destination,
        "protocol": row.protocol,
        "ports": [list(ports) for ports in row.ports],
        "all": row.everything,
        "example": row.example,
        "before": row.before.document(),
        "after": row.after.document(),
        "exposes_world": row.exposes_world,
        "endpoints": list(row.endpoints),
        "direction": row.direction,
        "enforced": row.enforced,
    }
    return {**document, "traffic": row.traffic} if row.traffic else document
