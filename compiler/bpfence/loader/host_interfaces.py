"""Which interfaces of the node are policed as its own: the manifest's hosts and the node's links in, places out.

For each interface the host endpoint that governs it: of those that name it, or name none and have an address on it,
the bytewise first; else that of every interface. An interface without one is still asked about the node itself where
policies select nodes. Loopback, workloads' interfaces, bridges that lead to workloads, and ports of a bridge or bond
(their master is policed) are left out, unless a host endpoint names them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from bpfence.emit.artefact import HostEntry, Manifest
from bpfence.loader.bpffs import HOST_DIRECTIONS, XDP_HOOK, Direction
from bpfence.plan.layout import HOST_INTERFACE

if TYPE_CHECKING:
    from bpfence.loader.netlink import Link

EVERY_INTERFACE = "*"
_HOST_ENDPOINT = "hep/"
_EARLY = ("ingress", "untracked")


@dataclass(frozen=True, slots=True)
class HostInterface:
    """An interface of the node. ``host``: its host endpoint (``hep/NAME``), or the node itself when it has none.

    ``number``: the host endpoint's place in the manifest, -1 for none.
    """

    index: int
    name: str
    host: str
    number: int
    drops_early: bool = False
    """its host endpoint has policies before connection tracking"""

    @property
    def value(self) -> int:
        """What the interface table says about it."""
        return HOST_INTERFACE | (self.number + 1)

    @property
    def title(self) -> str:
        return self.host

    @property
    def hardware(self) -> str:
        """Not remembered: the node's own interfaces are found by what they are now."""
        return ""

    @property
    def directions(self) -> tuple[Direction, ...]:
        return (*HOST_DIRECTIONS, XDP_HOOK) if self.drops_early else HOST_DIRECTIONS


def discover_hosts(
    manifest: Manifest, links: Sequence[Link], addresses: Iterable[tuple[int, str]], workloads: Collection[int]
) -> tuple[tuple[HostInterface, ...], tuple[str, ...]]:
    """The node's interfaces, and one line for each host endpoint that governs none.

    ``addresses``: (interface, address); ``workloads``: interfaces of local endpoints.
    """
    if not manifest.hosts:
        return (), ()
    on_link: dict[int, set[str]] = {}
    for index, text in addresses:
        on_link.setdefault(index, set()).add(str(ip_address(text)))
    numbers = {host.name: number for number, host in enumerate(manifest.hosts)}
    endpoints = sorted((h for h in manifest.hosts if h.name.startswith(_HOST_ENDPOINT)), key=lambda h: h.name.encode())
    node = next((host for host in manifest.hosts if not host.name.startswith(_HOST_ENDPOINT)), None)
    found = []
    for link in links:
        governor = _governor(link, endpoints, on_link.get(link.index, set()))
        if not _is_own(link, governor, links, workloads):
            continue
        if governor is not None:
            early = any((row.direction, row.point) == _EARLY and row.offset is not None for row in governor.rows)
            found.append(HostInterface(link.index, link.name, governor.name, numbers[governor.name], early))
        elif node is not None:
            found.append(HostInterface(link.index, link.name, node.name, -1))
    return tuple(found), tuple(_without_interface(endpoints, found, links, on_link))


def _governor(link: Link, endpoints: Sequence[HostEntry], addresses: Collection[str]) -> HostEntry | None:
    for host in endpoints:
        if host.interface == link.name or (not host.interface and set(host.addresses) & set(addresses)):
            return host
    return next((host for host in endpoints if host.interface == EVERY_INTERFACE), None)


def _is_own(link: Link, governor: HostEntry | None, links: Sequence[Link], workloads: Collection[int]) -> bool:
    if link.loopback or link.index in workloads:
        return False
    if governor is not None and governor.interface == link.name:
        return True
    leads_to_workloads = any(other.master == link.index and other.index in workloads for other in links)
    return not link.master and not leads_to_workloads


def _without_interface(
    endpoints: Iterable[HostEntry],
    found: Sequence[HostInterface],
    links: Sequence[Link],
    on_link: Mapping[int, set[str]],
) -> Iterable[str]:
    governing = {item.host for item in found}
    there = {link.name for link in links} | {text for texts in on_link.values() for text in texts}
    for host in endpoints:
        if host.name in governing or host.interface == EVERY_INTERFACE:
            continue
        if there & {host.interface, *(() if host.interface else host.addresses)}:
            yield f"{host.name}: another host endpoint governs its interface; its policy is not enforced on this node"
        else:
            what = f"there is no interface {host.interface}" if host.interface else "no interface has its addresses"
            yield f"{host.name}: {what}; its policy is not enforced on this node"
