"""`bpfence diff live`: what `apply` would change on this node, and what was changed on it behind bpfence's back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bpfence.assembly import compile_analysed
from bpfence.cli.apply import identities_in_force
from bpfence.cli.common import emit_diagnostics, options_from
from bpfence.cli.diff_input import Compiled, is_artefact
from bpfence.cli.printable import printable
from bpfence.cli.render_diff_live import live_document, live_lines
from bpfence.cli.render_diff_markdown import markdown_lines
from bpfence.emit.folder import read_artefact
from bpfence.loader.change_plan import write_change_plan
from bpfence.loader.kernel import require_kernel
from bpfence.loader.live_diff import LiveDiff, live_diff
from bpfence.loader.node import NodePaths
from bpfence.prepare import prepare
from bpfence.timing import Stopwatch


@dataclass(frozen=True, slots=True)
class Wanted:
    """``output``: text, json or markdown. ``plan``: where a change plan goes, None = nowhere. ``limit``: most rows
    in JSON.
    """

    output: str
    plan: Path | None
    limit: int


def show_live_diff(paths: tuple[str, ...], where: NodePaths, values: Mapping[str, Any], wanted: Wanted) -> bool:
    """Compare, print, write the change plan. Whether anything would change. ``values``: the command's parameters."""
    require_kernel()
    compiled = _compiled(paths, values, where)
    diff = live_diff(where, compiled.artefact, compiled.world, compiled.program)
    for warning in dict.fromkeys((*diff.warnings, *diff.drift.warnings)):
        click.echo(f"warning: {printable(warning)}", err=True)
    if wanted.plan is not None:
        write_change_plan(wanted.plan, diff, live_document(diff, wanted.limit))
    _show(diff, wanted)
    return not diff.empty


def _show(diff: LiveDiff, wanted: Wanted) -> None:
    if wanted.output == "json":
        click.echo(json.dumps(live_document(diff, wanted.limit), indent=1))
    elif wanted.output == "markdown":
        click.echo("\n".join(markdown_lines(diff.verdicts)))
    else:
        click.echo(printable("\n".join(live_lines(diff)), keep_lines=True))
    if wanted.plan is not None:
        click.echo(f"change plan written: `bpfence apply {wanted.plan}` carries out just this")


def _compiled(paths: tuple[str, ...], values: Mapping[str, Any], where: NodePaths) -> Compiled:
    """The artefact folder given, or what `apply` would compile from the paths."""
    if is_artefact(paths):
        return Compiled(read_artefact(paths[0]))
    options = options_from(values)
    watch = Stopwatch()
    prepared = prepare(paths, options, where.folder.programs, watch)
    analysed = prepared.analysed
    artefact = compile_analysed(analysed, prepared.files, options, identities_in_force(where), watch).artefact
    emit_diagnostics(analysed.diagnostics, prepared.files)
    return Compiled(artefact, analysed.world, analysed.program)
