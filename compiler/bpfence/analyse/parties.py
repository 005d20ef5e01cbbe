"""Who a question is about: the words of ``--src`` and ``--dst`` to places of the world.

``namespace/pod``, ``namespace/owner`` (its first pod by name), ``hep/NAME``, ``host`` (the chosen node), ``node/NAME``,
an IP address, or a DNS name (destinations only).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from bpfence.classify.rows import Place, place_of
from bpfence.errors import UsageError
from bpfence.identity.inventory import Address
from bpfence.identity.world import Entity, World, host_networks

_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\.?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Party:
    """``entity``: the pod, node, host endpoint or service; None for an outside address. ``addresses``: what it can
    use, first family first. ``fqdn``: the name it is known by, when only that is known.
    """

    text: str
    entity: Entity | None
    addresses: tuple[Address, ...]
    fqdn: str = ""

    @property
    def policed(self) -> bool:
        """Whether it is a workload that policy can select."""
        return self.entity is not None and self.entity.kind == "pod"

    @property
    def is_host(self) -> bool:
        """Whether it is a node's own processes."""
        return self.entity is not None and self.entity.kind in ("node", "hostendpoint")


def find_party(text: str, world: World, node: str) -> Party:
    """UsageError when nothing of the inventory has the name."""
    address = _as_address(text)
    if address is not None:
        return _party_at(text, address, world)
    entity = _named(text, world, node)
    if entity is not None:
        return Party(text, entity, own_addresses(entity, world))
    if text == "host":
        raise UsageError(f"the inventory has no Node object for {node}, so its addresses are not known")
    if _NAME.fullmatch(text):
        return Party(text, None, (), text.lower().rstrip("."))
    raise UsageError(
        f"{text} is neither an address nor a name of the inventory: "
        "namespace/pod, namespace/owner, hep/NAME, host or node/NAME"
    )


def _named(text: str, world: World, node: str) -> Entity | None:
    name = f"node/{node}" if text == "host" else text
    if text in world.host_pods:
        name = f"node/{world.host_pods[text]}"
    if name.startswith("node/"):
        return world.by_name.get(name) or _node_of_host_endpoints(name, world)
    return world.by_name.get(name) or _by_owner(text, world)


def _node_of_host_endpoints(name: str, world: World) -> Entity | None:
    """A node that only its host endpoints tell of."""
    node = name.removeprefix("node/")
    found = [item for item in world.entities if item.kind == "hostendpoint" and item.node == node]
    addresses = tuple(dict.fromkeys(address for item in found for address in item.addresses))
    return Entity(name, "node", {}, host_networks(addresses), node) if addresses else None


def own_addresses(entity: Entity, world: World) -> tuple[Address, ...]:
    """The entity's addresses; a host endpoint without any has its node's, a node without any its host endpoints'."""
    if entity.addresses or entity.kind not in ("node", "hostendpoint"):
        return entity.addresses
    node = world.by_name.get(f"node/{entity.node}") if entity.kind == "hostendpoint" else None
    known = node or _node_of_host_endpoints(f"node/{entity.node}", world)
    return () if known is None else known.addresses


def _as_address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _party_at(text: str, address: Address, world: World) -> Party:
    holders = world.entities_at(address)
    kinds = ("pod", "node", "hostendpoint", "service")
    entity = next((e for kind in kinds for e in holders if e.kind == kind), None)
    return Party(text, entity, (address,))


def _by_owner(text: str, world: World) -> Entity | None:
    namespace, _, name = text.partition("/")
    return next((pod for pod in world.pods if pod.namespace == namespace and pod.owner[1] == name), None)


def place_of_party(party: Party, address: Address | None, world: World, fqdn: str = "") -> Place:
    """Where the party is seen: at its address, or, without one, as itself. ``fqdn``: the name it was learnt under."""
    if address is not None:
        place = place_of(address, world)
        return Place(address, place.holders, fqdn) if fqdn else place
    return Place(None, () if party.entity is None else (party.entity,), fqdn)


def common_family(source: Party, destination: Party, wanted: int | None) -> tuple[Address | None, Address | None]:
    """One address of each, of one family: the wanted one, else the first of the destination's that the source has too.

    A party without addresses (a template) gets None. UsageError when the families do not meet.
    """
    for version in (
        (wanted,) if wanted else tuple(dict.fromkeys(a.version for a in destination.addresses or source.addresses))
    ):
        left = next((a for a in source.addresses if a.version == version), None)
        right = next((a for a in destination.addresses if a.version == version), None)
        if (left or not source.addresses) and (right or not destination.addresses):
            return left, right
    if not source.addresses and not destination.addresses:
        return None, None
    raise UsageError(
        f"{source.text} and {destination.text} have no addresses of one family{f' {wanted}' if wanted else ''}"
    )
