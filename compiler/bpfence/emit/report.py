"""report.txt: what was optimised, what each table costs, what the programs contain."""

from __future__ import annotations

from bpfence.classify.classification import Classification
from bpfence.emit.tables import used_elements
from bpfence.plan.build import PlannedTables
from bpfence.plan.plan import TableSpec


def emit_report(planned: PlannedTables, classification: Classification, node: str) -> str:
    """Plain text, the same for the same input."""
    return "\n".join(
        (*_summary(planned, classification, node), "", *_table_costs(planned), "", *_program_features(planned), "")
    )


def _summary(planned: PlannedTables, classification: Classification, node: str) -> list[str]:
    merged = classification.merged
    unshared = classification.peers.count * classification.l4.count * len(classification.rows)
    return [
        f"node                {node}",
        f"endpoints           {len(planned.endpoints)}",
        f"policy rows         {len(classification.rows)}, {len(merged.cells)} after sharing equal ones",
        f"address atoms       {classification.peers.atoms.count}",
        f"peer classes        {classification.peers.count}, {merged.peers} after merging by decision",
        f"L4 atoms            {classification.l4.count}, {merged.l4} classes after merging by decision",
        f"cells               {unshared}, {planned.cells.size} after merging",
        f"deciding rule       {'in the cell' if merged.provenance else 'left out of the cells, looked up by explain'}",
    ]


def _table_costs(planned: PlannedTables) -> list[str]:
    head = f"{'table':<24}{'element':<26}{'used':>10}{'room':>10}{'bytes':>12}  purpose"
    rows = [_table_line(spec, used_elements(planned, spec)) for spec in planned.plan.tables()]
    total = sum(spec.size for spec in planned.plan.tables())
    return [head, *rows, f"{'total':<70}{total:>12}  per slot; a node holds two slots"]


def _table_line(spec: TableSpec, used: int) -> str:
    return f"{spec.name:<24}{spec.element:<26}{used:>10}{spec.count:>10}{spec.size:>12}  {spec.comment}"


def _program_features(planned: PlannedTables) -> list[str]:
    features = planned.plan.features
    ports = 3 if features.source_ports else 1
    return [
        f"IPv4 decision       {ports + 4} array reads: 3 address levels, {ports} for ports, 1 cell",
        f"IPv6 decision       {len(planned.address6.lengths)} prefix lengths asked, 2 reads each: {_lengths(planned)}",
        f"source ports        {_presence(features.source_ports)}",
        f"ICMP codes          {_presence(features.icmp_codes)}",
    ]


def _presence(used: bool) -> str:
    return "in the program" if used else "left out: no decision depends on them"


def _lengths(planned: PlannedTables) -> str:
    return ", ".join(f"/{length}" for length in planned.address6.lengths) or "none, every IPv6 peer is of one class"
