"""`bpfence apply`: bring policies, or a compiled artefact, into force on this node in one step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bpfence.assembly import compile_analysed
from bpfence.cli.common import automatic_notrack_option, common_options, emit_diagnostics, options_from
from bpfence.cli.confirm import pending_text
from bpfence.cli.duration import read_duration
from bpfence.cli.node import LOCK_SECONDS, node_options, paths_from
from bpfence.cli.printable import printable
from bpfence.emit.artefact import Artefact
from bpfence.emit.folder import MANIFEST, read_artefact
from bpfence.loader.kernel import require_root
from bpfence.loader.node import NodePaths
from bpfence.loader.transaction import ApplyReport, ApplySettings, apply
from bpfence.prepare import prepare
from bpfence.timing import Stopwatch

if TYPE_CHECKING:
    from bpfence.loader.change_plan import ChangePlan

confirm_option = click.option(
    "--confirm-within",
    callback=read_duration,
    metavar="D",
    help="Go back by itself after this time (60s, 2m, 1m30s) unless `bpfence confirm` is run.",
)
"""Of the commands that bring a generation into force; `refuse_confirmed_dry_run` goes with it."""


@click.command("apply")
@click.argument("paths", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Do everything up to and including the proof, then leave no trace.")
@click.option("--force", is_flag=True, help="Apply even if it cuts the ssh connection you are using.")
@confirm_option
@node_options
@common_options
@automatic_notrack_option
def command(
    paths: tuple[str, ...],
    dry_run: bool,
    force: bool,
    confirm_within: float | None,
    state: str | None,
    bpffs: str | None,
    output: str,
    **values: Any,
) -> None:
    """Bring policies into force on this node: every packet is decided by the old policies or by the new
    ones, never a mixture.

    PATHS: policies and inventory, or one artefact folder, or a change plan of `bpfence diff live`. Acts on
    the current network namespace. If anything fails, nothing has changed. With --confirm-within the old
    policies come back by themselves, even if your terminal is gone, unless you run `bpfence confirm` in time.

    \b
    bpfence apply policies/ inventory.json
    bpfence apply out/ --dry-run
    bpfence apply policies/ inventory.json --confirm-within 60s
    """
    refuse_confirmed_dry_run(dry_run, confirm_within)
    where = paths_from(state, bpffs)
    watch = Stopwatch()
    require_root()
    plan = _change_plan(paths)
    artefact, keep = artefact_of(paths, where, values, watch) if plan is None else (plan.artefact, lambda: None)
    expected = None if plan is None else plan.expected
    settings = ApplySettings(
        where, dry_run, force, confirm_within=confirm_within or 0.0, wait=LOCK_SECONDS, expected=expected
    )
    report = apply(artefact, settings, watch)
    show_report(report, output)
    if not dry_run:
        keep()


def _change_plan(paths: tuple[str, ...]) -> ChangePlan | None:
    """The change plan given, if it is one."""
    if len(paths) != 1 or not Path(paths[0]).is_file():
        return None
    # Not at the top: what reads plans is much, and other applies are faster without it.
    from bpfence.loader.change_plan import is_change_plan, read_change_plan

    return read_change_plan(paths[0]) if is_change_plan(paths[0]) else None


def refuse_confirmed_dry_run(dry_run: bool, confirm_within: float | None) -> None:
    """UsageError: a dry run leaves nothing that could be confirmed."""
    if dry_run and confirm_within is not None:
        raise click.UsageError("--dry-run changes nothing, so there is nothing to confirm: drop --confirm-within")


def show_report(report: ApplyReport, output: str) -> None:
    """What a transaction did, as text or JSON; warnings to stderr."""
    for warning in report.warnings:
        click.echo(f"warning: {printable(warning)}", err=True)
    click.echo(
        json.dumps(report_document(report), indent=1) if output == "json" else printable(_text(report), keep_lines=True)
    )


def report_document(report: ApplyReport) -> dict[str, Any]:
    """The report as JSON."""
    pending = report.pending.model_dump() if report.pending else None
    return {"format_version": "1.0", **asdict(replace(report, pending=None)), "pending": pending}


def artefact_of(
    paths: tuple[str, ...], where: NodePaths, values: Mapping[str, Any], watch: Stopwatch
) -> tuple[Artefact, Callable[[], None]]:
    """The artefact folder given, or what the paths compile to, with the identity numbers of what is in force; and what
    to call once it is in force, so that the next apply of these policies is faster.
    """
    if len(paths) == 1 and (Path(paths[0]) / MANIFEST).is_file():
        with watch.stage("parse"):
            return read_artefact(paths[0]), lambda: None
    options = options_from(values)
    prepared = prepare(paths, options, where.folder.programs, watch)
    identities = identities_in_force(where)
    artefact = compile_analysed(prepared.analysed, prepared.files, options, identities, watch).artefact
    emit_diagnostics(prepared.analysed.diagnostics, prepared.files)
    return artefact, prepared.keep


def identities_in_force(where: NodePaths) -> dict[str, Any] | None:
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
    if report.pending:
        lines.append(pending_text(report.pending))
    return "\n".join(lines)


def _kernel_line(report: ApplyReport) -> str:
    programs = "no program loaded" if report.shape_reused else f"{report.programs_loaded} programs loaded"
    probes = sum(report.probes.values())
    written = f"{report.table_bytes} bytes of tables written"
    return f"slot {report.slot}: {written}, {programs}, {probes} probe packets answered as computed"
