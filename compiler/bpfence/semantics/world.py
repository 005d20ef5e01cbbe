"""The world a policy is judged in: inventory, policies and options in; answers to "whose address is this?" out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from bpfence.errors import UsageError
from bpfence.identity.inventory import Address, Inventory, Pod
from bpfence.options import Options
from bpfence.semantics.host_endpoints import HostInterface, read_host_interfaces
from bpfence.semantics.services import find_places
from bpfence.semantics.unsupported import PolicySet, split_policies

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Party:
    """One end of a packet. Exactly one of ``pod``, ``node`` and ``service`` says who owns the address; none = outside.

    ``pod``: a pod on the pod network. ``node``: a node's name; its host-network pods are the node. ``address``
    is None only for a workload without pods, which no address rule can see.
    """

    address: Address | None
    pod: Pod | None = None
    node: str | None = None
    service: bool = False
    host: str = ""
    """the node whose processes have the address: its own addresses, and those its host endpoints expect"""

    @property
    def outside(self) -> bool:
        return self.address is not None and self.pod is None and self.node is None and not self.service

    def within(self, network: Network) -> bool:
        """Whether the address lies in the network; IPv4 and IPv6 never match each other."""
        return self.address is not None and self.address.version == network.version and self.address in network


class ReferenceWorld:
    """Inventory, policies and options, with the owner of every known address.

    ``policies``: those that hold as they are written. ``denying``: the world of those that can't be enforced, and only
    deny; None = there are none.
    """

    def __init__(self, inventory: Inventory, policies: PolicySet, options: Options) -> None:
        self.inventory = inventory
        self.written = policies
        self.policies, denying = split_policies(policies, options)
        self.denying = None if denying is None else ReferenceWorld(inventory, denying, _strict(options))
        self.options = options
        self.node_addresses = _node_addresses(inventory)
        self.backends = find_places(inventory, self.node_addresses)
        self.host_interfaces = read_host_interfaces(policies.calico, inventory)
        self._owners = self._find_owners()
        self._namespaces = {item.name: item.labels for item in inventory.namespaces}
        self._accounts = {(item.namespace, item.name): item.labels for item in inventory.service_accounts}
        self._pods = {(pod.namespace, pod.name): pod for pod in inventory.pods}

    def _find_owners(self) -> dict[Address, Party]:
        """Later entries win: a pod before a node before a service before what only a host endpoint claims."""
        owners = {
            address: Party(address, host=item.node) for item in self.host_interfaces for address in item.addresses
        }
        for service in self.inventory.services:
            owners |= {address: Party(address, service=True) for address in service.addresses}
        for name, addresses in self.node_addresses.items():
            owners |= {address: Party(address, node=name, host=name) for address in addresses}
        for pod in self.inventory.pods:
            if not pod.host_network:
                owners |= {address: Party(address, pod=pod) for address in pod.addresses}
        return owners

    def owner(self, address: Address) -> Party:
        """Who has the address; an outside party when nobody does."""
        return self._owners.get(address) or Party(address)

    def pod(self, endpoint: str) -> Pod:
        """The pod written ``namespace/name``. UsageError when the inventory has none."""
        namespace, _, name = endpoint.partition("/")
        pod = self._pods.get((namespace, name))
        if pod is None:
            raise UsageError(f"no pod {endpoint} in the inventory")
        return pod

    def host_interface(self, name: str) -> HostInterface:
        """The host endpoint with this name. UsageError when there is none."""
        for item in self.host_interfaces:
            if item.name == name:
                return item
        raise UsageError(f"no host endpoint {name} in the input")

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """Labels of the Namespace; just its name label when nothing defines it."""
        return self._namespaces.get(namespace, {"kubernetes.io/metadata.name": namespace})

    def account_labels(self, namespace: str, name: str) -> Mapping[str, str]:
        return self._accounts.get((namespace, name), {})

    def node_labels(self, name: str) -> Mapping[str, str]:
        return next((node.labels for node in self.inventory.nodes if node.name == name), {})


def _strict(options: Options) -> Options:
    return options.model_copy(update={"allow_unsupported": False})


def parse_address(address: Address | str) -> Address:
    """An address from text; UsageError when it is none."""
    if not isinstance(address, str):
        return address
    try:
        return ip_address(address)
    except ValueError as error:
        raise UsageError(f"{address!r} is no IP address") from error


def is_node(peer: Party, node: str) -> bool:
    """Whether the peer is this node: its processes and host-network pods, by any of its addresses."""
    return bool(node) and peer.node == node


def _node_addresses(inventory: Inventory) -> dict[str, tuple[Address, ...]]:
    """Addresses of every node by name: the Node object's and those of the host-network pods on it."""
    found: dict[str, list[Address]] = {node.name: list(node.addresses) for node in inventory.nodes}
    for pod in inventory.pods:
        if pod.host_network and pod.node:
            found.setdefault(pod.node, []).extend(pod.addresses)
    return {name: tuple(dict.fromkeys(addresses)) for name, addresses in found.items()}
