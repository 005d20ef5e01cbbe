"""One object's diagnostics: paths inside the object in, located messages out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.kubernetes import codes
from bpfence.dialects.kubernetes.model import LabelSelector
from bpfence.dialects.label_syntax import Requirement, selector_problems
from bpfence.source.documents import Document

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Says things about one object. ``lenient``: unsupported things are warnings, because they will deny instead."""

    document: Document
    title: str
    diagnostics: Diagnostics
    lenient: bool = False

    def error(self, code: str, path: Path, message: str, help: str = "", of_key: bool = False) -> None:  # noqa: A002 - the field's word
        span = self.document.key_span(*path) if of_key else self.document.span(*path)
        self.diagnostics.error(code, span, message, help, self.title)

    def warning(self, code: str, path: Path, message: str, help: str = "", of_key: bool = False) -> None:  # noqa: A002
        span = self.document.key_span(*path) if of_key else self.document.span(*path)
        self.diagnostics.warning(code, span, message, help, self.title)

    def note(self, code: str, path: Path, message: str, help: str = "") -> None:  # noqa: A002
        self.diagnostics.note(code, self.document.span(*path), message, help, self.title)

    def refuse(self, code: str, path: Path, message: str, denies: str, help: str = "", of_key: bool = False) -> None:  # noqa: A002
        """Something this version can't enforce; ``denies`` says what happens instead under --allow-unsupported."""
        span = self.document.key_span(*path) if of_key else self.document.span(*path)
        if self.lenient:
            self.diagnostics.warning(code, span, f"{message}; {denies}", help, self.title)
        else:
            self.diagnostics.error(code, span, message, help, self.title)

    def exactly_one(self, code: str, path: Path, given: Iterable[str], choices: str) -> bool:
        """Report unless exactly one member of a union is given."""
        members = list(given)
        if len(members) == 1:
            return True
        found = f"has {' and '.join(members)}" if members else "has none of them"
        self.error(code, path, f"exactly one of {choices} must be given; this item {found}")
        return False

    def selector(self, selector: LabelSelector | None, *path: str | int) -> None:
        """Report what the API server would refuse in a label selector."""
        if selector is None:
            return
        requirements = [Requirement(item.key, item.operator, item.values) for item in selector.match_expressions]
        for found in selector_problems(selector.match_labels, requirements):
            self.error(codes.SELECTOR, (*path, *found.path), found.message, found.help, found.of_key)
