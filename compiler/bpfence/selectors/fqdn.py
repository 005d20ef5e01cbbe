"""DNS names and name patterns: a pattern, a name and the pattern's language in; whether they match out.

The languages are those of two Cilium releases (upstream: ``pkg/fqdn/matchpattern``, ``pkg/fqdn/dns``,
``pkg/policy/api/fqdn.go``), and that of Kubernetes' ``domainNames``. A star within a label never crosses a dot, so a
pattern is matched label by label, in time proportional to pattern times name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from bpfence.options import NameProfile

MAX_LENGTH = 255

_NAME = re.compile(r"[-a-zA-Z0-9_.]+\Z")
_PATTERN = re.compile(r"[-a-zA-Z0-9_.*]+\Z")
_LABEL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A pattern in canonical form. ``labels``: between the dots. ``deep``: one or more whole labels stand in front.

    ``everything``: every name with labels of ordinary characters, and the root.
    """

    labels: tuple[str, ...]
    deep: bool = False
    everything: bool = False

    def matches(self, name: str, any_query: bool = False) -> bool:
        """Whether a name matches as a whole. ``any_query``: match-all takes every name, as rules for queries do."""
        labels = _split(_canonical(name))
        if self.everything:
            return any_query or labels == ("",) or _are_plain(labels)
        if not self.deep:
            return _match_labels(self.labels, labels)
        extra = len(labels) - len(self.labels)
        return extra >= 1 and _are_plain(labels[:extra]) and _match_labels(self.labels, labels[extra:])


def name_problem(text: str) -> str | None:
    """What is wrong with a ``matchName``."""
    return _problem(text, _NAME)


def pattern_problem(text: str) -> str | None:
    """What is wrong with a ``matchPattern``."""
    return _problem(text, _PATTERN)


@lru_cache(maxsize=65536)
def parse_pattern(text: str, profile: NameProfile) -> NamePattern:
    """The meaning of a well-formed pattern (or plain name) in a language. Raises ValueError for a malformed one."""
    trimmed = text.strip()
    if problem := pattern_problem(trimmed):
        raise ValueError(f"{text!r} {problem}")
    stars = len(trimmed) - len(trimmed.lstrip("*"))
    rest = trimmed[stars:]
    if profile == "kubernetes":
        return _parse_domain_name(trimmed)
    if trimmed == "*" or (profile != "1.18" and stars and rest in ("", ".")):
        return NamePattern((), everything=True)
    if profile != "1.18" and stars > 1 and rest.startswith("."):
        return NamePattern(_split(_canonical(rest[1:])), deep=True)
    return NamePattern(_split(_canonical(trimmed)))


def any_matches(patterns: Iterable[str], profile: NameProfile, name: str, any_query: bool = False) -> bool:
    """Whether one of the patterns matches a name; no pattern matches the empty text. ``any_query``: as of `matches`."""
    return name != "" and any(parse_pattern(text, profile).matches(name, any_query) for text in patterns)


def canonical_pattern(text: str, profile: NameProfile) -> str:
    """Equal texts for patterns that differ in spelling alone. Raises ValueError for a malformed one."""
    return "*" if parse_pattern(text, profile).everything else _canonical(text)


def depends_on_profile(text: str) -> bool:
    """Whether the two profiles differ on a pattern: a leading ``**.``, or stars alone other than ``*``."""
    stars = len(text) - len(text.lstrip("*"))
    rest = text[stars:]
    if stars == 0 or text == "*":
        return False
    return rest in ("", ".") or (stars > 1 and rest.startswith("."))


def _parse_domain_name(text: str) -> NamePattern:
    """A star stands only in front, for one or more whole labels."""
    deep = text.startswith("*.")
    labels = _split(_canonical(text))[deep:]
    if not labels or any("*" in label or not label for label in labels):
        raise ValueError(f"{text!r} has a star elsewhere than as the first label")
    return NamePattern(labels, deep)


def _problem(text: str, form: re.Pattern[str]) -> str | None:
    if len(text) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    if not form.match(text):
        return "has characters that no name has" if text else "is empty"
    if text.startswith(".") or ".." in text:
        return "has an empty label"
    return None


def _canonical(text: str) -> str:
    lowered = text.strip().lower()
    return lowered if lowered.endswith(".") else f"{lowered}."


def _split(canonical: str) -> tuple[str, ...]:
    """The labels of a canonical name; the root has one empty label."""
    return tuple(canonical[:-1].split("."))


def _are_plain(labels: tuple[str, ...]) -> bool:
    return all(label and _LABEL_CHARACTERS.issuperset(label) for label in labels)


def _match_labels(patterns: tuple[str, ...], labels: tuple[str, ...]) -> bool:
    return len(patterns) == len(labels) and all(map(_match_label, patterns, labels))


def _match_label(pattern: str, label: str) -> bool:
    """``*`` stands for ordinary characters, none included; everything else for itself."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == label
    *middle, last = rest
    if not label.startswith(first) or not label[len(first) :].endswith(last):
        return False
    position, end = len(first), len(label) - len(last)
    gaps: list[str] = []
    for part in middle:
        found = label.find(part, position, end)
        if found < 0:
            return False
        gaps.append(label[position:found])
        position = found + len(part)
    gaps.append(label[position:end])
    return all(_LABEL_CHARACTERS.issuperset(gap) for gap in gaps)
