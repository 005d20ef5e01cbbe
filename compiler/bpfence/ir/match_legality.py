"""The rules that label, peer and L4 expressions keep on their own. Nothing comes out but IllegalProgram."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import assert_never

from bpfence.flows import ICMP_PROTOCOLS, PORT_PROTOCOLS
from bpfence.ir.expression_text import network_key
from bpfence.ir.expressions import (
    HasObject,
    InPrefixes,
    LabelAll,
    LabelAny,
    LabelExpr,
    LabelNot,
    LabelOperator,
    LabelTest,
    LearntName,
    Network,
    OnOwnNode,
    PeerAll,
    PeerAny,
    PeerExpr,
    PeerNot,
)
from bpfence.ir.illegal import IllegalProgram
from bpfence.ir.nodes import L4Match, NamedPort, Ranges

MAX_DEPTH = 64
"""Levels of nesting in a peer expression, the label expressions inside it included, or in a subject.

INVARIANT: everything that walks an expression after lowering may recurse, because this bounds it.
"""

MAX_PORT = 65535
_META_KEYS = frozenset(
    f"meta:{name}" for name in ("kind", "namespace", "name", "serviceaccount", "node", "cluster", "profiles")
)
_OPEN_PREFIXES = frozenset(("label", "namespace", "serviceaccount", "reserved"))
_PATTERN = re.compile(r"\*|[-a-z0-9_*]*(\.[-a-z0-9_*]+)*\.")
_PORT_KEY = re.compile(r"port:(TCP|UDP|SCTP):[^:]+:(\d{1,5})")


def check_peer(expr: PeerExpr, depth: int = 1) -> None:
    """IllegalProgram unless networks and names are sorted and unique, and labels are legal, all within `MAX_DEPTH`."""
    _check_depth(depth)
    match expr:
        case HasObject():
            check_labels(expr.labels, depth + 1)
        case InPrefixes():
            _check_networks(expr.networks)
        case OnOwnNode():
            return
        case LearntName():
            _check_patterns(expr.patterns)
        case PeerNot():
            check_peer(expr.item, depth + 1)
        case PeerAll() | PeerAny():
            for item in expr.items:
                check_peer(item, depth + 1)
        case _:
            assert_never(expr)


def check_labels(expr: LabelExpr, depth: int = 1) -> None:
    """IllegalProgram unless every test has known keys and as many values as its operator wants, within `MAX_DEPTH`."""
    _check_depth(depth)
    match expr:
        case LabelTest():
            _check_test(expr)
        case LabelNot():
            check_labels(expr.item, depth + 1)
        case LabelAll() | LabelAny():
            for item in expr.items:
                check_labels(item, depth + 1)
        case _:
            assert_never(expr)


def check_alternative(match: L4Match) -> None:
    """IllegalProgram unless ranges are normalised, in bounds, and of protocols that have ports or ICMP headers."""
    for what, ranges, highest in (
        ("protocols", match.protocols, 255),
        ("destination ports", match.destination_ports, MAX_PORT),
        ("source ports", match.source_ports, MAX_PORT),
        ("ICMP types", match.icmp_types, 255),
        ("ICMP codes", match.icmp_codes, 255),
    ):
        if ranges:
            _check_ranges(what, ranges, highest)
    for port in (*match.named_ports, *match.not_named_ports):
        _check_named_port(port)
    if _has_port_criterion(match) and not _within(match.protocols, PORT_PROTOCOLS):
        raise IllegalProgram("a port criterion with protocols other than TCP, UDP and SCTP")
    if match.dns_names is not None:
        _check_patterns(match.dns_names.patterns)
        if not _within(match.protocols, PORT_PROTOCOLS):
            raise IllegalProgram("DNS names with protocols other than TCP, UDP and SCTP")
    icmp = match.icmp_types is not None or match.icmp_codes is not None
    if icmp and not _within(match.protocols, ICMP_PROTOCOLS):
        raise IllegalProgram("an ICMP criterion with protocols other than ICMP and ICMPv6")


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise IllegalProgram(f"an expression more than {MAX_DEPTH} levels deep")


def _check_networks(networks: tuple[Network, ...]) -> None:
    keys = [network_key(network) for network in networks]
    if any(first >= second for first, second in pairwise(keys)):
        raise IllegalProgram("networks that are not sorted and unique")


def _check_patterns(patterns: tuple[str, ...]) -> None:
    if any(first >= second for first, second in pairwise(patterns)):
        raise IllegalProgram("name patterns that are not sorted and unique")
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise IllegalProgram(f"name pattern {pattern!r} is not in canonical form")


def _check_test(test: LabelTest) -> None:
    if not test.keys:
        raise IllegalProgram("a label test without a key")
    for key in test.keys:
        _check_key(key)
    match test.operator:
        case LabelOperator.IN | LabelOperator.NOT_IN:
            legal = all(first < second for first, second in pairwise(test.values))
        case LabelOperator.EXISTS | LabelOperator.ABSENT:
            legal = not test.values
        case LabelOperator.CONTAINS | LabelOperator.STARTS_WITH | LabelOperator.ENDS_WITH:
            legal = len(test.values) == 1
        case _:
            assert_never(test.operator)
    if not legal:
        raise IllegalProgram(f"values {test.values!r} of the label test {test.keys[0]!r} {test.operator.value!r}")


def _check_key(key: str) -> None:
    prefix, _, name = key.partition(":")
    if prefix in _OPEN_PREFIXES and name:
        return
    if key in _META_KEYS:
        return
    port = _PORT_KEY.fullmatch(key)
    if port is None or int(port[2]) > MAX_PORT:
        raise IllegalProgram(f"unknown label key {key!r}")


def _check_ranges(what: str, ranges: Ranges, highest: int) -> None:
    last = -2
    for low, high in ranges:
        if not (last + 1 < low <= high <= highest and low >= 0):
            raise IllegalProgram(f"{what} {ranges!r} are not normalised or exceed {highest}")
        last = high


def _check_named_port(port: NamedPort) -> None:
    if port.protocol not in PORT_PROTOCOLS:
        raise IllegalProgram(f"named port {port.name!r} of protocol {port.protocol}, which has no ports")
    if not port.name or port.side not in ("source", "destination"):
        raise IllegalProgram(f"named port {port.name!r} at side {port.side!r}")


def _has_port_criterion(match: L4Match) -> bool:
    """Whether the protocols must be given: a positive named port brings its own protocol, a negative one does not."""
    numeric = match.destination_ports is not None or match.source_ports is not None
    return numeric or bool(match.not_named_ports) or (bool(match.named_ports) and match.protocols is not None)


def _within(protocols: Ranges | None, allowed: frozenset[int]) -> bool:
    # No two of the protocols with ports, or with ICMP headers, are neighbours: each is a range of its own.
    return protocols is not None and all(low == high and low in allowed for low, high in protocols)
