"""The text of a JSON file in; plain data, with places found only when somebody asks, out.

The standard library's scanner does the reading, item by item for lists, so that each item's line is known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bpfence.diagnostics import Diagnostics
from bpfence.source.files import FoundFile
from bpfence.source.json_place import JsonPlace
from bpfence.source.json_scan import TextPosition, first_too_deep, scan_json
from bpfence.source.limits import Limits
from bpfence.source.spans import Span
from bpfence.source.stops import StopReading

_SPACE = re.compile(r"[ \t\n\r]*")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_JSON_START = re.compile(r"\s*(?:\{\s*[\"}]|\[)")
_MOST_REPORTS = 100


class DuplicateKeyError(ValueError):
    """Some mapping of the text has a key twice."""


def looks_like_json(text: str) -> bool:
    """Whether text that may be YAML begins like the output of ``kubectl -o json``."""
    return _JSON_START.match(text) is not None


def read_json(file: FoundFile, text: str, diagnostics: Diagnostics, limits: Limits) -> Iterator[tuple[Any, JsonPlace]]:
    """The values of a JSON file (one, or several after each other). Mistakes become diagnostics.

    Raises json.JSONDecodeError when the text is not JSON: the caller may know another reading.
    """
    reader = _Reader(file, text, diagnostics, limits)
    try:
        reader.check_size()
        while (value := reader.next_value()) is not None:
            yield value
    except StopReading as stop:
        span = Span(file.path, stop.line + 1, stop.column + 1, stop.line + 1, stop.column + 2, file.relative)
        diagnostics.error(stop.code, span, stop.message, stop.help_text)


def report_json_syntax(file: FoundFile, failure: json.JSONDecodeError, diagnostics: Diagnostics) -> None:
    """The diagnostic for text that is not JSON."""
    span = Span(file.path, failure.lineno, failure.colno, failure.lineno, failure.colno + 1, file.relative)
    diagnostics.error("SRC005", span, f"not valid JSON: {failure.msg}", "check commas, quotes and brackets here")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise DuplicateKeyError
    return mapping


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value


def _no_constant(text: str) -> float:
    raise ValueError(text)


def _decoder(*, strict: bool) -> json.JSONDecoder:
    """``strict`` refuses keys that are written twice."""
    hook = _unique if strict else None
    return json.JSONDecoder(object_pairs_hook=hook, parse_float=_finite, parse_constant=_no_constant)


@dataclass(slots=True)
class _Reader:
    """A cursor over the text; ``at`` only moves forward."""

    file: FoundFile
    text: str
    diagnostics: Diagnostics
    limits: Limits
    decoder: json.JSONDecoder = field(default_factory=lambda: _decoder(strict=True))
    at: TextPosition = field(default_factory=TextPosition)
    has_surrogates: bool = False

    def check_size(self) -> None:
        """Refuse text with more values than the limit, estimated by its punctuation, before anything is built."""
        text, most = self.text, self.limits.json_nodes
        # a text has no more values than characters
        if len(text) > most and text.count(",") + text.count("{") + text.count("[") > most:
            raise StopReading("SRC007", 0, 0, f"more than {most} values in one file")
        self.has_surrogates = _SURROGATE.search(text) is not None

    def next_value(self) -> tuple[Any, JsonPlace] | None:
        """The next value of the file; None at the end."""
        offset = self._skip(self.at.offset)
        if offset == len(self.text):
            return None
        start = self.at = self.at.advance(self.text, offset)
        items: list[JsonPlace] = []
        if self.text[offset] == "{":
            data, end = self._mapping(offset, items)
        else:
            data, end = self._decode(offset)
        self.at = self.at.advance(self.text, end)
        return data, JsonPlace(self.file, self.text, start, self.at, data, items)

    def _mapping(self, offset: int, items: list[JsonPlace]) -> tuple[dict[str, Any], int]:
        """A mapping key by key, so that the items of a list of objects are met one by one."""
        data: dict[str, Any] = {}
        key_offsets: dict[str, int] = {}
        offset = self._skip(offset + 1)
        if self.text[offset : offset + 1] == "}":
            return data, offset + 1
        while True:
            key_offset = offset
            key, offset = self._key(offset)
            if key == "items" and key not in data and self.text[offset : offset + 1] == "[":
                data[key], offset = self._items(offset, items)
            else:
                value, offset = self._decode(offset, 1)
                data.setdefault(key, value)
            if key in key_offsets:
                self._report_duplicate(key, key_offsets[key], key_offset)
            key_offsets.setdefault(key, key_offset)
            offset, ended = self._separator(offset, "}")
            if ended:
                return data, offset

    def _key(self, offset: int) -> tuple[str, int]:
        """The key at the offset, and the offset of its value."""
        if self.text[offset : offset + 1] != '"':
            raise json.JSONDecodeError("a key in double quotes is expected", self.text, offset)
        key, end = self._decode(offset)
        colon = self._skip(end)
        if self.text[colon : colon + 1] != ":":
            raise json.JSONDecodeError("a colon is expected", self.text, colon)
        return key, self._skip(colon + 1)

    def _separator(self, offset: int, closing: str) -> tuple[int, bool]:
        """(offset of the next member, False), or (offset after the closing bracket, True)."""
        offset = self._skip(offset)
        character = self.text[offset : offset + 1]
        if character == closing:
            return offset + 1, True
        if character != ",":
            raise json.JSONDecodeError(f"a comma or {closing} is expected", self.text, offset)
        return self._skip(offset + 1), False

    def _items(self, offset: int, places: list[JsonPlace]) -> tuple[list[Any], int]:
        items: list[Any] = []
        offset = self._skip(offset + 1)
        if self.text[offset : offset + 1] == "]":
            return items, offset + 1
        while True:
            start = self.at = self.at.advance(self.text, offset)
            item, offset = self._decode(offset, 2)
            self.at = self.at.advance(self.text, offset)
            items.append(item)
            places.append(JsonPlace(self.file, self.text, start, self.at, item))
            offset, ended = self._separator(offset, "]")
            if ended:
                return items, offset

    def _decode(self, offset: int, outside: int = 0) -> tuple[Any, int]:
        """The value at the offset and the offset after it; ``outside``: how many levels are open around it."""
        try:
            value, end = self.decoder.raw_decode(self.text, offset)
        except RecursionError:
            raise self._too_deep(offset, outside) from None
        except DuplicateKeyError:
            value, end = self._decode_duplicates(offset, outside)
        except json.JSONDecodeError:
            raise
        except ValueError:
            raise self._stop("SRC013", offset, "a number here is too large, or not a number of JSON") from None
        if isinstance(value, dict | list) and self._is_deep(value, offset, end, self.limits.depth - outside):
            raise self._too_deep(offset, outside)
        if self.has_surrogates and not _is_unicode(value):
            raise self._stop("SRC003", offset, "a half of a surrogate pair stands alone in a text")
        return value, end

    def _is_deep(self, value: Any, offset: int, end: int, limit: int) -> bool:
        """Whether the value goes deeper; most have fewer brackets than that."""
        brackets = self.text.count("{", offset, end) + self.text.count("[", offset, end)
        return brackets > limit and _deeper_than(value, limit)

    def _decode_duplicates(self, offset: int, outside: int) -> tuple[Any, int]:
        """Read on in spite of doubled keys, and report each with its place."""
        try:
            value, end = _decoder(strict=False).raw_decode(self.text, offset)
        except RecursionError:
            raise self._too_deep(offset, outside) from None
        start = self.at.advance(self.text, offset)
        scan = scan_json(self.file, self.text, start, end, _MOST_REPORTS)
        for first, second in scan.duplicates:
            self._duplicate(scan.marks.span(first), scan.marks.span(second))
        return value, end

    def _report_duplicate(self, key: str, first: int, second: int) -> None:
        width = len(key) + 2
        self._duplicate(self._span(first, width), self._span(second, width))

    def _duplicate(self, first: Span, second: Span) -> None:
        line = f"a key is written twice in one mapping, first at {first}"
        self.diagnostics.error("SRC009", second, line, "remove one of the two, or join them")

    def _span(self, offset: int, width: int) -> Span:
        at = TextPosition().advance(self.text, offset)
        line, column = at.line + 1, at.column + 1
        return Span(self.file.path, line, column, line, column + width, self.file.relative)

    def _too_deep(self, offset: int, outside: int) -> StopReading:
        start = TextPosition().advance(self.text, offset)
        line, column = first_too_deep(self.text, start, self.limits.depth - outside)
        return StopReading("SRC006", line, column, f"nested deeper than {self.limits.depth} levels")

    def _stop(self, code: str, offset: int, message: str) -> StopReading:
        at = TextPosition().advance(self.text, offset)
        return StopReading(code, at.line, at.column, message)

    def _skip(self, offset: int) -> int:
        match = _SPACE.match(self.text, offset)
        return match.end() if match else offset


def _deeper_than(value: Any, limit: int) -> bool:
    """Level by level, as this runs over every value of the input."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
