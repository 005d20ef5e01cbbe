"""What bpfence tells people about their input: stable code, severity, place, message, help."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from bpfence.errors import InputError
from bpfence.source.spans import Span


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message. ``policy`` is ``Kind namespace/name`` of the object it is about, or empty."""

    code: str
    severity: Severity
    message: str
    span: Span
    help: str = ""
    policy: str = ""

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR


@dataclass(slots=True)
class Diagnostics:
    """Collects what one stage has to say. A stage reports everything it finds, then ``stop_on_errors`` ends the run."""

    items: list[Diagnostic] = field(default_factory=list)

    def error(self, code: str, span: Span, message: str, help: str = "", policy: str = "") -> None:  # noqa: A002 - the field's word
        self.items.append(Diagnostic(code, Severity.ERROR, message, span, help, policy))

    def warning(self, code: str, span: Span, message: str, help: str = "", policy: str = "") -> None:  # noqa: A002
        self.items.append(Diagnostic(code, Severity.WARNING, message, span, help, policy))

    def note(self, code: str, span: Span, message: str, help: str = "", policy: str = "") -> None:  # noqa: A002
        self.items.append(Diagnostic(code, Severity.NOTE, message, span, help, policy))

    def extend(self, others: Iterable[Diagnostic]) -> None:
        self.items.extend(others)

    @property
    def has_errors(self) -> bool:
        return any(item.is_error for item in self.items)

    def sorted(self) -> tuple[Diagnostic, ...]:
        """All messages in the order of their places, each once."""
        return tuple(sorted(dict.fromkeys(self.items), key=lambda d: (d.span, d.code, d.message)))

    def stop_on_errors(self) -> None:
        """Raise ``InputError`` with everything collected when there is an error among it."""
        if self.has_errors:
            raise InputError(self.sorted())
