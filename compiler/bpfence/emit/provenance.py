"""Decisions as the manifest tells them: for every row, what each decision number means, with file and line."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from bpfence.classify.classification import Classification
from bpfence.classify.decide import Decision, LayerOutcome
from bpfence.classify.hosts import AddressRange
from bpfence.emit.artefact import LayerDecision, OriginEntry, RowEntry
from bpfence.ir.nodes import Origin
from bpfence.plan.build import PlannedTables


def row_entries(planned: PlannedTables, classification: Classification) -> tuple[RowEntry, ...]:
    """One entry per classification row. ``endpoints``: ``name@own address``, sorted."""
    users = _row_users(classification)
    return tuple(
        RowEntry(
            offset=planned.row_offsets[number],
            direction=str(decided.row.direction),
            point=str(decided.row.point),
            endpoints=tuple(sorted(users[number])),
            decisions=tuple(_decision_entry(decision) for decision in decided.decisions),
        )
        for number, decided in enumerate(classification.rows)
    )


def _row_users(classification: Classification) -> dict[int, list[str]]:
    users: dict[int, list[str]] = {}
    for (name, address, _), number in classification.row_of.items():
        if number is not None:
            users.setdefault(number, []).append(f"{name}@{address}")
    for item, number in zip(classification.host_rows, classification.host_row_numbers, strict=True):
        if number is not None:
            users.setdefault(number, []).append(f"{item.host}@{range_text(item.own)}")
    return users


def range_text(own: AddressRange | None) -> str:
    """``FIRST-LAST``; empty for every other address."""
    if own is None:
        return ""
    version, low, high = own
    make = IPv4Address if version == 4 else IPv6Address
    return f"{make(low)}-{make(high)}"


def _decision_entry(decision: Decision) -> tuple[LayerDecision, ...]:
    return tuple(layer_entry(outcome) for outcome in decision.layers)


def layer_entry(outcome: LayerOutcome) -> LayerDecision:
    """One layer's outcome in the manifest's words."""
    origin = outcome.origin
    return LayerDecision(
        layer=outcome.layer,
        verdict="allow" if outcome.allowed else "deny",
        reason=outcome.reason,
        tier=outcome.tier,
        policy=origin.policy if origin is not None else "",
        rule=origin.field if origin is not None else "",
        origin=origin_entry(origin) if origin is not None else None,
    )


def origin_entry(origin: Origin) -> OriginEntry:
    """A place, by the path below the input root."""
    span = origin.span
    return OriginEntry(path=span.relative or span.path, line=span.line, column=span.column)
