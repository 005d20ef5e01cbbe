"""Policies written in more pieces: every prefix as its two halves, every range of ports as two ranges. Nothing changes.

In: policy objects as plain data. Out: the same, rewritten. A prefix whose halves would all vanish behind its exceptions
stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import Any

Data = Any


def split_all(value: Data) -> Data:
    """The data with everything split that can be split."""
    if isinstance(value, list):
        return [split_all(item) for item in value]
    if isinstance(value, dict):
        return {
            key: _HANDLERS[key](split_all(item)) if key in _HANDLERS else split_all(item) for key, item in value.items()
        }
    return value


def halves(text: str) -> list[str]:
    """Two halves; a single address stays whole."""
    network = ip_network(text, strict=False)
    if network.prefixlen == network.max_prefixlen:
        return [text]
    return [str(part) for part in network.subnets()]


def _prefixes(items: Data) -> Data:
    if not all(isinstance(item, str) for item in items):
        return items
    return list(dict.fromkeys(part for item in items for part in halves(item)))


def _blocks(items: Data, *, strict: bool) -> Data:
    """``cidr`` with ``except``. ``strict``: an exception must be smaller than its prefix."""
    return [part for item in items for part in (_block(item, strict) if "cidr" in item else [item])]


def _block(item: dict[str, Data], strict: bool) -> list[dict[str, Data]]:
    found = []
    for half in halves(item["cidr"]):
        outer = ip_network(half)
        inner = [text for text in item.get("except", []) if _inside(text, half)]
        if any(_inside(half, text) for text in item.get("except", [])) and strict:
            continue
        new = {**item, "cidr": str(outer)}
        found.append({**new, "except": inner} if "except" in item else new)
    return found or [item]


def _inside(inner: str, outer: str) -> bool:
    one, other = ip_network(inner), ip_network(outer)
    low, high = int(one.network_address), int(one.broadcast_address)
    return one.version == other.version and int(other.network_address) <= low and high <= int(other.broadcast_address)


def _network_peers(items: Data) -> Data:
    """NetworkPolicy's peers: an ``ipBlock`` becomes two."""
    found = []
    for item in items:
        if isinstance(item, dict) and "ipBlock" in item:
            found += [{"ipBlock": block} for block in _block(item["ipBlock"], strict=True)]
        else:
            found.append(item)
    return found


def _ports(items: Data) -> Data:
    if not isinstance(items, list):
        return items
    return [part for item in items for part in _port(item)]


def _port(item: Data) -> list[Data]:
    """A range of any language in two; anything else as it is."""
    if isinstance(item, str) and ":" in item:
        low, high = map(int, item.split(":"))
        return [f"{one}:{other}" for one, other in _cut(low, high)]
    if not isinstance(item, dict):
        return [item]
    if "endPort" in item:
        make = type(item["port"])
        return [{**item, "port": make(low), "endPort": high} for low, high in _cut(int(item["port"]), item["endPort"])]
    if "portRange" in item:
        span = item["portRange"]
        return [_admin_span(span, low, high) for low, high in _cut(span["start"], span["end"])]
    for protocol in ("tcp", "udp", "sctp"):
        span = item.get(protocol, {}).get("destinationPort", {}).get("range")
        if span:
            return [_cluster_span(protocol, low, high) for low, high in _cut(span["start"], span["end"])]
    return [item]


def _cut(low: int, high: int) -> list[tuple[int, int]]:
    if low == high:
        return [(low, high)]
    middle = (low + high) // 2
    return [(low, middle), (middle + 1, high)]


def _admin_span(span: dict[str, Data], low: int, high: int) -> dict[str, Data]:
    word = {"protocol": span["protocol"]} if "protocol" in span else {}
    if low == high:
        return {"portNumber": {**word, "port": low}}
    return {"portRange": {**word, "start": low, "end": high}}


def _cluster_span(protocol: str, low: int, high: int) -> dict[str, Data]:
    port = {"number": low} if low == high else {"range": {"start": low, "end": high}}
    return {protocol: {"destinationPort": port}}


_HANDLERS: dict[str, Callable[[Data], Data]] = {
    **dict.fromkeys(("fromCIDR", "toCIDR", "nets", "notNets", "networks", "externalCIDRs"), _prefixes),
    **dict.fromkeys(("fromCIDRSet", "toCIDRSet"), lambda items: _blocks(items, strict=False)),
    **dict.fromkeys(("from", "to"), _network_peers),
    **dict.fromkeys(("ports", "notPorts", "protocols"), _ports),
}


def split_policies(objects: Iterable[Data]) -> tuple[Data, ...]:
    """Every object's spec, split."""
    return tuple(split_all(item) for item in objects)
