"""Checks of selector fields: text in, diagnostics out."""

from __future__ import annotations

import re

from bpfence.dialects.calico import codes
from bpfence.dialects.calico.report import Report
from bpfence.selectors import SelectorError, parse_selector, selector_depth
from bpfence.source.documents import Path

MAX_SELECTOR = 1024

MAX_SELECTOR_DEPTH = 48
"""Levels of the tree; what a rule adds around it stays within what a program may have."""

GLOBAL_ALONE = re.compile(r"[ \t]*global\([ \t]*\)[ \t]*")


def check_selector(report: Report, path: Path, text: str, limit: int = MAX_SELECTOR) -> None:
    """A selector over endpoints. ``global(`` is refused as text, wherever it stands, as Calico does."""
    if "global(" in text:
        report.error(
            codes.SELECTOR_GLOBAL,
            path,
            f"global() is not allowed in {path[-1]}",
            "use it alone in a rule's namespaceSelector",
        )
        return
    _check_text(report, path, text, limit)


def check_namespace_selector(report: Report, path: Path, text: str) -> None:
    """The namespace selector of a rule's side, where ``global()`` may stand alone."""
    if "global(" in text and not GLOBAL_ALONE.fullmatch(text):
        message = "global() can't be combined with other terms"
        report.error(codes.NAMESPACE_GLOBAL, path, message, "write 'global()' alone, and the rest in a rule of its own")
        return
    _check_text(report, path, text, MAX_SELECTOR)


def _check_text(report: Report, path: Path, text: str, limit: int) -> None:
    if len(text) > limit:
        message = f"{path[-1]} has {len(text)} characters, the limit is {limit}"
        report.error(codes.SELECTOR_LENGTH, path, message, "split the policy")
        return
    try:
        selector = parse_selector(text)
    except SelectorError as error:
        message = f"{path[-1]} can't be read: {error.message} (column {error.column} of the text)"
        report.error(codes.SELECTOR, path, message, _help(text))
        return
    if text.count("(") + text.count("!") > MAX_SELECTOR_DEPTH // 2 and selector_depth(selector) > MAX_SELECTOR_DEPTH:
        message = f"{path[-1]} is nested deeper than {MAX_SELECTOR_DEPTH} levels"
        report.error(codes.SELECTOR_DEPTH, path, message, "write it with fewer parentheses and negations")


def _help(text: str) -> str:
    return "write it on one line, or in a '>-' block, which has no line break at its end" if "\n" in text else ""
