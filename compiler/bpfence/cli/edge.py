"""The edge of the program: whatever a command raises becomes a message on stderr and a documented exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import click

from bpfence.cli.commands import root
from bpfence.cli.common import emit
from bpfence.cli.printable import printable
from bpfence.collection import collection_paused
from bpfence.errors import BpfenceError, InputError

NAME = "bpfence"
TRACEBACK_VARIABLE = "BPFENCE_TRACEBACK"
LONG_RUNNING = frozenset(("bench", "demo", "observe", "watch"))
"""commands that end when somebody wants them to, or after very much work"""
EXIT_UNTRUSTED = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def run_guarded(arguments: Sequence[str]) -> int:
    """Run the arguments (without the program's name); never raises, never answers 1 for a failure of its own."""
    try:
        code = _invoke(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        return _abandon_output()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return code


def _invoke(arguments: Sequence[str]) -> int:
    try:
        with _collector(arguments), root.make_context(NAME, list(arguments)) as context:
            root.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except SystemExit as end:
        return _exit_code(end)
    except click.Abort:
        return EXIT_INTERRUPTED
    except click.ClickException as failure:
        failure.show()
        return EXIT_UNTRUSTED
    except InputError as failure:
        emit(failure.diagnostics)
        return failure.exit_code
    except BpfenceError as failure:
        click.echo(f"error: {printable(str(failure), keep_lines=True)}", err=True)
        return failure.exit_code
    except BrokenPipeError:
        raise
    except Exception as failure:  # noqa: BLE001 - the edge: a bug must not look like a finding (exit code 1)
        return _report_bug(failure)
    return 0


def _collector(arguments: Sequence[str]) -> AbstractContextManager[None]:
    """A command that reads, works and ends needs no search for garbage, which would go through millions of objects that
    are all in use; one that stays needs it.
    """
    return nullcontext() if set(arguments) & LONG_RUNNING else collection_paused()


def _exit_code(end: SystemExit) -> int:
    """What a command meant with ``sys.exit``; a message instead of a number is a failure."""
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code
    click.echo(str(end.code), err=True)
    return EXIT_UNTRUSTED


def _report_bug(failure: Exception) -> int:
    """One line; the traceback only on demand, as it helps nobody who wants to get on with their work."""
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(failure)
    text = printable(f"{type(failure).__name__}: {failure}")
    click.echo(f"internal error: {text} (set {TRACEBACK_VARIABLE}=1 to see where)", err=True)
    return EXIT_UNTRUSTED


def _abandon_output() -> int:
    """The reader is gone: point stdout at nothing, so that the interpreter's last flush stays quiet too."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
    return EXIT_BROKEN_PIPE
