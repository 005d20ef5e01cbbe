"""Services as an application sees them: an address and a port in, the backends that would answer out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bpfence.identity.inventory import Address, Inventory, Service, ServicePort

Place = tuple[Address, int, int]
"""(address, protocol, port in host order) that somebody connects to."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a connection ends that was opened to a service. ``port``: the target's, in host order."""

    address: Address
    port: int


def find_places(
    inventory: Inventory, node_addresses: Mapping[str, tuple[Address, ...]]
) -> dict[Place, tuple[Backend, ...]]:
    """Every place where a service answers, with its ready backends of that family.

    A service answers at its own addresses with its port, and at every address of every node with its NodePort. Of two
    services that claim one place the first by namespace and name has it.
    """
    nodes = [address for addresses in node_addresses.values() for address in addresses]
    found: dict[Place, tuple[Backend, ...]] = {}
    for service in inventory.services:
        for port in service.ports:
            backends = list(_ready_backends(inventory, service, port))
            for address, number in _addresses(service, port, nodes):
                here = tuple(item for item in backends if item.address.version == address.version)
                found.setdefault((address, port.protocol, number), here)
    return found


def _addresses(service: Service, port: ServicePort, nodes: Iterable[Address]) -> Iterator[tuple[Address, int]]:
    yield from ((address, port.port) for address in service.addresses)
    if port.node_port:
        yield from ((address, port.node_port) for address in nodes)


def _ready_backends(inventory: Inventory, service: Service, port: ServicePort) -> Iterator[Backend]:
    """Addresses and target ports stand in the endpoints, where a port is found by its name."""
    for entry in inventory.endpoints:
        if entry.ready and (entry.namespace, entry.service) == (service.namespace, service.name):
            for name, protocol, number in entry.ports:
                if (name, protocol) == (port.name, port.protocol):
                    yield Backend(entry.address, number)
