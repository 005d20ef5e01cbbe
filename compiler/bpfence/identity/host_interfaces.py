"""Which host endpoint governs which interface of a node.

In: the world's host endpoints. Out: `NodeHosts` per node. An interface is governed by the host endpoint that names it;
of several, the bytewise smallest name wins and the others police nothing. A host endpoint of every interface (``*``)
takes the interfaces that have none of their own. (Calico: felix/dataplane/linux/endpoint_mgr.go.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bpfence.identity.inventory import Address
from bpfence.identity.world import Entity, World

EVERY_INTERFACE = "*"
LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class NodeHosts:
    """The host endpoints of one node. ``own``: those that govern an interface, by name; ``wildcard``: the ``*`` one.

    ``lost``: each host endpoint that polices nothing -> the one that governs its interface.
    """

    own: tuple[Entity, ...] = ()
    wildcard: Entity | None = None
    lost: Mapping[str, Entity] = field(default_factory=dict)

    @property
    def active(self) -> tuple[Entity, ...]:
        """Everyone that polices something, by name."""
        items = self.own if self.wildcard is None else (*self.own, self.wildcard)
        return tuple(sorted(items, key=_bytes))

    def governing(self, interface: str, address: Address | None = None) -> Entity | None:
        """Who governs an interface; ``address``: one of its addresses, for host endpoints that name no interface."""
        if interface == LOOPBACK:
            return None
        named = next((item for item in self.own if item.interface == interface), None)
        found = next((item for item in self.own if not item.interface and address in item.addresses), None)
        return named or found or self.wildcard

    def default(self) -> Entity | None:
        """The one that traffic meets when nobody says which interface it uses: the smallest name."""
        return next(iter(self.active), None)

    def winner(self, host_endpoint: Entity) -> Entity:
        """The host endpoint itself, or the one it lost its interface to."""
        return self.lost.get(host_endpoint.name, host_endpoint)


NO_HOSTS = NodeHosts()


def hosts_by_node(world: World) -> Mapping[str, NodeHosts]:
    """The nodes that have host endpoints."""
    found: dict[str, list[Entity]] = {}
    for entity in world.entities:
        if entity.kind == "hostendpoint":
            found.setdefault(entity.node, []).append(entity)
    return {node: _resolve(sorted(items, key=_bytes)) for node, items in found.items()}


def _resolve(items: Iterable[Entity]) -> NodeHosts:
    """``items``: of one node, by name."""
    taken: dict[str, Entity] = {}
    own: list[Entity] = []
    wildcard: Entity | None = None
    lost: dict[str, Entity] = {}
    for item in items:
        places = _places(item)
        winner = next((taken[place] for place in places if place in taken), None)
        if winner is not None:
            lost[item.name] = winner
            continue
        taken.update(dict.fromkeys(places, item))
        if item.interface == EVERY_INTERFACE:
            wildcard = item
        else:
            own.append(item)
    return NodeHosts(tuple(own), wildcard, lost)


def _places(item: Entity) -> tuple[str, ...]:
    """What tells the interface: its name, or without one its addresses (interface names hold no ``@``)."""
    return (item.interface,) if item.interface else tuple(f"@{address}" for address in item.addresses)


def _bytes(item: Entity) -> bytes:
    return item.name.encode()
