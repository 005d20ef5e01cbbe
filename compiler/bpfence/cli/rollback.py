"""`bpfence rollback`: bring an earlier generation into force again."""

from __future__ import annotations

import click

from bpfence.cli.apply import show_report
from bpfence.cli.common import output_option
from bpfence.cli.node import node_options, paths_from
from bpfence.loader.history import rollback
from bpfence.loader.transaction import ApplySettings


@click.command("rollback")
@click.argument("generation", type=click.IntRange(min=1), required=False)
@click.option("--dry-run", is_flag=True, help="Do everything up to and including the proof, then leave no trace.")
@click.option("--force", is_flag=True, help="Go back even if it cuts the ssh connection you are using.")
@node_options
@output_option("text", "json")
def command(
    generation: int | None, dry_run: bool, force: bool, state: str | None, bpffs: str | None, output: str
) -> None:
    """Bring an earlier generation into force again, in one step like `bpfence apply`.

    GENERATION: a number of `bpfence history`; without it the one before what is in force. It comes back under a new
    number. Interfaces are looked up anew; pods that came since are not in the old artefact and are not restricted.
    """
    show_report(rollback(ApplySettings(paths_from(state, bpffs), dry_run, force), generation), output)
