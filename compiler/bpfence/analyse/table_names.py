"""Names for addresses. In: the inventory of the new state, if there is one, and the manifests of both. Out: `Known`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

from bpfence.analyse.endpoint_connectivity import workload_name
from bpfence.analyse.table_diff import Known
from bpfence.emit.artefact import Manifest
from bpfence.identity.inventory import Address
from bpfence.identity.world import Entity, World

_KINDS = ("pod", "hostendpoint", "service")
"""Who is named when several have an address, in this order. A node's addresses are nobody's, as in `list`."""


@dataclass(slots=True)
class _Names:
    labels: dict[str, int] = field(default_factory=dict)
    at: dict[Address, int] = field(default_factory=dict)
    owner: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, label: str, addresses: Iterable[Address]) -> None:
        """What is known already stays."""
        number = self.labels.setdefault(label, len(self.labels))
        self.owner.setdefault(name, number)
        for address in addresses:
            self.at.setdefault(address, number)


def known_names(worlds: Iterable[World], manifests: Iterable[Manifest]) -> Known:
    """Replicas are called by their controlling owner; of endpoints that just a manifest knows each is itself.

    Where several know an address or a name, the first has it.
    """
    names, insiders = _Names(), set[Address]()
    for world in worlds:
        for kind in _KINDS:
            for entity in world.entities:
                if entity.kind == kind:
                    names.add(entity.name, _label(entity), entity.addresses)
        insiders |= {address for entity in world.entities if entity.kind == "node" for address in entity.addresses}
    for manifest in manifests:
        for entry in manifest.endpoints:
            names.add(entry.name, f"{entry.name}[Pod]", map(ip_address, entry.addresses))
        for host in manifest.hosts:
            kind = "Node" if host.name.startswith("node/") else "HostEndpoint"
            addresses = () if kind == "Node" else tuple(map(ip_address, host.addresses))
            names.add(host.name, f"{host.name}[{kind}]", addresses)
        insiders.update(map(ip_address, manifest.node_addresses))
    return Known(tuple(names.labels), names.at, names.owner, frozenset(insiders))


def _label(entity: Entity) -> str:
    if entity.kind == "pod":
        return workload_name(entity)
    if entity.kind == "service":
        return f"{entity.name.removeprefix('service/')}[Service]"
    return f"{entity.name}[HostEndpoint]"
