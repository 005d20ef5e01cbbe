"""Inventory to entities: every labelled object with its qualified labels and addresses, and the endpoints that policy
can select.

In: `Inventory`. Out: `World`, the view of the cluster that resolution, classification and explanation share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from bpfence.identity.inventory import Address, HostEndpoint, Inventory, Network, Node, Pod, Service

PROTOCOL_WORDS = {6: "TCP", 17: "UDP", 132: "SCTP"}


@dataclass(frozen=True, slots=True)
class Entity:
    """One object that has labels: a pod, a node, a service. ``labels``: qualified keys (see ir.expressions).

    ``name``: ``namespace/pod``, ``node/NAME`` or ``service/namespace/NAME``. ``networks``: its addresses as /32, /128
    (sets: any prefix).
    """

    name: str
    kind: str
    labels: Mapping[str, str]
    networks: tuple[Network, ...]
    node: str = ""
    namespace: str = ""
    owner: tuple[str, str] = ("", "")
    interface: str = ""
    ports: tuple[tuple[str, int, int], ...] = ()
    """(name, protocol, number) of its named ports"""

    known_addresses: tuple[Address, ...] = field(default=(), repr=False, compare=False)
    """its networks' addresses, where whoever made it had them at hand; else they are found when asked for"""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The single addresses among its networks, in the order of the object."""
        if len(self.known_addresses) == len(self.networks):
            return self.known_addresses
        return tuple(n.network_address for n in self.networks if n.prefixlen == n.max_prefixlen)


@dataclass(frozen=True, slots=True)
class World:
    """``entities``: sorted by name. ``by_address``: single address -> entities that have it."""

    entities: tuple[Entity, ...]
    by_name: Mapping[str, Entity] = field(repr=False)
    by_address: Mapping[Address, tuple[Entity, ...]] = field(repr=False)
    sets: tuple[Entity, ...] = ()
    """entities with networks wider than one address"""
    nodes: tuple[str, ...] = ()
    host_pods: Mapping[str, str] = field(default_factory=dict, repr=False)
    """host-network pods (``namespace/name``) -> their node: they are no endpoints, their traffic is the node's"""

    @property
    def pods(self) -> tuple[Entity, ...]:
        """Workload endpoints on the pod network (templates without addresses included)."""
        return tuple(entity for entity in self.entities if entity.kind == "pod")

    def entities_at(self, address: Address) -> tuple[Entity, ...]:
        """Every entity that has the address."""
        wide = tuple(
            entity for entity in self.sets if any(address in n for n in entity.networks if n.version == address.version)
        )
        return (
            tuple(dict.fromkeys((*self.by_address.get(address, ()), *wide)))
            if wide
            else self.by_address.get(address, ())
        )


def build_world(inventory: Inventory, host_endpoints: Iterable[HostEndpoint] = ()) -> World:
    """Flatten the inventory. Host-network pods are no entities: their addresses count to their node."""
    namespaces = {item.name: item.labels for item in inventory.namespaces}
    accounts = {(item.namespace, item.name): item.labels for item in inventory.service_accounts}
    pods = (pod for pod in inventory.pods if not pod.host_network)
    entities = [_pod_entity(pod, namespaces, accounts, inventory.cluster) for pod in pods]
    entities += _node_entities(inventory)
    taken = frozenset(address for entity in entities for address in entity.addresses)
    services = (_service_entity(service, taken) for service in inventory.services)
    entities += [service for service in services if service.networks]
    entities += [_host_endpoint_entity(item) for item in host_endpoints]
    entities.sort(key=lambda entity: entity.name)
    by_address: dict[Address, tuple[Entity, ...]] = {}
    for entity in entities:
        for address in entity.addresses:
            by_address[address] = (*by_address.get(address, ()), entity)
    names = tuple(entity.name.removeprefix("node/") for entity in entities if entity.kind == "node")
    sets = tuple(entity for entity in entities if len(entity.addresses) < len(entity.networks))
    host_pods = {f"{pod.namespace}/{pod.name}": pod.node for pod in inventory.pods if pod.host_network}
    return World(tuple(entities), {entity.name: entity for entity in entities}, by_address, sets, names, host_pods)


def _pod_entity(
    pod: Pod,
    namespaces: Mapping[str, Mapping[str, str]],
    accounts: Mapping[tuple[str, str], Mapping[str, str]],
    cluster: str,
) -> Entity:
    space = namespaces.get(pod.namespace, {"kubernetes.io/metadata.name": pod.namespace})
    account = accounts.get((pod.namespace, pod.service_account), {})
    labels = {f"label:{key}": value for key, value in pod.labels.items()}
    labels.update((f"namespace:{key}", value) for key, value in space.items())
    labels.update((f"serviceaccount:{key}", value) for key, value in account.items())
    ports = _named_ports(pod)
    labels.update((f"port:{PROTOCOL_WORDS[protocol]}:{name}:{number}", "") for name, protocol, number in ports)
    labels["meta:kind"] = "pod"
    labels["meta:namespace"] = pod.namespace
    labels["meta:name"] = pod.name
    labels["meta:serviceaccount"] = pod.service_account
    labels["meta:cluster"] = pod.cluster or cluster
    labels.update((f"reserved:{name}", "") for name in pod.reserved)
    if pod.node:
        labels["meta:node"] = pod.node
    if pod.profiles is not None:
        labels["meta:profiles"] = "own"
    name = f"{pod.namespace}/{pod.name}"
    return Entity(
        name,
        "pod",
        labels,
        host_networks(pod.addresses),
        pod.node,
        pod.namespace,
        pod.owner,
        pod.interface,
        ports,
        pod.addresses,
    )


def _named_ports(pod: Pod) -> tuple[tuple[str, int, int], ...]:
    """Named ports that policy counts: containers and restartable init containers."""
    counted = (port for port in pod.ports if port.name and (not port.init or port.restartable))
    return tuple(sorted({(port.name, port.protocol, port.number) for port in counted}))


def _node_entities(inventory: Inventory) -> list[Entity]:
    """Every node, also one that only its host-network pods tell of."""
    extra: dict[str, list[Address]] = {}
    for pod in inventory.pods:
        if pod.host_network and pod.node:
            extra.setdefault(pod.node, []).extend(pod.addresses)
    known = {node.name for node in inventory.nodes}
    unknown = [
        Node(pod.node, pod.span) for pod in inventory.pods if pod.host_network and pod.node and pod.node not in known
    ]
    nodes = (*inventory.nodes, *{node.name: node for node in unknown}.values())
    return [_node_entity(node, extra.get(node.name, [])) for node in nodes]


def _node_entity(node: Node, extra: list[Address]) -> Entity:
    labels = {f"label:{key}": value for key, value in node.labels.items()}
    labels["meta:kind"] = "node"
    labels["meta:name"] = node.name
    labels["meta:node"] = node.name
    addresses = tuple(dict.fromkeys((*node.addresses, *extra)))
    return Entity(f"node/{node.name}", "node", labels, host_networks(addresses), node.name)


def _host_endpoint_entity(item: HostEndpoint) -> Entity:
    labels = {f"label:{key}": value for key, value in item.labels.items()}
    labels.update((f"port:{PROTOCOL_WORDS[protocol]}:{name}:{number}", "") for name, protocol, number in item.ports)
    labels["meta:kind"] = "hostendpoint"
    labels["meta:name"] = item.name
    labels["meta:node"] = item.node
    return Entity(
        f"hep/{item.name}",
        "hostendpoint",
        labels,
        host_networks(item.addresses),
        item.node,
        interface=item.interface,
        ports=item.ports,
    )


def _service_entity(service: Service, taken: frozenset[Address]) -> Entity:
    """A service that borrows the address of a pod or node (a load balancer on the nodes) does not take it over: beside
    the service's ports the address is its owner's.
    """
    labels = {f"label:{key}": value for key, value in service.labels.items()}
    labels["meta:kind"] = "service"
    labels["meta:namespace"] = service.namespace
    labels["meta:name"] = service.name
    name = f"service/{service.namespace}/{service.name}"
    own = tuple(address for address in service.addresses if address not in taken)
    return Entity(name, "service", labels, host_networks(own), namespace=service.namespace)


def host_networks(addresses: tuple[Address, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Each address as its /32 or /128; made from its number, which is much faster than from its text."""
    return tuple(IPv4Network(int(a)) if a.version == 4 else IPv6Network(int(a)) for a in addresses)
