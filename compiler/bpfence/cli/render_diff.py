"""Verdict changes in; text for people out, a block for each change and its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from bpfence.analyse.table_diff import VerdictChanges
from bpfence.analyse.table_groups import ChangeGroup
from bpfence.analyse.table_partition import L4Rows
from bpfence.analyse.table_rows import NO_RULES, Example, Rules, rows_of
from bpfence.flows import PORT_PROTOCOLS, protocol_name

MOST_GROUPS = 100
_MOST_PEERS = 4
_MOST_PORTS = 12
_SIGNS = {"added": "+", "removed": "-"}
_NAMED = frozenset((*PORT_PROTOCOLS, 1, 58))


def change_lines(changes: VerdictChanges, rules: Rules = NO_RULES) -> Iterator[str]:
    """The changes, at most `MOST_GROUPS` blocks."""
    yield from (f"+ endpoint {name}" for name in changes.endpoints_added)
    yield from (f"- endpoint {name}" for name in changes.endpoints_removed)
    shown = joined_groups(changes)
    for group in shown[:MOST_GROUPS]:
        yield from _group_lines(group, rules)
    if len(shown) > MOST_GROUPS:
        rest = sum(group.count for group in shown[MOST_GROUPS:])
        yield f"... and {rest} more in {len(shown) - MOST_GROUPS} groups (-o json lists them)"
    if changes.within:
        yield f"{changes.within} change(s) between replicas of one workload are not listed"


def joined_groups(changes: VerdictChanges) -> list[ChangeGroup]:
    """Groups that say the same of different peers as one, whatever the family."""
    joined: dict[tuple[object, ...], ChangeGroup] = {}
    for group in changes.groups:
        if not group.count:
            continue
        reasons = (group.before, group.after, group.rows, group.enforced)
        key = (group.kind, group.local, group.direction, group.traffic, *reasons)
        known = joined.get(key)
        joined[key] = group if known is None else replace(known, peers=(*known.peers, *group.peers))
    return list(joined.values())


def _group_lines(group: ChangeGroup, rules: Rules) -> Iterator[str]:
    peers = _some([peer.name for peer in group.others], _MOST_PEERS)
    ends = (group.local, peers) if group.direction == "egress" else (peers, group.local)
    world = ", from the outside" if any(group.exposes(peer) for peer in group.peers) else ""
    way = f" ({group.traffic} traffic)" if group.traffic else ""
    idle = "" if group.enforced else " (not enforced: no interface leads to it)"
    yield f"{_SIGNS[group.kind]} {ends[0]} -> {ends[1]}: {l4_text(group.rows)}{world}{way}{idle}"
    found = list(islice(rows_of(group, rules), group.per_peer))
    row = next((one for one in found if not one.protocol.isdecimal()), found[0])
    yield f"    before: {row.before.verdict}, {row.before.title}"
    yield f"    after: {row.after.verdict}, {row.after.title}"
    if row.example:
        yield f"    for example: {example_text(row.example)}"


def l4_text(rows: L4Rows) -> str:
    """``all``, or protocols with their ports."""
    if rows.everything:
        return "all"
    named = [f"{protocol_name(number)} {_ports(ports)}".strip() for number, ports in rows.protocols if number in _NAMED]
    others = [number for number, _ in rows.protocols if number not in _NAMED]
    if len(others) > _MOST_PEERS:
        return "; ".join([*named, f"{len(others)} other protocols"])
    return "; ".join([*named, *map(str, others)])


def _ports(ports: Sequence[tuple[int, int]]) -> str:
    if tuple(ports) in (((1, 65535),), ((0, 255),)):
        return ""
    return _some([str(low) if low == high else f"{low}-{high}" for low, high in ports], _MOST_PORTS, ",")


def _some(names: Sequence[str], most: int, separator: str = ", ") -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(islice(names, most)) + more


def example_text(example: Example) -> str:
    """A packet in one line."""
    source, destination = str(example["src"]), str(example["dst"])
    if "dst_port" in example:
        source, destination = with_port(source, example["src_port"]), with_port(destination, example["dst_port"])
    icmp = f" type {example['icmp_type']} code {example['icmp_code']}" if "icmp_type" in example else ""
    return f"{example['protocol']} {source} -> {destination}{icmp}"


def with_port(address: str, port: object) -> str:
    """An endpoint of a connection."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
