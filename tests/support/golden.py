"""A golden case: a folder with input files and ``flows.txt`` in; the texts that are kept beside them out.

Texts say what the tables mean, not where their bytes lie, so that another layout moves none of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from bpfence.analyse.cases import l4_probes, peer_probes
from bpfence.analyse.explain import Explainer, Side, finding_document
from bpfence.analyse.query import make_query
from bpfence.cli.render import render_text
from bpfence.emit.artefact import LayerDecision, RowEntry
from bpfence.flows import PORT_PROTOCOLS, Flow, protocol_name
from bpfence.loading import LoadedInput, load_input
from bpfence.options import Options
from bpfence.pipeline import Compiled, analyse, check_program, compile_artefact, compile_with_classification
from bpfence.plan.layout import CELL_ALLOW, CELL_DECISION_MASK
from bpfence.semantics import ReferenceWorld, decide
from bpfence.simulate.simulator import Packet, Simulator

NODE = "n1"
INVENTORY = "cluster.yaml"
FLOW = re.compile(r"(\S+) > (\S+) ([a-z0-9]+)/([0-9]+)(?: from ([0-9]+))?")


def golden_texts(folder: Path) -> dict[str, str]:
    """File name -> text. An input with errors has diagnostics alone. The folder is the working directory."""
    options = Options(node=NODE)
    paths = sorted(path.name for path in folder.glob("*.yaml"))
    checked = load_input(paths, options)
    check_program(checked, options)
    found = {"diagnostics.txt": render_text(checked.diagnostics.sorted())}
    if checked.diagnostics.has_errors:
        return found
    compiled = compile_with_classification(load_input(paths, options), options)
    artefact = compiled.artefact
    return {
        **found,
        "ir.txt": artefact.ir_text,
        "identities.json": json.dumps(artefact.identities, indent=1, sort_keys=True),
        "tables.txt": "\n".join(table_lines(compiled)),
        "report.txt": artefact.report,
        "program.txt": "\n".join(special_lines(artefact.programs["workload.c"], _plain_program(options))),
        "verdicts.txt": "\n".join(verdict_lines(folder / "flows.txt", load_input(paths, options), options)),
    }


def _plain_program(options: Options) -> str:
    return compile_artefact(load_input([INVENTORY], options), options).programs["workload.c"]


def special_lines(program: str, plain: str) -> Iterator[str]:
    """The lines that this input's program has and ``plain``, the program for no policy at all, has not."""
    common = set(plain.splitlines())
    return (line for line in program.splitlines() if line not in common)


def table_lines(compiled: Compiled) -> Iterator[str]:
    """Peer classes by address, L4 classes by protocol and ports, then every row as a matrix of decisions."""
    simulator = Simulator(compiled.artefact)
    yield "peers"
    yield from _peer_lines(compiled, simulator)
    yield "\nL4"
    yield from _l4_lines(compiled, simulator)
    for row in compiled.artefact.manifest.rows:
        yield f"\n{row.direction} of {', '.join(row.endpoints)}"
        yield from _row_lines(compiled, row)


def _peer_lines(compiled: Compiled, simulator: Simulator) -> Iterator[str]:
    """Runs of addresses of one class; both ends of every atom have been asked."""
    asked = [(simulator.peer_class(address), address) for address in peer_probes(compiled.classification.peers)]
    asked.sort(key=lambda item: (item[1].version, int(item[1])))
    for (number, _), run in groupby(asked, key=lambda item: (item[0], item[1].version)):
        addresses = [address for _, address in run]
        yield f"  {addresses[0]} - {addresses[-1]}: {number}"


def _l4_lines(compiled: Compiled, simulator: Simulator) -> Iterator[str]:
    """Runs of destination ports (or ICMP types), with the classes by source port (or code) where they differ."""
    probes = list(l4_probes(compiled.classification.l4))
    own = {
        version: next(p for p in peer_probes(compiled.classification.peers) if p.version == version)
        for version in (4, 6)
    }
    found: dict[int, dict[int, dict[int, int]]] = {}
    for probe in probes:
        place = own[probe.version or 4]
        packet = Packet(
            "", "egress", place, place, probe.protocol, probe.source_port, probe.destination_port,
            probe.icmp_type, probe.icmp_code,
        )  # fmt: skip
        ports = probe.protocol in PORT_PROTOCOLS
        first, second = (probe.destination_port, probe.source_port) if ports else (probe.icmp_type, probe.icmp_code)
        found.setdefault(probe.protocol, {}).setdefault(first or 0, {})[second or 0] = simulator.l4_class(packet)
    for protocol, classes in sorted(found.items()):
        for values, run in groupby(sorted(classes.items()), key=lambda item: sorted(item[1].items())):
            firsts = [first for first, _ in run]
            yield f"  {protocol_name(protocol)} {firsts[0]}-{firsts[-1]}: {_by_second(values)}"


def _by_second(values: list[tuple[int, int]]) -> str:
    if len({number for _, number in values}) == 1:
        return str(values[0][1])
    return ", ".join(f"{number} from {second}" for second, number in values)


def _row_lines(compiled: Compiled, row: RowEntry) -> Iterator[str]:
    manifest = compiled.artefact.manifest
    cells = memoryview(compiled.artefact.tables["cells"]).cast("H")
    for number, decision in enumerate(row.decisions, 1):
        yield f"  #{number} {'; '.join(map(_decision_text, decision))}"
    for peer in range(manifest.peer_classes):
        start = row.offset + peer * manifest.l4_classes
        yield f"  peer {peer}: {' '.join(_cell_text(cell) for cell in cells[start : start + manifest.l4_classes])}"


def _cell_text(cell: int) -> str:
    return f"{'allow' if cell & CELL_ALLOW else 'deny'}#{cell & CELL_DECISION_MASK}"


def _decision_text(item: LayerDecision) -> str:
    place = "" if item.origin is None else f" {item.origin.path}:{item.origin.line}"
    return (
        " ".join(part for part in (item.layer, item.tier, item.verdict, item.reason, item.policy, item.rule) if part)
        + place
    )


def verdict_lines(path: Path, loaded: LoadedInput, options: Options) -> Iterator[str]:
    """Every flow with its verdict and why; the reference evaluator must say the same."""
    analysed = analyse(loaded, options)
    explainer = Explainer(
        analysed.program, analysed.world, NODE, analysed.services, analysed.settings_of, analysed.pending
    )
    world = ReferenceWorld(loaded.inventory, loaded.policies, options)
    for line in path.read_text().splitlines():
        query = make_query(_question(line))
        answer = explainer.explain(query)
        flow = Flow(
            query.source, query.destination, query.protocol, query.source_port, query.destination_port,
            query.icmp_type, query.icmp_code,
        )  # fmt: skip
        assert decide(world, flow).allowed == answer.allowed, line
        yield f"{line}: {'allow' if answer.allowed else 'deny'}"
        yield from _side_lines("egress", answer.egress)
        yield from _side_lines("ingress", answer.ingress)


def _question(line: str) -> dict[str, Any]:
    match = FLOW.fullmatch(line)
    assert match, f"not a flow: {line}"
    source, destination, protocol, number, source_port = match.groups()
    field = "icmp_type" if protocol.startswith("icmp") else "dst_port"
    values = {"src": source, "dst": destination, "protocol": protocol.upper(), field: int(number)}
    return {**values, "src_port": int(source_port)} if source_port else values


def _side_lines(name: str, side: Side) -> Iterator[str]:
    for finding in side.findings:
        row = finding_document(finding)
        place = f" {row['origin']['path']}:{row['origin']['line']}" if row["origin"] else ""
        words = (
            name,
            row["endpoint"],
            row["layer"],
            row["tier"],
            row["verdict"],
            row["reason"],
            row["policy"],
            row["rule"],
        )
        yield f"  {' '.join(word for word in words if word)}{place}"
