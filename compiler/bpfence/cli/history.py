"""`bpfence history`: the generations that were in force on this node."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

import click

from bpfence.cli.common import output_option
from bpfence.cli.node import node_options, paths_from
from bpfence.cli.printable import printable
from bpfence.loader.history import Generation, read_history


@click.command("history")
@node_options
@output_option("text", "json")
def command(state: str | None, bpffs: str | None, output: str) -> None:
    """List the generations that were in force on this node, newest first, and which of them `bpfence rollback` can
    bring back.
    """
    history = read_history(paths_from(state, bpffs))
    if output == "json":
        document = {"format_version": "1.0", "generations": [asdict(one) for one in history]}
        click.echo(json.dumps(document, indent=1))
        return
    lines = [_line(one) for one in history] or ["nothing is in force"]
    click.echo(printable("\n".join(lines), keep_lines=True))


def _line(one: Generation) -> str:
    since = datetime.fromtimestamp(one.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    notes = [f"{len(one.policies)} policies" if one.kept else "artefact no longer on disk"]
    notes += [f"generation {one.repeats} again"] if one.repeats else []
    notes += ["in force"] if one.in_force else []
    return f"{one.number}  {since}  {', '.join(notes)}"
