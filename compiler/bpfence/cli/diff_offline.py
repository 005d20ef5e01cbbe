"""`bpfence diff OLD NEW`: two states of one node, without asking any kernel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from bpfence.analyse.table_diff import VerdictChanges, diff_tables
from bpfence.analyse.table_names import known_names
from bpfence.analyse.table_sides import everywhere
from bpfence.assembly import compile_analysed
from bpfence.cli.common import emit_diagnostics, options_from
from bpfence.cli.diff_input import Compiled, is_artefact
from bpfence.cli.printable import printable
from bpfence.cli.render_diff import change_lines
from bpfence.cli.render_diff_json import changes_document
from bpfence.cli.render_diff_markdown import markdown_lines
from bpfence.emit.folder import read_artefact
from bpfence.errors import UsageError
from bpfence.loading import load_input
from bpfence.pipeline import analyse
from bpfence.simulate.arrays import TableArrays


def show_diff(old: str, new: tuple[str, ...], output: str, limit: int, values: Mapping[str, Any]) -> bool:
    """Two states of one node, in force at all of its endpoints."""
    before = _compiled((old,), values)
    same_node = values if values.get("node") else {**values, "node": before.artefact.manifest.node}
    after = _compiled(new, same_node)
    nodes = [one.artefact.manifest.node for one in (before, after)]
    if nodes[0] != nodes[1]:
        raise UsageError(f"OLD is for node {nodes[0]}, NEW for node {nodes[1]}: choose one with --node")
    artefacts = (before.artefact, after.artefact)
    first, second = (everywhere(one.manifest, TableArrays(one.manifest, one.tables)) for one in artefacts)
    worlds = [one.world for one in (after, before) if one.world is not None]
    changes = diff_tables(first, second, known_names(worlds, [one.manifest for one in reversed(artefacts)]))
    _show_offline(changes, nodes[0], output, limit)
    return bool(changes or changes.endpoints_added or changes.endpoints_removed)


def _show_offline(changes: VerdictChanges, node: str, output: str, limit: int) -> None:
    if output == "json":
        click.echo(json.dumps({"format_version": "1.0", "node": node, **changes_document(changes, limit)}, indent=1))
        return
    if output == "markdown":
        click.echo("\n".join(markdown_lines(changes)))
        return
    added, removed = changes.count("added"), changes.count("removed")
    last = f"node {node}: {added} connection(s) would become allowed, {removed} denied"
    click.echo(printable("\n".join((*change_lines(changes), last)), keep_lines=True))


def _compiled(paths: tuple[str, ...], values: Mapping[str, Any]) -> Compiled:
    """The artefact folder given, or what the paths compile to."""
    if is_artefact(paths):
        return Compiled(read_artefact(paths[0]))
    options = options_from(values)
    loaded = load_input(paths, options)
    analysed = analyse(loaded, options)
    artefact = compile_analysed(analysed, loaded.files, options).artefact
    emit_diagnostics(analysed.diagnostics, loaded.files)
    return Compiled(artefact, analysed.world, analysed.program)
