"""Exceptions: for misuse and for the kernel. Mistakes in the user's input are diagnostics, not exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfence.diagnostics import Diagnostic


class BpfenceError(Exception):
    """Base of everything bpfence raises on purpose. ``exit_code`` is what the command line answers with."""

    exit_code = 2


class InputError(BpfenceError):
    """The input can't be used. Carries every diagnostic found, errors among them."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        self.diagnostics = diagnostics
        errors = [item for item in diagnostics if item.is_error]
        super().__init__(f"{len(errors)} error(s) in the input")


class UsageError(BpfenceError):
    """The command or the call was wrong: an unknown endpoint, an option out of range."""


class UnsupportedError(BpfenceError):
    """The request names something this version can't do."""


class BudgetError(BpfenceError):
    """The tables would not fit their budget; the message has the numbers."""


class KernelError(BpfenceError):
    """The kernel or the node refused; the old state is untouched."""

    exit_code = 3


class VerifierError(KernelError):
    """The kernel's verifier rejected a program; ``log`` is the whole verifier output."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class AttachConflict(KernelError):
    """Somebody else's program stands where ours would have to."""


class FeatureMissing(KernelError):
    """The kernel or the machine lacks something; the message says what and how to get it."""


class PermissionMissing(KernelError):
    """Not enough privileges."""
