"""One object's diagnostics: paths inside the object in, located messages out."""

from __future__ import annotations

from dataclasses import dataclass

from bpfence.diagnostics import Diagnostics
from bpfence.options import CiliumProfile, Options
from bpfence.source.documents import Document, Path


@dataclass(frozen=True, slots=True)
class Report:
    """Says things about one object, under one set of options."""

    document: Document
    title: str
    namespace: str
    diagnostics: Diagnostics
    options: Options

    @property
    def profile(self) -> CiliumProfile:
        return self.options.cilium_profile

    @property
    def is_old(self) -> bool:
        """Whether the older profile is in force."""
        return self.options.cilium_profile == "1.18"

    def error(self, code: str, path: Path, message: str, help: str = "", of_key: bool = False) -> None:  # noqa: A002 - the field's word
        span = self.document.key_span(*path) if of_key else self.document.span(*path)
        self.diagnostics.error(code, span, message, help, self.title)

    def warning(self, code: str, path: Path, message: str, help: str = "", of_key: bool = False) -> None:  # noqa: A002
        span = self.document.key_span(*path) if of_key else self.document.span(*path)
        self.diagnostics.warning(code, span, message, help, self.title)

    def note(self, code: str, path: Path, message: str, help: str = "") -> None:  # noqa: A002
        self.diagnostics.note(code, self.document.span(*path), message, help, self.title)

    def refuse(self, code: str, path: Path, message: str, help: str = "") -> None:  # noqa: A002
        """Something this version can't enforce: an error, or a warning when the policy will deny all instead."""
        span = self.document.key_span(*path)
        if not self.options.allow_unsupported:
            self.diagnostics.error(code, span, message, help, self.title)
            return
        self.diagnostics.warning(
            code, span, f"{message}; the policy denies everything for the endpoints it selects", help, self.title
        )
