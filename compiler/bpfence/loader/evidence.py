"""What leads to an endpoint: the node's links, routes and neighbours, and what is remembered, in; an index out.

Annotations and routes are the node's own and certain. Neighbours are not: a pod decides whether it answers, and can
speak in another's name. So no neighbour entry, and the lack of none, takes an endpoint off the interface that it was
found on before.
"""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfence.emit.artefact import EndpointEntry
from bpfence.errors import AttachConflict

if TYPE_CHECKING:  # who only reads the names needs no netlink
    from bpfence.loader.known_interfaces import KnownInterface
    from bpfence.loader.netlink import HostRoute, Link, Neighbour, Netlink

_POD_KINDS = frozenset(("veth", "netkit", "tun", "ipvlan", "macvlan", "macvtap", "dummy"))
"""What a pod's interface can be when only a neighbour entry points at it; a neighbour behind hardware is another
machine.
"""
ANNOTATE = "name each pod's own interface in its annotation bpfence.io/interface"
ANNOTATION, ROUTE, NEIGHBOUR, REMEMBERED = "annotation", "route", "neighbour", "remembered"

Found = tuple["Link", str]
"""An interface, and the evidence for it."""


@dataclass(frozen=True, slots=True)
class _Facts:
    by_name: Mapping[str, Link]
    by_index: Mapping[int, Link]
    routes: Mapping[bytes, int]
    neighbours: Mapping[bytes, set[int]]
    uplinks: frozenset[int]


def find_interfaces(
    endpoints: Iterable[EndpointEntry], netlink: Netlink, known: Mapping[str, KnownInterface]
) -> dict[str, Found | str]:
    """Endpoint -> its interface, or why it has none. ``known``: see `known_interfaces`. Raises AttachConflict when it
    can't be told.
    """
    facts = _facts(netlink)
    listed = tuple(endpoints)
    homes = _homes(listed, known, facts)
    certain: dict[str, tuple[int, str]] = {}
    for endpoint in listed:
        place = _pointed_out(endpoint, facts, homes.get(endpoint.name))
        if place is not None:
            certain[endpoint.name] = place
    # an interface that certainly is another's by now is nobody else's home
    holders = {index: name for name, (index, _) in certain.items()}
    homes = {name: index for name, index in homes.items() if holders.get(index, name) == name}
    found: dict[str, Found | str] = {}
    for endpoint in listed:
        place_or_why = certain.get(endpoint.name) or _likely(endpoint, facts, homes, holders)
        found[endpoint.name] = (
            place_or_why if isinstance(place_or_why, str) else (facts.by_index[place_or_why[0]], place_or_why[1])
        )
    return found


def _homes(endpoints: Iterable[EndpointEntry], known: Mapping[str, KnownInterface], facts: _Facts) -> dict[str, int]:
    """Endpoint -> the interface it is remembered on, if that is still there.

    Hardware that now has the default route is no longer a pod's. What only pods have is: a pod may announce itself as
    a router, and gets no default route by that which would take its policy off.
    """
    found = {}
    for endpoint in endpoints:
        item = known.get(endpoint.name)
        link = facts.by_index.get(item.index) if item is not None else None
        if item is None or link is None or link.loopback or not item.is_still(link):
            continue
        if link.index not in facts.uplinks or link.kind in _POD_KINDS:
            found[endpoint.name] = link.index
    return found


def _pointed_out(endpoint: EndpointEntry, facts: _Facts, home: int | None) -> tuple[int, str] | None:
    """(index, evidence) by what the node's owner says. ``home``: where the endpoint was before."""
    if endpoint.interface:
        link = facts.by_name.get(endpoint.interface)
        if link is None or link.loopback:
            return None
        if link.index in facts.uplinks and link.index != home:
            raise AttachConflict(
                f"{endpoint.name}: its annotation names {link.name}, which carries the node's default route"
            )
        return link.index, ANNOTATION
    index = _only({facts.routes[one] for one in _addresses(endpoint) if one in facts.routes} - facts.uplinks,
                  endpoint, facts)  # fmt: skip
    return None if index is None else (index, ROUTE)


def _likely(
    endpoint: EndpointEntry, facts: _Facts, homes: Mapping[str, int], holders: Mapping[int, str]
) -> tuple[int, str] | str:
    """(index, evidence) by neighbours and memory, or why there is none."""
    home = homes.get(endpoint.name)
    if endpoint.interface:
        missing = f"its annotation names interface {endpoint.interface}, which is not there"
        return missing if home is None else (home, REMEMBERED)
    seen = {index for one in _addresses(endpoint) for index in facts.neighbours.get(one, ())} - facts.uplinks
    others = {index for name, index in homes.items() if name != endpoint.name} | holders.keys()
    if home is None:
        index = _only(seen - others or seen, endpoint, facts)
        nothing = "no interface leads to " + (", ".join(endpoint.addresses) or "it (it has no address)")
        return nothing if index is None else (index, NEIGHBOUR)
    if home in seen:
        return home, NEIGHBOUR
    elsewhere = sorted(facts.by_index[index].name for index in seen - others)
    if elsewhere:
        raise AttachConflict(
            f"{endpoint.name}: its addresses lead to {', '.join(elsewhere)}, and {facts.by_index[home].name}, where it "
            f"is policed, is still there; remove the interface that is not its own, or {ANNOTATE}"
        )
    return home, REMEMBERED


def _only(indices: set[int], endpoint: EndpointEntry, facts: _Facts) -> int | None:
    if len(indices) > 1:
        names = ", ".join(facts.by_index[index].name for index in sorted(indices))
        raise AttachConflict(f"{endpoint.name}: its addresses lead to several interfaces ({names}); {ANNOTATE}")
    return next(iter(indices), None)


def _facts(netlink: Netlink) -> _Facts:
    links = netlink.links()
    by_index = {link.index: link for link in links}
    ports = netlink.bridge_ports() if any(link.kind == "bridge" for link in links) else {}
    uplinks = netlink.default_route_interfaces() | {link.index for link in links if link.loopback}
    return _Facts(
        by_name={link.name: link for link in links},
        by_index=by_index,
        routes=_route_map(netlink.host_routes(), by_index),
        neighbours=_neighbour_map(netlink.neighbours(), by_index, ports),
        uplinks=uplinks,
    )


def _route_map(routes: Iterable[HostRoute], links: Mapping[int, Link]) -> dict[bytes, int]:
    return {_packed(route.address): route.index for route in routes if route.index in links}


def _neighbour_map(
    neighbours: Iterable[Neighbour], links: Mapping[int, Link], ports: Mapping[tuple[int, str], int]
) -> Mapping[bytes, set[int]]:
    """Address -> interfaces; behind a bridge the port that the hardware address was seen on."""
    result: dict[bytes, set[int]] = defaultdict(set)
    for item in neighbours:
        link = links.get(item.index)
        if link is None:
            continue
        index = ports.get((link.index, item.hardware), 0) if link.kind == "bridge" else item.index
        if index in links and links[index].kind in _POD_KINDS:
            result[_packed(item.address)].add(index)
    return result


def _addresses(endpoint: EndpointEntry) -> list[bytes]:
    return [_packed(address) for address in endpoint.addresses]


def _packed(address: str) -> bytes:
    """An address however it is written: 4 or 16 bytes in network order."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
