"""Services as an application sees them: an address and a port in, the backends that would answer out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bpfence.identity.inventory import Address, Service, ServicePort
from bpfence.semantics.world import ReferenceWorld


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a connection ends that was opened to a service. ``port``: the target's, in host order."""

    address: Address
    port: int


def find_backends(
    world: ReferenceWorld, address: Address | None, protocol: int, port: int | None
) -> tuple[Backend, ...] | None:
    """The ready backends of the service that answers there, in its family; of two that claim one place the first by
    namespace and name. None: no service does.
    """
    if address is None or port is None:
        return None
    for service in world.inventory.services:
        for written in service.ports:
            if written.protocol == protocol and _answers(world, service, written, address, port):
                return tuple(_ready_backends(world, service, written, address.version))
    return None


def _answers(world: ReferenceWorld, service: Service, written: ServicePort, address: Address, port: int) -> bool:
    """At the service's own addresses with its port, at every address of every node with its NodePort."""
    if address in service.addresses and port == written.port:
        return True
    at_node = any(address in addresses for addresses in world.node_addresses.values())
    return at_node and written.node_port != 0 and port == written.node_port


def _ready_backends(world: ReferenceWorld, service: Service, written: ServicePort, version: int) -> Iterator[Backend]:
    """Addresses and target ports stand in the endpoints; a port is found there by its name."""
    for entry in world.inventory.endpoints:
        if (entry.namespace, entry.service) != (service.namespace, service.name):
            continue
        if not entry.ready or entry.address.version != version:
            continue
        for name, protocol, number in entry.ports:
            if (name, protocol) == (written.name, written.protocol):
                yield Backend(entry.address, number)
