"""`bpfence confirm`: keep the generation in force that would go back by itself."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from bpfence.cli.common import output_option
from bpfence.cli.duration import duration_text
from bpfence.cli.node import node_options, paths_from
from bpfence.loader.confirm import ConfirmReport, confirm
from bpfence.loader.pending import outcome, seconds_left
from bpfence.loader.state import PendingConfirmation


@click.command("confirm")
@node_options
@output_option("text", "json")
def command(state: str | None, bpffs: str | None, output: str) -> None:
    """Keep the generation that `bpfence apply --confirm-within` brought into force.

    After the deadline it is too late (exit code 3): what was there before is in force again.
    """
    report = confirm(paths_from(state, bpffs))
    click.echo(json.dumps({"format_version": "1.0", **asdict(report)}, indent=1) if output == "json" else _text(report))


def _text(report: ConfirmReport) -> str:
    if report.already:
        return f"generation {report.generation} is confirmed already"
    return f"generation {report.generation} is confirmed ({duration_text(report.left)} were left)"


def pending_text(pending: PendingConfirmation) -> str:
    """What happens unless somebody confirms."""
    left = seconds_left(pending)
    failed = f" (tried, and failed: {pending.failure})" if pending.failure else ""
    if left <= 0:
        return f"not confirmed in time: {outcome(pending)}{failed}"
    return f"to be confirmed within {duration_text(left)} with `bpfence confirm`, else {outcome(pending)}"
