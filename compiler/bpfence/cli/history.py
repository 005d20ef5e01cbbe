"""`bpfence history`: the generations that were in force on this node."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import click

from bpfence.cli.common import output_option
from bpfence.cli.confirm import pending_text
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
        document = {"format_version": "1.0", "generations": [_document(one) for one in history]}
        click.echo(json.dumps(document, indent=1))
        return
    lines = [_line(one) for one in history] or ["nothing is in force"]
    click.echo(printable("\n".join(lines), keep_lines=True))


def _line(one: Generation) -> str:
    since = datetime.fromtimestamp(one.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    notes = [f"{len(one.policies)} policies" if one.kept else "artefact no longer on disk"]
    notes += [f"generation {one.repeats} again"] if one.repeats else []
    notes += [f"generation {one.refreshes} for other interfaces"] if one.refreshes else []
    notes += [f"by {one.by}"] if one.by else []
    notes += [f"taken back by generation {one.taken_back_by}"] if one.taken_back_by else []
    notes += ["confirmed"] if one.confirmation == "confirmed" else []
    notes += ["in force"] if one.in_force else []
    notes += [pending_text(one.pending)] if one.pending else []
    return f"{one.number}  {since}  {', '.join(notes)}"


def _document(one: Generation) -> dict[str, Any]:
    pending = one.pending.model_dump() if one.pending else None
    return {**asdict(replace(one, pending=None)), "pending": pending}
