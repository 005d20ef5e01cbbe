"""Many selectors that differ in their values alone: the text in, the same tree as `parse_selector` gives out, faster.

What stands in quotes is never looked into by the grammar, so selectors that are equal outside of their quotes have
trees that are equal but for their values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bpfence.selectors.parser import MAX_LENGTH, SelectorError, parse_selector
from bpfence.selectors.syntax import AllOf, AnyOf, Criterion, Negation, Operator, Selector

_STRING = re.compile(r"\"[^\"]*\"|'[^']*'")
_SETS = (Operator.IN, Operator.NOT_IN)


class ShapeParser:
    """Remembers the tree of every shape that it has met: the text without what its quotes hold."""

    def __init__(self) -> None:
        self._trees: dict[str, Selector] = {}

    def parse(self, text: str) -> Selector:
        """As `parse_selector`."""
        parts = _STRING.split(text)
        if len(text) > MAX_LENGTH or any("'" in part or '"' in part for part in parts):
            return parse_selector(text)
        shape = "''".join(parts)
        tree = self._trees.get(shape)
        if tree is None:
            try:
                tree = self._trees[shape] = parse_selector(_numbered(parts))
            except SelectorError:
                return parse_selector(text)  # what is wrong, and where, is to be said of this text
        return _filled(tree, [value[1:-1] for value in _STRING.findall(text)])


def _numbered(parts: Sequence[str]) -> str:
    """The shape with the number of each string as its value."""
    return "".join(f"'{number - 1}'{part}" if number else part for number, part in enumerate(parts))


def _filled(tree: Selector, values: Sequence[str]) -> Selector:
    match tree:
        case Criterion(label, operator, numbers):
            own = [values[int(number)] for number in numbers]
            return Criterion(label, operator, tuple(sorted(set(own)) if operator in _SETS else own))
        case Negation(item):
            return Negation(_filled(item, values))
        case AllOf(items):
            return AllOf(tuple(_filled(item, values) for item in items))
        case AnyOf(items):
            return AnyOf(tuple(_filled(item, values) for item in items))
        case _:
            return tree
