"""One object's diagnostics: paths inside the object in, located messages out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.calico import codes
from bpfence.source.documents import Document, Path


@dataclass(frozen=True, slots=True)
class Report:
    """Says things about one object. ``lenient``: unsupported things are warnings, because they will deny instead."""

    document: Document
    title: str
    diagnostics: Diagnostics
    lenient: bool = False

    def error(self, code: str, path: Path, message: str, help: str = "") -> None:  # noqa: A002 - the field's word
        self.diagnostics.error(code, self.document.span(*path), message, help, self.title)

    def error_at_key(self, code: str, path: Path, message: str, help: str = "") -> None:  # noqa: A002
        """The mistake is in the key of the mapping entry at ``path``."""
        self.diagnostics.error(code, self.document.key_span(*path), message, help, self.title)

    def warning(self, code: str, path: Path, message: str, help: str = "") -> None:  # noqa: A002
        self.diagnostics.warning(code, self.document.span(*path), message, help, self.title)

    def note(self, code: str, path: Path, message: str, help: str = "") -> None:  # noqa: A002
        self.diagnostics.note(code, self.document.span(*path), message, help, self.title)

    def unsupported(self, code: str, path: Path, message: str, help: str = "") -> None:  # noqa: A002
        """A valid policy that this version can't enforce."""
        if self.lenient:
            self.warning(code, path, f"{message}; the policy denies everything it selects instead", help)
        else:
            self.error(code, path, message, help)

    def name_problem(self, code: str, path: Path, text: str, what: str, problem: Callable[[str], str | None]) -> None:
        """Report what ``problem`` finds wrong with the text."""
        if found := problem(text):
            self.error(code, path, f"the {what} {text!r} {found}")

    def repeated(self, path: Path, items: Sequence[object], what: str) -> None:
        """Warn of items that stand twice in a list that is a set."""
        seen: set[object] = set()
        for index, item in enumerate(items):
            if item in seen:
                self.warning(codes.LISTED_TWICE, (*path, index), f"{what} {item!r} is listed twice", "remove one")
            seen.add(item)
