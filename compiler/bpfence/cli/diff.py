"""`bpfence diff`: what would change, as connections that become allowed or denied; against the live node, too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bpfence.cli.common import automatic_notrack_option, compiler_options
from bpfence.cli.node import node_options, paths_from
from bpfence.collection import collection_paused

LIVE = "live"
_GIT = "git:"
_FORMATS = ("text", "json", "markdown")


@click.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    default="text",
    metavar="text|json|markdown|FILE.json",
    show_default=True,
    help="Output format. With live also a file for the change plan that `bpfence apply FILE.json` carries out.",
)
@click.option("--limit", type=click.IntRange(min=0), default=10000, show_default=True, help="Most rows in JSON.")
@node_options
@compiler_options
@automatic_notrack_option
def command(
    old: str, new: tuple[str, ...], output: str, limit: int, state: str | None, bpffs: str | None, **values: Any
) -> None:
    """Show which connections become allowed or denied, each with an example and the deciding rules.

    OLD: "live", or a path of policies and inventory, or an artefact folder. NEW: paths of policies and inventory, or
    one artefact folder. With live the kernel of this node is read: what `apply` would change, what was changed behind
    bpfence's back, and the live connections that would be cut. Otherwise both are compared for one node.

    Exit code 0 when nothing would change, 1 when something would; so a change plan that has something to do
    comes with 1. Read it, then apply it.

    \b
    bpfence diff live policies/ inventory.json
    bpfence diff live policies/ inventory.json -o plan.json
    bpfence apply plan.json
    bpfence diff old/ new/ --node worker-1
    """
    plan = _plan_path(old, output)
    for path in (old, *new):
        _refuse_unsupported(path, path is old)
    with collection_paused():
        if old == LIVE:
            # Not at the top, neither way: each needs much that the other does not.
            from bpfence.cli.diff_live import Wanted, show_live_diff

            wanted = Wanted("text" if plan is not None else output, plan, limit)
            changed = show_live_diff(new, paths_from(state, bpffs), values, wanted)
        else:
            from bpfence.cli.diff_offline import show_diff

            changed = show_diff(old, new, output, limit, values)
    sys.exit(1 if changed else 0)


def _plan_path(old: str, output: str) -> Path | None:
    """Where the change plan goes; UsageError for an output that is no format."""
    if output in _FORMATS:
        return None
    if not output.endswith(".json"):
        raise click.UsageError(f"-o {output}: choose text, json, markdown, or a file that ends in .json")
    if old != LIVE:
        raise click.UsageError(f"-o {output}: a change plan is made against the live node: bpfence diff live ...")
    return Path(output)


def _refuse_unsupported(path: str, is_old: bool) -> None:
    if path == LIVE and not is_old:
        raise click.UsageError("`live` comes first: bpfence diff live NEW...")
    if path.startswith(_GIT):
        raise click.UsageError(
            f"{path}: a git revision can't be read here; check it out (git worktree add DIR REF) and give the path. "
            "Supported are `live`, paths and artefact folders"
        )
