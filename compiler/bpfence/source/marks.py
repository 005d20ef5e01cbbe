"""Where every node of a file stands, in one flat array; a path in the data in, its span out."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bpfence.source.documents import Path
from bpfence.source.files import FoundFile
from bpfence.source.spans import Span

WIDTH = 5
"""Numbers per node: line, column, end line, end column (all from 0), index of the node after its subtree."""

NEXT = 4


@dataclass(slots=True)
class Marks:
    """Nodes in the order of the text. A mapping is followed by key, value, key, value; a list by its items.

    INVARIANT: a mapping's children stand in the order of the dict's keys; keys written twice are in ``shadowed`` (their
    key nodes) and are not in the dict.
    """

    file: FoundFile
    numbers: array[int] = field(default_factory=lambda: array("I"))
    shadowed: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.numbers) // WIDTH

    def span(self, node: int) -> Span:
        line, column, end_line, end_column = self.numbers[node * WIDTH : node * WIDTH + NEXT]
        return Span(self.file.path, line + 1, column + 1, end_line + 1, end_column + 1, self.file.relative)

    def after(self, node: int) -> int:
        """Index of the node that follows the node's subtree."""
        return self.numbers[node * WIDTH + NEXT]

    def keys(self, node: int) -> Iterator[int]:
        """The key nodes of a mapping that count; the value of a key node is the node after it."""
        key, end = node + 1, self.after(node)
        while key < end:
            if key not in self.shadowed:
                yield key
            key = self.after(key + 1)

    def items(self, node: int) -> Iterator[int]:
        """The nodes of a list's items."""
        item, end = node + 1, self.after(node)
        while item < end:
            yield item
            item = self.after(item)


@dataclass(frozen=True, slots=True)
class Place:
    """Locator of the data whose root node is ``node``."""

    marks: Marks
    node: int
    data: Any

    def __call__(self, path: Path, of_key: bool) -> Span:
        key, node, _, found = self._walk(path)
        wants_key = of_key and key is not None and found == len(path)
        return self.marks.span(key if wants_key and key is not None else node)

    def below(self, *path: str | int) -> Place:
        """The locator of the data at ``path``, which exists."""
        _, node, data, _ = self._walk(path)
        return Place(self.marks, node, data)

    def _walk(self, path: Path) -> tuple[int | None, int, Any, int]:
        """(key node of the last step, node, data, number of steps found) of the longest existing prefix."""
        key, node, data = None, self.node, self.data
        for found, part in enumerate(path):
            step = _step(self.marks, node, data, part)
            if step is None:
                return key, node, data, found
            key, node = step
            data = data[part]
        return key, node, data, len(path)


def _step(marks: Marks, node: int, data: Any, part: str | int) -> tuple[int | None, int] | None:
    """(key node, value node) of one entry of a mapping or item of a list."""
    if isinstance(data, Mapping) and part in data:
        # An entry that was added to the data (the kind of a typed list's item) has no node: keys end first.
        for name, key in zip(data, marks.keys(node), strict=False):
            if name == part:
                return key, key + 1
    if isinstance(data, list) and isinstance(part, int) and 0 <= part < len(data):
        for index, item in enumerate(marks.items(node)):
            if index == part:
                return None, item
    return None
