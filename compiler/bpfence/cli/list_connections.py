"""`bpfence list`: every allowed connection."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

import click

from bpfence.analyse.connectivity import Connectivity, connectivity
from bpfence.analyse.l4_sets import Ports
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
    table = connectivity(analysed.program, analysed.world, analysed.settings_of, analysed.services)
    write_json(table, sys.stdout) if output == "json" else write_text(table, sys.stdout)


def write_json(table: Connectivity, stream: TextIO) -> None:
    """One connection a line: there may be tens of millions, so each answer is put into words once."""
    endings: dict[int, list[str]] = {}
    opening = '{"format_version": "1.0", "connections": ['
    for reach in table.reaches():
        start = f'\n{{"src": {json.dumps(reach.source)}, "dst": '
        for answer in set(reach.answers) - endings.keys():
            endings[answer] = [_json_ending(*row) for row in table.rows(answer)]
        names = map(json.dumps, reach.destinations)
        pairs = zip(names, reach.answers, strict=True)
        stream.write(opening + ",".join([start + name + end for name, answer in pairs for end in endings[answer]]))
        opening = ","
    stream.write(f"{'' if opening == ',' else opening}\n]}}\n")


def _json_ending(protocol: str, ports: Ports, everything: bool) -> str:
    fields = {"protocol": protocol, "ports": [list(item) for item in ports], "all": everything}
    return ", " + json.dumps(fields)[1:]


def write_text(table: Connectivity, stream: TextIO) -> None:
    """One connection a line: ``SOURCE -> DESTINATION: PROTOCOL PORTS``."""
    endings: dict[int, list[str]] = {}
    for reach in table.reaches():
        for answer in set(reach.answers) - endings.keys():
            endings[answer] = [_text_ending(*row) for row in table.rows(answer)]
        pairs = zip(reach.destinations, reach.answers, strict=True)
        stream.write("".join([f"{reach.source} -> {name}{end}" for name, answer in pairs for end in endings[answer]]))


def _text_ending(protocol: str, ports: Ports, everything: bool) -> str:
    words = ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ports)
    return ": all\n" if everything else f": {protocol} {words}".rstrip() + "\n"
