"""Kubernetes label selectors: a selector as written and labels in, yes or no out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class Requirement(Protocol):
    """An item of ``matchExpressions``."""

    @property
    def key(self) -> str: ...

    @property
    def operator(self) -> str: ...

    @property
    def values(self) -> Sequence[str] | None: ...


class Selector(Protocol):
    """``matchLabels`` and ``matchExpressions``, all ANDed; an empty selector matches everything."""

    @property
    def match_labels(self) -> Mapping[str, str] | None: ...

    @property
    def match_expressions(self) -> Sequence[Requirement] | None: ...


Lookup = Callable[[str], str | None]
"""A selector's key -> the value the object has under it, None when absent."""


def selector_matches(selector: Selector | None, lookup: Lookup) -> bool:
    """Whether every entry holds (LabelSelector of the Kubernetes API). No selector: everything matches."""
    if selector is None:
        return True
    labels_hold = all(lookup(key) == value for key, value in (selector.match_labels or {}).items())
    return labels_hold and all(_holds(item, lookup(item.key)) for item in selector.match_expressions or ())


def _holds(requirement: Requirement, value: str | None) -> bool:
    """``NotIn`` and ``DoesNotExist`` are true when the key is absent."""
    if requirement.operator == "Exists":
        return value is not None
    if requirement.operator == "DoesNotExist":
        return value is None
    if requirement.operator == "In":
        return value is not None and value in (requirement.values or ())
    if requirement.operator == "NotIn":
        return value is None or value not in (requirement.values or ())
    raise ValueError(f"unknown operator {requirement.operator}")
