"""`bpfence unload`: take bpfence off this node."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from bpfence.cli.common import output_option
from bpfence.cli.node import LOCK_SECONDS, node_options, paths_from
from bpfence.cli.printable import printable
from bpfence.loader.unload import UnloadReport, unload


@click.command("unload")
@click.option("--force", is_flag=True, help="Also take off dispatchers whose pins are elsewhere or lost.")
@node_options
@output_option("text", "json")
def command(force: bool, state: str | None, bpffs: str | None, output: str) -> None:
    """Take bpfence off this node: every packet passes, and the machine is as it was before the first apply.

    Acts on the current network namespace. Removes the artefacts of past generations too.
    """
    show_unloaded(unload(paths_from(state, bpffs), force, LOCK_SECONDS), output)


def show_unloaded(report: UnloadReport, output: str) -> None:
    """What was taken off, as text or JSON."""
    click.echo(
        json.dumps({"format_version": "1.0", **asdict(report)}, indent=1)
        if output == "json"
        else printable(_text(report), keep_lines=True)
    )


def _text(report: UnloadReport) -> str:
    lines = [f"- interface {name}" for name in report.detached]
    lines += [f"{name}: a dispatcher of another bpfence stays (--force removes it too)" for name in report.left]
    what = f"generation {report.generation} is no longer in force" if report.generation else "nothing was in force"
    return "\n".join((*lines, what))
