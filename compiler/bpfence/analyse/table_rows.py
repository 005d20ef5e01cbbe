"""Groups of changes taken apart into rows, one per peer and protocol, each with a packet as an example."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import product

from bpfence.analyse.judge import L4Facts
from bpfence.analyse.rule_finder import RuleFinder
from bpfence.analyse.table_groups import ChangeGroup
from bpfence.analyse.table_origins import NOT_RECORDED, Origin
from bpfence.analyse.table_partition import Bits, L4Space, find_header
from bpfence.analyse.table_peers import Peer, make_address
from bpfence.flows import ICMP_PROTOCOLS, PORT_PROTOCOLS, protocol_name

Example = dict[str, str | int]
_TCP = 6
_USUAL_PORT = 80


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One change. ``protocol``: as in `list`, ``ANY`` when ``everything``. ``example``: a packet whose verdict changes,
    its first.
    """

    kind: str
    source: str
    destination: str
    protocol: str
    ports: tuple[tuple[int, int], ...]
    everything: bool
    example: Example
    before: Origin
    after: Origin
    exposes_world: bool
    endpoints: tuple[str, ...]
    direction: str
    traffic: str
    enforced: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """Who finds rules that the tables do not keep, on each side; None: nobody."""

    before: RuleFinder | None = None
    after: RuleFinder | None = None


NO_RULES = Rules()


def rows_of(group: ChangeGroup, rules: Rules = NO_RULES) -> Iterator[ChangeRow]:
    """The rows of a group, peer by peer."""
    for peer in group.others:
        for protocol, ports in group.rows.protocols:
            row = _row(group, peer, protocol_name(protocol), ports, _example(group, peer, protocol, ports))
            yield _with_rules(row, protocol, rules)
        if group.rows.everything:
            row = _row(group, peer, "ANY", (), _example(group, peer, _TCP, ((1, 65535),)))
            yield _with_rules(row, _TCP, rules)


def _with_rules(row: ChangeRow, protocol: int, rules: Rules) -> ChangeRow:
    """The row with the rules behind its example, where they were not kept. A host's rows always keep them."""
    if row.traffic or not row.example or NOT_RECORDED not in (row.before.reason, row.after.reason):
        return row
    ends = [ip_address(str(row.example[end])) for end in ("src", "dst")]
    own, peer = ends if row.direction == "egress" else reversed(ends)
    ports = [row.example.get(name) for name in ("src_port", "dst_port", "icmp_type", "icmp_code")]
    l4 = L4Facts(protocol, *(None if port is None else int(port) for port in ports))
    sides = ((rules.before, row.before), (rules.after, row.after))
    before, after = (
        origin if finder is None else finder.better(origin, row.direction, own, peer, l4) for finder, origin in sides
    )
    return replace(row, before=before, after=after)


def _row(
    group: ChangeGroup, peer: Peer, protocol: str, ports: tuple[tuple[int, int], ...], example: Example
) -> ChangeRow:
    ends = (group.local, peer.name) if group.direction == "egress" else (peer.name, group.local)
    return ChangeRow(
        group.kind,
        *ends,
        protocol,
        ports,
        group.rows.everything,
        example,
        group.before,
        group.after,
        group.exposes(peer),
        group.endpoints,
        group.direction,
        group.traffic,
        group.enforced,
    )


def _example(group: ChangeGroup, peer: Peer, protocol: int, ports: tuple[tuple[int, int], ...]) -> Example:
    """A packet whose verdict changes as the group says."""
    space = group.partition.spaces[protocol]
    for (version, value), sample in product(peer.examples, group.samples):
        if sample.own.version != version or space.family not in (0, version):
            continue
        if sample.delta.class_of[group.addresses[version].pair_at(value)] != sample.number:
            continue
        own, remote = str(sample.own), str(make_address(version, value))
        source, destination = (own, remote) if group.direction == "egress" else (remote, own)
        header = _header(space, sample.l4, ports)
        if header is not None:
            return {"src": source, "dst": destination, "protocol": protocol_name(protocol), **header}
    return {}


def _header(space: L4Space, bits: Bits, ports: tuple[tuple[int, int], ...]) -> dict[str, int] | None:
    if not ports:
        return {} if bits[space.other] else None
    wanted = _USUAL_PORT if ports == ((1, 65535),) else ports[0][0]
    found = find_header(space, bits, wanted)
    if found is None:
        return None
    if space.protocol in PORT_PROTOCOLS:
        return {"src_port": found[1], "dst_port": wanted}
    assert space.protocol in ICMP_PROTOCOLS
    return {"icmp_type": wanted, "icmp_code": found[1]}
