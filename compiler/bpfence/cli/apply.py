"""`bpfence apply`: bring policies, or a compiled artefact, into force on this node in one step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bpfence.cli.common import automatic_notrack_option, common_options, emit_diagnostics, options_from
from bpfence.cli.node import node_options, paths_from
from bpfence.cli.printable import printable
from bpfence.emit.artefact import Artefact
from bpfence.emit.folder import MANIFEST, read_artefact
from bpfence.loader.kernel import require_kernel
from bpfence.loader.node import NodePaths
from bpfence.loader.transaction import ApplyReport, ApplySettings, apply
from bpfence.loading import load_input
from bpfence.pipeline import compile_artefact
from bpfence.timing import Stopwatch


@click.command("apply")
@click.argument("paths", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Do everything up to and including the proof, then leave no trace.")
@click.option("--force", is_flag=True, help="Apply even if it cuts the ssh connection you are using.")
@node_options
@common_options
@automatic_notrack_option
def command(
    paths: tuple[str, ...], dry_run: bool, force: bool, state: str | None, bpffs: str | None, output: str, **values: Any
) -> None:
    """Bring policies into force on this node: every packet is decided by the old policies or by the new
    ones, never a mixture.

    PATHS: policies and inventory, or one artefact folder. Acts on the current network namespace. If
    anything fails, nothing has changed.

    \b
    bpfence apply policies/ inventory.json
    bpfence apply out/ --dry-run
    """
    where = paths_from(state, bpffs)
    watch = Stopwatch()
    require_kernel()
    artefact = _artefact(paths, where, values, watch)
    show_report(apply(artefact, ApplySettings(where, dry_run, force), watch), output)


def show_report(report: ApplyReport, output: str) -> None:
    """What a transaction did, as text or JSON; warnings to stderr."""
    for warning in report.warnings:
        click.echo(f"warning: {printable(warning)}", err=True)
    click.echo(
        json.dumps({"format_version": "1.0", **asdict(report)}, indent=1)
        if output == "json"
        else printable(_text(report), keep_lines=True)
    )


def _artefact(paths: tuple[str, ...], where: NodePaths, values: Mapping[str, Any], watch: Stopwatch) -> Artefact:
    """The artefact folder given, or what the paths compile to, with the identity numbers of what is in
    force.
    """
    if len(paths) == 1 and (Path(paths[0]) / MANIFEST).is_file():
        with watch.stage("parse"):
            return read_artefact(paths[0])
    options = options_from(values)
    with watch.stage("parse"):
        loaded = load_input(paths, options)
    artefact = compile_artefact(loaded, options, _identities_in_force(where), watch)
    emit_diagnostics(loaded.diagnostics, loaded.files)
    return artefact


def _identities_in_force(where: NodePaths) -> dict[str, Any] | None:
    """identities.json of the newest generation kept; numbers go on from there."""
    for number in reversed(where.folder.kept()):
        with suppress(OSError, ValueError):
            document = json.loads((where.folder.generation(number) / "identities.json").read_text())
            if isinstance(document, dict):
                return document
    return None


def _text(report: ApplyReport) -> str:
    lines = [f"+ policy {name}" for name in report.policies_added]
    lines += [f"- policy {name}" for name in report.policies_removed]
    lines += [f"+ interface {name}" for name in report.attached]
    lines += [f"- interface {name}" for name in report.detached]
    lines.append(_kernel_line(report))
    head = "dry run: would bring" if report.dry_run else "brought"
    before = f"after generation {report.before}" if report.before else "the first one"
    lines.append(
        f"{head} generation {report.generation} into force ({before}): "
        f"{report.policies} policies, {report.endpoints} endpoints, {sum(report.seconds.values()):.2f} s"
    )
    return "\n".join(lines)


def _kernel_line(report: ApplyReport) -> str:
    programs = "no program loaded" if report.shape_reused else f"{report.programs_loaded} programs loaded"
    probes = sum(report.probes.values())
    written = f"{report.table_bytes} bytes of tables written"
    return f"slot {report.slot}: {written}, {programs}, {probes} probe packets answered as computed"
