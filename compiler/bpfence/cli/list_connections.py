"""`bpfence list`: every allowed connection."""

from __future__ import annotations

import json
from typing import Any

import click

from bpfence.analyse.connectivity import Connection, list_connections
from bpfence.cli.common import common_options, emit_diagnostics, options_from
from bpfence.loading import load_input
from bpfence.pipeline import analyse


@click.command("list")
@click.argument("paths", nargs=-1, required=True)
@common_options
def command(paths: tuple[str, ...], output: str, **values: Any) -> None:
    """List every allowed connection between workloads, host endpoints and the outside.

    Replicas are shown as their controlling owner: namespace/name[Kind]. Host endpoints are hep/NAME[HostEndpoint].
    Outside addresses are ranges: LO-HI[External].
    """
    options = options_from(values)
    loaded = load_input(paths, options)
    analysed = analyse(loaded, options)
    emit_diagnostics(analysed.diagnostics, loaded.files)
    connections = list_connections(analysed.program, analysed.world, analysed.settings_of)
    if output == "json":
        document = {"format_version": "1.0", "connections": [connection.document() for connection in connections]}
        click.echo(json.dumps(document, indent=1))
        return
    for connection in connections:
        click.echo(_line(connection))


def _line(connection: Connection) -> str:
    ports = ",".join(str(low) if low == high else f"{low}-{high}" for low, high in connection.ports)
    what = "all" if connection.everything else f"{connection.protocol} {ports}".rstrip()
    return f"{connection.source} -> {connection.destination}: {what}"
