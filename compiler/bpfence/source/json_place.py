"""The locator of a JSON object: knows where the object stands, and scans its text when a part of it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bpfence.source.documents import Path
from bpfence.source.files import FoundFile
from bpfence.source.json_scan import TextPosition, scan_json
from bpfence.source.marks import Place
from bpfence.source.spans import Span


@dataclass(slots=True)
class JsonPlace:
    """``items``: the locators of the members of ``data["items"]``, when the object is a list of objects."""

    file: FoundFile
    text: str
    start: TextPosition
    end: TextPosition
    data: Any
    items: list[JsonPlace] = field(default_factory=list)
    _scanned: Place | None = None

    def __call__(self, path: Path, of_key: bool) -> Span:
        if not path:
            return self._root()
        item = self._item(path)
        return item(path[2:], of_key) if item else self._scan()(path, of_key)

    def below(self, *path: str | int) -> JsonPlace | Place:
        """The locator of the data at ``path``, which exists."""
        item = self._item(path)
        if item is None:
            return self._scan().below(*path)
        return item.below(*path[2:]) if path[2:] else item

    def _item(self, path: Path) -> JsonPlace | None:
        if len(path) < 2 or path[0] != "items" or not isinstance(path[1], int):
            return None
        return self.items[path[1]] if path[1] < len(self.items) else None

    def _root(self) -> Span:
        start, end, file = self.start, self.end, self.file
        return Span(file.path, start.line + 1, start.column + 1, end.line + 1, end.column + 1, file.relative)

    def _scan(self) -> Place:
        if self._scanned is None:
            scan = scan_json(self.file, self.text, self.start, self.end.offset)
            self._scanned = Place(scan.marks, 0, self.data)
        return self._scanned
