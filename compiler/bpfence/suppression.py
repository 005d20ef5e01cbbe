"""Diagnostics and the comments that hide some of them in; what is left to say out.

Errors stay. A comment that hides nothing is said, so that none outlives its reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bpfence.diagnostics import Diagnostic, Diagnostics
from bpfence.source.suppressions import Suppression


@dataclass(frozen=True, slots=True)
class Remaining:
    """``items``: sorted. ``hidden``: how many were taken out."""

    items: tuple[Diagnostic, ...]
    hidden: int


def suppress(items: Iterable[Diagnostic], suppressions: Iterable[Suppression], *, complete: bool = True) -> Remaining:
    """Take out what the comments hide. ``complete``: ``items`` is all there is to say, so idle comments are told."""
    wanted = {(s.path, s.line, code): s for s in suppressions for code in s.codes}
    found = tuple(items)
    if not wanted:
        return Remaining(found, 0)
    kept: list[Diagnostic] = []
    used: set[tuple[str, int, str]] = set()
    errors: set[tuple[str, int, str]] = set()
    for item in found:
        key = (item.span.path, item.span.line, item.code)
        if key not in wanted:
            kept.append(item)
        elif item.is_error:
            kept.append(item)
            errors.add(key)
        else:
            used.add(key)
    hidden = len(found) - len(kept)
    left = Diagnostics(kept)
    if complete:
        for key, comment in wanted.items():
            if key not in used:
                _report_idle(key[2], comment, key in errors, left)
    return Remaining(left.sorted(), hidden)


def _report_idle(code: str, comment: Suppression, is_error: bool, diagnostics: Diagnostics) -> None:
    reason = "errors can't be hidden" if is_error else "nothing of that code is said about the line"
    diagnostics.note("SRC031", comment.span, f"this comment does not hide {code}: {reason}", "remove it")
