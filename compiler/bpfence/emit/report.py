"""report.txt: what was optimised, what each table costs, what the programs contain."""

from __future__ import annotations

from bpfence.classify.classification import Classification
from bpfence.emit.tables import used_elements
from bpfence.plan.build import PlannedTables


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
        f"deciding rule       {'in the cell' if merged.provenance else 'left out of the cells: numbers would cost cache lines'}",
    ]


def _table_costs(planned: PlannedTables) -> list[str]:
    lines = [f"{'table':<14}{'element':<26}{'used':>10}{'room':>10}{'bytes':>12}  purpose"]
    for spec in planned.plan.tables():
        lines.append(
            f"{spec.name:<14}{spec.element:<26}{used_elements(planned, spec):>10}{spec.count:>10}{spec.size:>12}  {spec.comment}"
        )
    total = sum(spec.size for spec in planned.plan.tables())
    lines.append(f"{'total':<14}{'':<26}{'':>10}{'':>10}{total:>12}  per slot; a node holds two slots")
    return lines


def _program_features(planned: PlannedTables) -> list[str]:
    features = planned.plan.features
    lookups = 3 + (2 if features.source_ports else 0)
    return [
        f"IPv4 decision       {lookups + 2} array reads: 3 address levels, {'3 port' if features.source_ports else '1 port'}, 1 cell",
        f"IPv6 decision       {len(planned.address6.lengths)} prefix lengths probed: {_lengths(planned)}",
        f"source ports        {'in the program' if features.source_ports else 'left out: no rule depends on them'}",
        f"ICMP codes          {'in the program' if features.icmp_codes else 'left out: no rule depends on them'}",
    ]


def _lengths(planned: PlannedTables) -> str:
    return ", ".join(f"/{length}" for length in planned.address6.lengths) or "none, every IPv6 peer is of one class"
