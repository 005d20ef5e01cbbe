"""The syntax tree of a Calico selector: frozen, hashable, without parentheses or white space."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Operator(StrEnum):
    """How a test reads a label. A missing label makes NOT_EQUAL and NOT_IN true and every other test false."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    IN = "in"
    NOT_IN = "not in"
    CONTAINS = "contains"
    STARTS_WITH = "starts with"
    ENDS_WITH = "ends with"
    HAS = "has"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One test of one label. ``values``: sorted and unique for IN and NOT_IN, none for HAS, else exactly one."""

    label: str
    operator: Operator
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Everything:
    """``all()``, also written as the empty selector."""


@dataclass(frozen=True, slots=True)
class Global:
    """``global()``: true by itself; a policy's namespace selector gives it a meaning."""


@dataclass(frozen=True, slots=True)
class Negation:
    """``!item``; never directly around another negation."""

    item: Selector


@dataclass(frozen=True, slots=True)
class AllOf:
    """``a && b && ...``: two or more items, as written; nested ones come from parentheses."""

    items: tuple[Selector, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """``a || b || ...``: two or more items, as written."""

    items: tuple[Selector, ...]


Selector = Criterion | Everything | Global | Negation | AllOf | AnyOf
