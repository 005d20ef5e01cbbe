"""Text that is known to be JSON in; the place of every node out. Slow beside the decoder, so done on demand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from bpfence.source.files import FoundFile
from bpfence.source.marks import NEXT, WIDTH, Marks

_TOKEN = re.compile(r'\n|"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]|[^\s{}\[\]:,"]+', re.DOTALL)


@dataclass(frozen=True, slots=True)
class TextPosition:
    """An offset of a text with its line and column, all from 0."""

    offset: int = 0
    line: int = 0
    column: int = 0

    def advance(self, text: str, offset: int) -> TextPosition:
        """The position of a later offset."""
        lines = text.count("\n", self.offset, offset)
        if not lines:
            return TextPosition(offset, self.line, self.column + offset - self.offset)
        return TextPosition(offset, self.line + lines, offset - text.rindex("\n", 0, offset) - 1)


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not come yet; ``keys`` maps the keys seen to their nodes, None for a list."""

    node: int
    keys: dict[str, int] | None
    expects_key: bool = False


@dataclass(slots=True)
class JsonScan:
    """The marks of one value; ``duplicates``: (first key node, second key node) of keys written twice."""

    marks: Marks
    duplicates: list[tuple[int, int]] = field(default_factory=list)


def scan_json(
    file: FoundFile, text: str, start: TextPosition, end: int, most_duplicates: int | None = None
) -> JsonScan:
    """Marks of the value that stands at ``start`` and ends before offset ``end``.

    With ``most_duplicates`` the scan ends at that many doubled keys, and the marks are good for nothing but those.
    """
    scan = JsonScan(Marks(file))
    stack: list[_Open] = []
    for token, line, column in _tokens(text, start, end):
        if token in "}]":
            _close(scan.marks, stack.pop(), line, column + 1)
            continue
        node = _add(scan.marks, line, column, column + len(token))
        top = stack[-1] if stack else None
        if top is not None and top.expects_key:
            _note_key(scan, top, token, node)
            if len(scan.duplicates) == most_duplicates:
                return scan
            continue
        if top is not None and top.keys is not None:
            top.expects_key = True
        if token in "{[":
            stack.append(_Open(node, {} if token == "{" else None, token == "{"))
    return scan


def first_too_deep(text: str, start: TextPosition, depth: int) -> tuple[int, int]:
    """(line, column) of the first bracket beyond ``depth`` levels; of the start when there is none."""
    level = 0
    for token, line, column in _tokens(text, start, len(text)):
        if token in "{[":
            level += 1
            if level > depth:
                return line, column
        elif token in "}]":
            level -= 1
    return start.line, start.column


def _tokens(text: str, start: TextPosition, end: int) -> Iterator[tuple[str, int, int]]:
    line, line_start = start.line, start.offset - start.column
    for match in _TOKEN.finditer(text, start.offset, end):
        token = match.group()
        if token == "\n":
            line += 1
            line_start = match.end()
        else:
            yield token, line, match.start() - line_start


def _add(marks: Marks, line: int, column: int, end_column: int) -> int:
    node = len(marks)
    marks.numbers.extend((line, column, line, end_column, node + 1))
    return node


def _close(marks: Marks, closed: _Open, line: int, column: int) -> None:
    base = closed.node * WIDTH
    marks.numbers[base + 2] = line
    marks.numbers[base + 3] = column
    marks.numbers[base + NEXT] = len(marks)


def _note_key(scan: JsonScan, mapping: _Open, token: str, node: int) -> None:
    mapping.expects_key = False
    keys = mapping.keys
    if keys is None:
        return
    if token in keys:
        scan.duplicates.append((keys[token], node))
        scan.marks.shadowed.add(node)
    keys.setdefault(token, node)
