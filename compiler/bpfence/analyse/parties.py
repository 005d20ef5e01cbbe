"""Who a question is about: the words of ``--src`` and ``--dst`` to places of the world.

``namespace/pod``, ``namespace/owner`` (its first pod by name), ``host`` (the chosen node), ``node/NAME``, or an IP
address.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from bpfence.classify.rows import Place, place_of
from bpfence.errors import UsageError
from bpfence.identity.inventory import Address
from bpfence.identity.world import Entity, World


@dataclass(frozen=True, slots=True)
class Party:
    """``entity``: the pod or node; None for an outside address. ``addresses``: what it can use, first family first."""

    text: str
    entity: Entity | None
    addresses: tuple[Address, ...]

    @property
    def policed(self) -> bool:
        """Whether it is an endpoint that policy can select."""
        return self.entity is not None and self.entity.kind == "pod"


def find_party(text: str, world: World, node: str) -> Party:
    """UsageError when nothing of the inventory has the name."""
    address = _as_address(text)
    if address is not None:
        return _party_at(text, address, world)
    name = f"node/{node}" if text == "host" else text
    if text in world.host_pods:
        name = f"node/{world.host_pods[text]}"
    entity = world.by_name.get(name) or _by_owner(text, world)
    if entity is not None:
        return Party(text, entity, entity.addresses)
    if text == "host":
        raise UsageError(f"the inventory has no Node object for {node}, so its addresses are not known")
    if "/" not in text and "." in text:
        raise UsageError(f"{text}: names are not supported yet; use an address")
    raise UsageError(f"{text} is neither an address nor a pod or workload of the inventory (namespace/name)")


def _as_address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _party_at(text: str, address: Address, world: World) -> Party:
    holders = world.entities_at(address)
    entity = next((e for kind in ("pod", "node", "service") for e in holders if e.kind == kind), None)
    return Party(text, entity, (address,))


def _by_owner(text: str, world: World) -> Entity | None:
    namespace, _, name = text.partition("/")
    return next((pod for pod in world.pods if pod.namespace == namespace and pod.owner[1] == name), None)


def place_of_party(party: Party, address: Address | None, world: World) -> Place:
    """Where the party is seen: at its address, or, without one, as itself."""
    if address is not None:
        return place_of(address, world)
    return Place(None, () if party.entity is None else (party.entity,))


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
