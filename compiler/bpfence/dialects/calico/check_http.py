"""Checks of ``http``: what Calico refuses. (A valid ``http`` is refused elsewhere: packets can't be judged by it.)"""

from __future__ import annotations

from bpfence.dialects.calico import codes
from bpfence.dialects.calico.model import HttpMatch, HttpPath, Rule
from bpfence.dialects.calico.report import Report
from bpfence.dialects.calico.values import Protocol
from bpfence.source.documents import Path

MAX_ITEMS = 20
MAX_PATH = 1024
_TCP = 6


def check_http(report: Report, path: Path, rule: Rule, direction: str, protocol: Protocol | None) -> None:
    """Report a malformed ``http`` and one in a rule that can't have it."""
    place = (*path, "http")
    if rule.action != "Allow":
        report.error(codes.HTTP, place, f"http can't stand in a rule with action {rule.action}")
    if direction == "egress":
        report.error(codes.HTTP, place, "http can't stand in an egress rule")
    if protocol is not None and protocol.number != _TCP:
        report.error(codes.HTTP, place, f"http needs protocol TCP, not {rule.protocol}")
    if rule.http is not None:
        _check_lists(report, place, rule.http)


def _check_lists(report: Report, path: Path, http: HttpMatch) -> None:
    for name, items in (("methods", http.methods), ("paths", http.paths)):
        if len(items) > MAX_ITEMS:
            report.error(codes.HTTP, (*path, name), f"http has {len(items)} {name}, the limit is {MAX_ITEMS}")
    if len(set(http.methods)) < len(http.methods):
        report.error(codes.HTTP, (*path, "methods"), "an http method is listed twice")
    for index, item in enumerate(http.paths):
        if problem := _path_problem(item):
            report.error(codes.HTTP, (*path, "paths", index), f"the http path {problem}")


def _path_problem(item: HttpPath) -> str:
    text = item.exact or item.prefix
    if bool(item.exact) == bool(item.prefix):
        return "needs exactly one of exact and prefix"
    if len(text) > MAX_PATH:
        return f"has {len(text)} characters, the limit is {MAX_PATH}"
    if not text.startswith("/"):
        return f"{text!r} does not begin with '/'"
    if any(character in text for character in "?# "):
        return f"{text!r} contains '?', '#' or a space"
    return ""
