"""`bpfence compile`: policies and inventory to an artefact folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bpfence.cli.common import automatic_notrack_option, compiler_options, emit_diagnostics, options_from
from bpfence.emit.artefact import Artefact
from bpfence.emit.folder import manifest_bytes, write_artefact
from bpfence.errors import UsageError
from bpfence.loading import load_input
from bpfence.pipeline import compile_artefact

FORMATS = ("text", "json")


@click.command("compile")
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    help="The artefact folder; given again as 'json', the manifest is printed.",
)
@compiler_options
@automatic_notrack_option
def command(paths: tuple[str, ...], outputs: tuple[str, ...], **values: Any) -> None:
    """Compile policies for one node into an artefact folder: programs, tables, manifest and report.

    Identity numbers of an artefact that is already in the folder are kept.

    \b
    bpfence compile policies/ inventory.json -o out/ --node worker-1
    """
    folder, form = _split_outputs(outputs)
    options = options_from(values)
    loaded = load_input(paths, options)
    artefact = compile_artefact(loaded, options, _previous_identities(folder))
    emit_diagnostics(loaded.diagnostics, loaded.files)
    write_artefact(artefact, folder)
    click.echo(manifest_bytes(artefact.manifest).decode().rstrip() if form == "json" else _text(artefact, folder))


def _split_outputs(outputs: tuple[str, ...]) -> tuple[str, str]:
    """(folder, format): one -o is the folder, another may be text or json."""
    folders = [value for value in outputs if value not in FORMATS]
    forms = [value for value in outputs if value in FORMATS]
    if len(folders) != 1 or len(forms) > 1:
        raise UsageError("give the artefact folder with -o DIR (./json and ./text name folders of these names)")
    return folders[0], forms[0] if forms else "text"


def _previous_identities(folder: str) -> Mapping[str, Any] | None:
    """The identity file next to the artefact, when there is a readable one."""
    try:
        content = json.loads((Path(folder) / "identities.json").read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _text(artefact: Artefact, folder: str) -> str:
    manifest = artefact.manifest
    size = sum(entry.size for entry in manifest.tables)
    return (
        f"{folder}: node {manifest.node}, {len(manifest.endpoints)} endpoints, {len(manifest.policies)} policies, "
        f"{len(manifest.rows)} rows, {manifest.peer_classes} peer classes x {manifest.l4_classes} L4 classes, "
        f"tables {size / 1048576:.1f} MiB"
    )
