"""A node's diff in; text for people, or the documented JSON, out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict

from bpfence.cli.render_diff import change_lines, with_port
from bpfence.cli.render_diff_json import Document, changes_document
from bpfence.loader.cut_flows import CUT, SHADOWED, FlowChange
from bpfence.loader.live_diff import LiveDiff, Writes

MOST_FLOWS = 20


def live_lines(diff: LiveDiff) -> Iterator[str]:
    """Everything that `diff live` found."""
    if diff.generation:
        yield f"in force: generation {diff.generation} (slot {diff.live.slot})"
    else:
        yield "nothing is in force: everything is allowed"
    yield from change_lines(diff.verdicts, diff.rules)
    no_effect = "" if diff.verdicts or not diff.generation else " (no verdict on this node changes)"
    yield from (f"+ policy {name}{no_effect}" for name in diff.policies_added)
    yield from (f"- policy {name}{no_effect}" for name in diff.policies_removed)
    for table in diff.tables if diff.generation else ():
        sizes = (
            f"of {table.new_size}" if table.old_size == table.new_size else f"({table.old_size} -> {table.new_size})"
        )
        yield f"table {table.name}: {table.differing} {sizes} bytes differ"
    if diff.tables or diff.programs_changed or diff.attached or diff.detached:
        yield _write_line(diff.writes)
    yield from (f"+ interface {name}" for name in diff.attached)
    yield from (f"- interface {name}" for name in diff.detached)
    yield from _flow_lines(diff.flows, diff.flows_seen)
    yield from (f"drift: {line}" for line in diff.drift.lines)
    if diff.drifted:
        yield "drift: packets are decided otherwise than was applied:"
        yield from (f"  {line}" for line in change_lines(diff.drifted))
    yield summary_line(diff)


def summary_line(diff: LiveDiff) -> str:
    """The last line."""
    if diff.empty:
        return "nothing would change"
    added, removed = diff.verdicts.count("added"), diff.verdicts.count("removed")
    parts = [f"{added} connection(s) would become allowed, {removed} denied"]
    parts += [f"{diff.verdicts.exposing} of them from the outside"] if diff.verdicts.exposing else []
    parts += [f"{len(diff.cut)} live connection(s) cut"] if diff.cut else []
    parts += [f"{len(diff.drift.lines)} difference(s) between kernel and artefact"] if diff.drift.lines else []
    return "; ".join(parts)


def _write_line(writes: Writes) -> str:
    programs = (
        f"load {len(writes.loaded)} programs ({', '.join(writes.loaded)})" if writes.loaded else "load no program"
    )
    return f"apply would write {writes.bytes} bytes of tables into slot {writes.slot} and {programs}"


def _flow_lines(flows: Iterable[FlowChange], seen: int) -> Iterator[str]:
    found = list(flows)
    cut = [flow for flow in found if flow.outcome == CUT]
    shadowed = [flow for flow in found if flow.outcome != CUT]
    for title, mine in (("that would be cut", cut), ("that a shadow policy would see", shadowed)):
        if mine:
            yield f"live connections {title}: {len(mine)} of {seen}"
            yield from (f"  {_flow_text(flow)}" for flow in mine[:MOST_FLOWS])
        if len(mine) > MOST_FLOWS:
            yield f"  ... and {len(mine) - MOST_FLOWS} more"


def _flow_text(flow: FlowChange) -> str:
    local, remote = flow.local, flow.remote
    if flow.protocol in ("TCP", "UDP", "SCTP"):
        local, remote = with_port(local, flow.local_port), with_port(remote, flow.remote_port)
    ends = f"{remote} -> {local}" if flow.direction == "ingress" else f"{local} -> {remote}"
    return f"{flow.protocol} {ends} at {flow.interface} ({flow.endpoint}): {flow.rule.title}"


def live_document(diff: LiveDiff, limit: int) -> Document:
    """Everything that `diff live` found. ``limit``: most rows in each list of changes."""
    return {
        "format_version": "1.0",
        "generation": diff.generation,
        "slot": diff.live.slot,
        "node": diff.artefact.manifest.node,
        **changes_document(diff.verdicts, limit, diff.rules),
        "policies": {"added": list(diff.policies_added), "removed": list(diff.policies_removed)},
        "tables": [asdict(item) for item in diff.tables],
        "writes": {**asdict(diff.writes), "programs_changed": diff.programs_changed},
        "interfaces": {"attached": list(diff.attached), "detached": list(diff.detached)},
        "drift": {
            "lines": list(diff.drift.lines),
            "tables": [
                {"table": item.table, "ranges": item.ranges, "count": item.count, "problem": item.problem}
                for item in diff.drift.tables
            ],
            **changes_document(diff.drifted, limit),
        },
        "connections": [flow_document(flow) for flow in diff.flows if flow.outcome == CUT],
        "shadowed": [flow_document(flow) for flow in diff.flows if flow.outcome == SHADOWED],
        "flows": {"seen": diff.flows_seen, "cut": len(diff.cut)},
        "warnings": list(diff.warnings),
        "empty": diff.empty,
    }


def flow_document(flow: FlowChange) -> Document:
    """One live connection."""
    return {
        "endpoint": flow.endpoint,
        "interface": flow.interface,
        "protocol": flow.protocol,
        "local": flow.local,
        "local_port": flow.local_port,
        "remote": flow.remote,
        "remote_port": flow.remote_port,
        "direction": flow.direction,
        "rule": flow.rule.document(),
    }
