"""`bpfence status`: what is in force on this node, and whether the kernel still holds what was applied."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click

from bpfence.cli.common import output_option
from bpfence.cli.confirm import pending_text
from bpfence.cli.node import node_options, paths_from
from bpfence.cli.printable import printable
from bpfence.loader.host_status import HostStatus
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
        yield from (f"warning: {line}" for line in report.warnings)
        yield from (f"drift: {line}" for line in report.drift)
        return
    since = datetime.fromtimestamp(report.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if report.since else "unknown"
    standby = f", generation {report.standby} stands by" if report.standby else ""
    yield f"generation {report.generation} in force since {since} (slot {report.slot}{standby})"
    if report.pending:
        yield pending_text(report.pending)
    yield f"policies ({len(report.policies)}): {', '.join(report.policies) or 'none'}"
    yield ""
    rows = [
        (item.name, ", ".join(item.addresses), item.interface or "none", "+".join(item.hooks) or "none",
         str(sum(item.passed.values())), counts_text(item.drops))
        for item in report.endpoints
    ]  # fmt: skip
    yield from columns(("endpoint", "addresses", "interface", "hooks", "passed", "dropped"), rows)
    if report.hosts:
        yield ""
        yield from columns(("host", "interface", "hooks", "xdp", "packets"), list(_host_rows(report.hosts)))
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
        fill = report.connections
        yield f"connections: {fill.live} live, {fill.count} of {fill.capacity} places taken"
    yield f"passed in all: {counts_text(report.passed or {})}"
    yield f"dropped in all: {counts_text(report.drops or {})}"
    yield from (f"warning: {line}" for line in report.warnings)
    yield from (f"drift: {line}" for line in report.drift)
    yield (
        "kernel and artefact agree"
        if not report.drift
        else f"{len(report.drift)} difference(s) between kernel and artefact"
    )


def _host_rows(hosts: Iterable[HostStatus]) -> Iterable[tuple[str, ...]]:
    """A row per interface, and one for a host endpoint without any. Packets are counted per host endpoint."""
    for host in hosts:
        counts = counts_text(host.counts)
        for item in host.interfaces:
            where = item.name or f"{item.index} (gone)"
            yield host.name, where, "+".join(item.hooks) or "none", item.xdp or "none", counts
            counts = ""
        if not host.interfaces:
            yield host.name, "none", "none", "none", counts


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Lines of a left-aligned table."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def counts_text(counts: dict[str, int]) -> str:
    """Those above zero, with their reasons."""
    return ", ".join(f"{count} {reason}" for reason, count in counts.items() if count) or "none"
