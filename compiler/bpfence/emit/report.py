"""report.txt: what each step of the optimiser did, what tables and decisions cost, what the programs leave out.

In: the sizes of the program, the classification, the planned tables. Out: text, the same for the same input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bpfence.classify.classification import Classification
from bpfence.emit.tables import used_elements
from bpfence.passes.size import ProgramSize
from bpfence.plan.build import PlannedTables
from bpfence.plan.cells import CellTables
from bpfence.plan.lengths6 import most_steps
from bpfence.plan.plan import Features, TableSpec

_LEFT_OUT = {
    "address6": ("IPv6 prefixes", "no rule tells IPv6 peers apart"),
    "source_ports": ("source ports", "no decision depends on them"),
    "icmp_codes": ("ICMP codes", "no decision depends on them"),
    "hosts": ("hosts", "no host endpoint, and no policy selects the node"),
    "hosts_at_workloads": ("hosts at workloads", "no host has a say in what workloads exchange"),
    "untracked": ("XDP", "no policy drops packets before connection tracking"),
    "own_rows": ("rows by own address", "no host's policy depends on it"),
}
"""feature -> (what it is, why a program is without it)"""


def emit_report(
    planned: PlannedTables, classification: Classification, node: str, sizes: Mapping[str, ProgramSize]
) -> str:
    """``sizes``: of the program, as written and after each pass, in order."""
    sections = (
        [f"{'node':<20}{node}", f"{'endpoints':<20}{len(planned.endpoints)}"],
        _passes(sizes),
        _merging(planned, classification),
        _layouts(planned),
        _table_costs(planned),
        _decision_costs(planned),
        _program_features(planned.plan.features),
    )
    return "\n".join("\n".join(lines) + "\n" for lines in sections)


def _passes(sizes: Mapping[str, ProgramSize]) -> list[str]:
    head = f"{'program':<24}{'policies':>10}{'rules':>10}{'L4 parts':>10}{'peer tests':>12}"
    rows = [
        f"{name:<24}{size.policies:>10}{size.rules:>10}{size.alternatives:>10}{size.peer_tests:>12}"
        for name, size in sizes.items()
    ]
    return [head, *rows]


def _merging(planned: PlannedTables, classification: Classification) -> list[str]:
    """One line for each step from the rules' distinctions to the tables' content."""
    merged, peers = classification.merged, classification.peers
    unshared = peers.count * classification.l4.count * len(classification.rows)
    address4, address6 = planned.address4, planned.address6
    second, third = address4.unshared
    return [
        f"{'step':<24}{'before':>12}{'after':>12}  what",
        _step("tell addresses apart", peers.atoms.count, peers.count, "address ranges to peer classes"),
        _step("merge peer classes", peers.count, merged.peers, "peer classes that some row decides differently"),
        _step("merge L4 classes", classification.l4.count, merged.l4, "L4 ranges to classes that some row tells apart"),
        _step("share rows", len(classification.rows), len(merged.rows), "policy rows with cells of their own"),
        _step("merge cells", unshared, merged.cell_count, "cells of all rows"),
        _step("lay out cells", merged.cell_count, planned.cells.cells.size, "cells that are kept"),
        _step("share IPv4 level 2", second, len(address4.level2), "blocks, one for each run of equal ones before"),
        _step("share IPv4 level 3", third, len(address4.level3), "blocks, one for each run of equal ones before"),
        _step("gather IPv6 prefixes", len(peers.networks6), address6.used, f"entries, {len(address6.blocks)} blocks"),
    ]


def _step(name: str, before: int, after: int, what: str) -> str:
    return f"{name:<24}{before:>12}{after:>12}  {what}"


def _layouts(planned: PlannedTables) -> list[str]:
    cells, fine = planned.cells, planned.address4.fine
    ports = "destination and source ports, paired" if planned.plan.features.source_ports else "destination ports"
    numbers = not planned.plan.features.narrow_cells
    return [
        f"{'cells':<20}{_cell_layout(cells)}",
        f"{'deciding rule':<20}{'in the cell' if numbers else 'left out of the cells, looked up by explain'}",
        f"{'IPv4 levels':<20}{'20, 6 and 6' if fine else '16, 8 and 8'} bits, {planned.address4.bytes} bytes",
        f"{'ports':<20}a table of all {ports} for TCP, UDP and SCTP",
    ]


def _cell_layout(cells: CellTables) -> str:
    flat, levels = f"flat {cells.flat_bytes} bytes", f"two levels {cells.level_bytes} bytes"
    chosen, other = (levels, flat) if cells.two_level else (flat, levels)
    return f"{chosen}; {other}"


def _table_costs(planned: PlannedTables) -> list[str]:
    head = f"{'table':<24}{'element':<26}{'used':>10}{'room':>10}{'bytes':>12}  purpose"
    rows = [_table_line(spec, used_elements(planned, spec)) for spec in planned.plan.tables()]
    total = sum(spec.size for spec in planned.plan.tables())
    return [head, *rows, f"{'total':<70}{total:>12}  per slot; a node holds two slots"]


def _table_line(spec: TableSpec, used: int) -> str:
    return f"{spec.name:<24}{spec.element:<26}{used:>10}{spec.count:>10}{spec.size:>12}  {spec.comment}"


def _decision_costs(planned: PlannedTables) -> list[str]:
    """Reads of tables; they are the same for every packet, however many rules there are."""
    ports = 3 if planned.plan.features.source_ports else 1
    cells = planned.cells.reads
    words = f"{ports} for ports, {cells} for the cell"
    lengths = planned.address6.lengths
    last = 1 if len(planned.address6.blocks) else 0
    steps = most_steps(lengths)
    found = f"2 for each of {steps} prefix lengths{', 1 for a block' if last else ''}, " if lengths else ""
    return [
        f"{'IPv4 decision':<20}{3 + ports + cells} reads: 3 address levels, {words}",
        f"{'IPv6 decision':<20}at most {2 * steps + last + ports + cells} reads: {found}{words}",
        f"{'IPv6 lengths':<20}{_lengths(node.length for node in lengths)}",
    ]


def _lengths(lengths: Iterable[int]) -> str:
    return (
        ", ".join(f"/{length}" for length in sorted(lengths, reverse=True)) or "none, every IPv6 peer is of one class"
    )


def _program_features(features: Features) -> list[str]:
    return [
        f"{name:<20}{'in the program' if getattr(features, feature) else f'left out: {why}'}"
        for feature, (name, why) in _LEFT_OUT.items()
    ]
