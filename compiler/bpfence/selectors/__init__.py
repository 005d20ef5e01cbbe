"""Selectors: languages in which policies name labelled things. Text in, small frozen trees out.

The names exported here are Calico's selector language; the others have modules of their own.
"""

from bpfence.selectors.canonical import canonical
from bpfence.selectors.matching import matches
from bpfence.selectors.parser import SelectorError, parse_selector, selector_depth
from bpfence.selectors.syntax import AllOf, AnyOf, Criterion, Everything, Global, Negation, Operator, Selector

__all__ = [
    "AllOf",
    "AnyOf",
    "Everything",
    "Global",
    "Negation",
    "Operator",
    "Selector",
    "SelectorError",
    "Criterion",
    "canonical",
    "matches",
    "parse_selector",
    "selector_depth",
]
