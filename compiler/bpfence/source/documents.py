"""Located documents: plain Python data plus the place of every node, found when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bpfence.source.spans import Span

Path = tuple[str | int, ...]
Locator = Callable[[Path, bool], Span]
"""(path, of_key) -> place of the value (or of the key) at the path; of its longest prefix when it is missing."""


@dataclass(frozen=True, slots=True)
class Document:
    """One object of the input. ``data`` holds null, bool, int, float, str, list, dict, UnquotedDate; never shared."""

    data: Mapping[str, Any]
    locate: Locator

    def span(self, *path: str | int) -> Span:
        """Where the value at ``path`` stands (its nearest existing ancestor when it is missing)."""
        return self.locate(path, False)

    def key_span(self, *path: str | int) -> Span:
        """Where the key of the mapping entry at ``path`` stands."""
        return self.locate(path, True)

    @property
    def api_version(self) -> str:
        value = self.data.get("apiVersion")
        return value if isinstance(value, str) else ""

    @property
    def kind(self) -> str:
        value = self.data.get("kind")
        return value if isinstance(value, str) else ""

    @property
    def metadata(self) -> Mapping[str, Any]:
        value = self.data.get("metadata")
        return value if isinstance(value, dict) else {}

    @property
    def name(self) -> str:
        value = self.metadata.get("name")
        return value if isinstance(value, str) else ""

    @property
    def namespace(self) -> str:
        """``metadata.namespace`` as written; empty when missing."""
        value = self.metadata.get("namespace")
        return value if isinstance(value, str) else ""

    @property
    def title(self) -> str:
        """``Kind namespace/name`` for messages."""
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {name}".strip()
