"""`bpfence rollback`: bring an earlier generation into force again."""

from __future__ import annotations

import click

from bpfence.cli.apply import confirm_option, refuse_confirmed_dry_run, show_report
from bpfence.cli.common import output_option
from bpfence.cli.node import LOCK_SECONDS, node_options, paths_from
from bpfence.cli.unload import show_unloaded
from bpfence.loader.history import rollback
from bpfence.loader.transaction import ApplySettings
from bpfence.loader.unload import UnloadReport


@click.command("rollback")
@click.argument("generation", type=click.IntRange(min=1), required=False)
@click.option("--dry-run", is_flag=True, help="Do everything up to and including the proof, then leave no trace.")
@click.option("--force", is_flag=True, help="Go back even if it cuts the ssh connection you are using.")
@confirm_option
@node_options
@output_option("text", "json")
def command(
    generation: int | None,
    dry_run: bool,
    force: bool,
    confirm_within: float | None,
    state: str | None,
    bpffs: str | None,
    output: str,
) -> None:
    """Bring an earlier generation into force again, in one step like `bpfence apply`.

    GENERATION: a number of `bpfence history`; without it the last one before what is in force that differs from it. It
    comes back under a new number. Interfaces are looked up anew; pods that came since are not in the old artefact and
    are not restricted. While the generation in force waits for `bpfence confirm`, this takes it back at once.
    """
    refuse_confirmed_dry_run(dry_run, confirm_within)
    where = paths_from(state, bpffs)
    settings = ApplySettings(where, dry_run, force, confirm_within=confirm_within or 0.0, wait=LOCK_SECONDS)
    report = rollback(settings, generation)
    if isinstance(report, UnloadReport):
        show_unloaded(report, output)
    else:
        show_report(report, output)
