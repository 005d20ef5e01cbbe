"""`bpfence status`: what is in force on this node, and whether the kernel still holds what was applied."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click

from bpfence.cli.common import output_option
from bpfence.cli.node import node_options, paths_from
from bpfence.cli.printable import printable
from bpfence.loader.status import StatusReport, read_status


@click.command("status")
@node_options
@output_option("text", "json")
def command(state: str | None, bpffs: str | None, output: str) -> None:
    """Show the generation in force: policies, endpoints and their interfaces, tables, connections, drops.

    Exit code 1 when the kernel differs from what was applied. Acts on the current network namespace.
    """
    report = read_status(paths_from(state, bpffs))
    click.echo(
        json.dumps(report.document(), indent=1)
        if output == "json"
        else printable("\n".join(_lines(report)), keep_lines=True)
    )
    sys.exit(1 if report.drift else 0)


def _lines(report: StatusReport) -> Iterable[str]:
    if not report.loaded:
        yield "nothing is in force on this node"
        return
    since = datetime.fromtimestamp(report.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if report.since else "unknown"
    standby = f", generation {report.standby} stands by" if report.standby else ""
    yield f"generation {report.generation} in force since {since} (slot {report.slot}{standby})"
    yield f"policies ({len(report.policies)}): {', '.join(report.policies) or 'none'}"
    yield ""
    rows = [
        (item.name, ", ".join(item.addresses), item.interface or "none", "+".join(item.hooks) or "none")
        for item in report.endpoints
    ]
    yield from columns(("endpoint", "addresses", "interface", "hooks"), rows)
    yield ""
    yield from columns(
        ("program", "id", "tag", "bytes"), [(p.name, str(p.id), p.tag, str(p.machine_code)) for p in report.programs]
    )
    yield ""
    yield from columns(
        ("table", "bytes", "used", "of"), [(t.name, str(t.bytes), str(t.used), str(t.count)) for t in report.tables]
    )
    yield ""
    if report.connections is not None:
        least = "" if report.connections.complete else "at least "
        yield f"connections: {least}{report.connections.count} of {report.connections.capacity}"
    yield f"passed: {_counts(report.passed or {})}"
    yield f"dropped: {_counts(report.drops or {})}"
    yield from (f"warning: {line}" for line in report.warnings)
    yield from (f"drift: {line}" for line in report.drift)
    yield (
        "kernel and artefact agree"
        if not report.drift
        else f"{len(report.drift)} difference(s) between kernel and artefact"
    )


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Lines of a left-aligned table."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items() if count) or "none"
