"""`bpfence watch`: follow policies and inventory, and the node's interfaces, and keep them in force."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from bpfence.cli.apply import artefact_of, report_document
from bpfence.cli.common import automatic_notrack_option, common_options, emit
from bpfence.cli.node import node_options, paths_from
from bpfence.cli.printable import printable
from bpfence.emit.artefact import Artefact
from bpfence.errors import InputError
from bpfence.loader.transaction import ApplyReport
from bpfence.loader.watch import Outlet, Watch, WatchSettings
from bpfence.timing import Stopwatch

_PLACEHOLDER = "@BPFENCE@"
UNIT = Path(__file__).resolve().parent.parent / "systemd" / "bpfence.service"


@click.command("watch")
@click.argument("paths", nargs=-1)
@click.option("--force", is_flag=True, help="Apply even if it cuts the ssh connection you are using.")
@click.option("--print-unit", is_flag=True, help="Print a systemd unit that runs this for /etc/bpfence, and end.")
@node_options
@common_options
@automatic_notrack_option
def command(
    paths: tuple[str, ...],
    force: bool,
    print_unit: bool,
    state: str | None,
    bpffs: str | None,
    output: str,
    **values: Any,
) -> None:
    """Keep policies in force on this node: apply them, then follow the files and the node's interfaces until SIGINT or
    SIGTERM. What is in force then stays in force.

    PATHS: policies and inventory, or one artefact folder. Prints one line for each generation. A change of a file is
    compiled and applied; input that can't be used is told on stderr, and the old generation stays. A pod's interface is
    policed as soon as its route is there. SIGHUP reads all files again. What another command brings into force
    (`bpfence apply`, `bpfence rollback`) stays until a file changes or SIGHUP comes.

    \b
    bpfence watch /etc/bpfence
    bpfence watch --print-unit > /etc/systemd/system/bpfence.service
    """
    if print_unit:
        click.echo(unit_text(), nl=False)
        return
    if not paths or "-" in paths:
        raise click.UsageError("name the files and folders to follow; standard input can't be followed")
    where = paths_from(state, bpffs)
    kept: list[Callable[[], None]] = []

    def compiler() -> Artefact:
        artefact, keep = artefact_of(paths, where, values, Stopwatch())
        kept[:] = [keep]
        return artefact

    def generation(report: ApplyReport) -> None:
        for warning in report.warnings:
            note(warning)
        click.echo(json.dumps(report_document(report)) if output == "json" else printable(line_of(report)))
        sys.stdout.flush()
        for keep in kept:
            keep()
        kept.clear()

    settings = WatchSettings(where, tuple(Path(path) for path in paths), force)
    Watch(settings, compiler, Outlet(generation, problem, note)).run()


def line_of(report: ApplyReport) -> str:
    """A generation on one line."""
    moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    changes = [f"+{name}" for name in (*report.policies_added, *report.attached)]
    changes += [f"-{name}" for name in (*report.policies_removed, *report.detached)]
    shown = ", ".join(changes[:8]) + (f" and {len(changes) - 8} more" if len(changes) > 8 else "")
    what = f"generation {report.generation}: {report.policies} policies, {report.endpoints} endpoints"
    return f"{moment} {what}, {report.programs_loaded} programs loaded{f' ({shown})' if shown else ''}"


def problem(error: BaseException) -> None:
    """What can't be used or is refused, to stderr; the watch goes on."""
    if isinstance(error, InputError):
        emit(error.diagnostics)
        click.echo("the input can't be used: what is in force stays", err=True)
        return
    text = str(error) or type(error).__name__
    click.echo(f"error: {printable(text, keep_lines=True)}", err=True)


def note(text: str) -> None:
    click.echo(f"warning: {printable(text)}", err=True)


def unit_text() -> str:
    """The systemd unit, with the way to this very installation in it."""
    return UNIT.read_text().replace(_PLACEHOLDER, _own_command())


def _own_command() -> str:
    found = shutil.which(sys.argv[0])
    if found and os.path.basename(found) == "bpfence":
        return os.path.abspath(found)
    return shlex.join((sys.executable, "-m", "bpfence"))
