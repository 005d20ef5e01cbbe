"""Which host endpoint governs which interface of a node.

In: the world's host endpoints. Out: `NodeHosts` per node. Candidates for an interface are the host endpoints that name
it and those that name none and have an address on it; of several the bytewise smallest name wins, the others police
nothing. A host endpoint of every interface (``*``) takes the interfaces that have no candidate. (Calico:
felix/dataplane/linux/endpoint_mgr.go.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bpfence.identity.inventory import Address
from bpfence.identity.world import Entity, World

EVERY_INTERFACE = "*"
LOOPBACK = "lo"
_UNNAMED = "?"
"""stands for an interface that no host endpoint names"""
_NO_NAME = ("", EVERY_INTERFACE)


@dataclass(frozen=True, slots=True)
class NodeHosts:
    """The host endpoints of one node, bytewise by name."""

    all: tuple[Entity, ...] = ()

    @property
    def wildcard(self) -> Entity | None:
        """The one of every interface."""
        return next((item for item in self.all if item.interface == EVERY_INTERFACE), None)

    @property
    def active(self) -> tuple[Entity, ...]:
        """Those that police something."""
        return tuple(item for item in self.all if self.winner(item) is item)

    def governing(self, interface: str, address: Address | None = None) -> Entity | None:
        """Who governs an interface. ``address``: one that is known to be on it."""
        if interface == LOOPBACK:
            return None
        if interface == EVERY_INTERFACE:
            return self.wildcard
        named = [item for item in self.all if item.interface == interface]
        on_it = {address, *(other for item in named for other in item.addresses)}
        candidates = (i for i in self.all if i.interface == interface or (not i.interface and on_it & set(i.addresses)))
        return next(candidates, None) or self.wildcard

    def default(self) -> Entity | None:
        """The one that traffic meets when nobody says which interface it uses: the smallest name."""
        return next(iter(self.all), None)

    def winner(self, host_endpoint: Entity, address: Address | None = None) -> Entity:
        """Who governs where the host endpoint stands, going by the objects alone: it itself, or the one it lost to.

        ``address``: which of its addresses is meant. One without an interface may stand at several interfaces; without
        an address it has lost when it has at all of them.
        """
        if host_endpoint.interface:
            return self.governing(host_endpoint.interface) or host_endpoint
        if address in host_endpoint.addresses:
            return self._at(address) or host_endpoint
        governors = [found for item in host_endpoint.addresses if (found := self._at(item)) is not None]
        return host_endpoint if host_endpoint in governors else next(iter(governors), host_endpoint)

    def _at(self, address: Address | None) -> Entity | None:
        """Who governs the interface that has the address: the one that a host endpoint names for it, else another."""
        named = next((i.interface for i in self.all if i.interface not in _NO_NAME and address in i.addresses), None)
        return self.governing(_UNNAMED if named is None else named, address)


NO_HOSTS = NodeHosts()


def hosts_by_node(world: World) -> Mapping[str, NodeHosts]:
    """The nodes that have host endpoints."""
    found: dict[str, list[Entity]] = {}
    for entity in world.entities:
        if entity.kind == "hostendpoint":
            found.setdefault(entity.node, []).append(entity)
    return {node: NodeHosts(tuple(sorted(items, key=lambda item: item.name.encode()))) for node, items in found.items()}
