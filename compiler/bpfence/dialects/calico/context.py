"""What lowering needs to know beside the policy: network sets, host endpoints, service accounts, options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bpfence.dialects.calico.labels import LONGEST_ACCOUNT, Exceptions
from bpfence.dialects.calico.model import GlobalNetworkSet, NetworkSet
from bpfence.dialects.calico.selectors import NAMESPACE_LABEL, NAMESPACE_PREFIX
from bpfence.dialects.calico.values import read_set_cidr
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import HostEndpoint, Inventory
from bpfence.ir.expressions import ANYONE, HasObject, Network, PeerExpr, PeerNot, kind_is
from bpfence.ir.nodes import Point
from bpfence.options import Options


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """A network set with its effective labels: own, implicit, and inherited from its namespace."""

    labels: Mapping[str, str]
    networks: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class InitPort:
    """A named port that only a plain init container of the pod declares."""

    namespace: str
    pod: str
    name: str
    protocol: int
    number: int


@dataclass(frozen=True, slots=True)
class Context:
    """``by_address``: the addresses that a prefix of a rule can match at all, ``on_wire``: before translation;
    ``of_sets``: those that one of a network set can.
    ``hosts``: the host endpoints. ``shared_addresses``: whether one address has several endpoints.
    """

    inventory: Inventory
    sets: tuple[LabelledSet, ...]
    exceptions: Exceptions
    init_ports: tuple[InitPort, ...]
    by_address: PeerExpr
    of_sets: PeerExpr
    on_wire: PeerExpr = ANYONE
    hosts: tuple[HostEndpoint, ...] = ()
    shared_addresses: bool = False

    def at(self, point: Point) -> Context:
        """The same for the rules of a point. Before the destination is translated a service address is an address."""
        if point not in (Point.UNTRACKED, Point.PRE_DNAT):
            return self
        return replace(self, by_address=self.on_wire, of_sets=ANYONE)


def lowering_context(
    objects: Sequence[PolicyObject], options: Options, inventory: Inventory, hosts: tuple[HostEndpoint, ...]
) -> Context:
    """Collect the facts once for all policies."""
    names = {pod.service_account for pod in inventory.pods}
    long_accounts = tuple(sorted(name for name in names if len(name) > LONGEST_ACCOUNT))
    without_pods = options.ipblock_matches_pods == "never"
    hidden = ("pod", "service") if without_pods else ("service",)
    return Context(
        inventory,
        tuple(_labelled_sets(objects, inventory)),
        Exceptions(long_accounts, any(pod.profiles is not None for pod in inventory.pods)),
        tuple(_init_ports(inventory)),
        PeerNot(HasObject(kind_is(*hidden))),
        PeerNot(HasObject(kind_is("service"))),
        PeerNot(HasObject(kind_is("pod"))) if without_pods else ANYONE,
        hosts,
        _share_addresses(inventory, hosts),
    )


def _share_addresses(inventory: Inventory, hosts: Iterable[HostEndpoint]) -> bool:
    pods = [address for pod in inventory.pods if not pod.host_network for address in pod.addresses]
    addresses = [*pods, *(address for host in hosts for address in host.addresses)]
    return len(set(addresses)) < len(addresses)


def _labelled_sets(objects: Sequence[PolicyObject], inventory: Inventory) -> Iterable[LabelledSet]:
    for item in objects:
        if isinstance(item.model, NetworkSet | GlobalNetworkSet):
            networks = tuple(read_set_cidr(text) for text in item.model.spec.nets)
            yield LabelledSet(_set_labels(item, item.model, inventory), networks)


def _set_labels(item: PolicyObject, model: NetworkSet | GlobalNetworkSet, inventory: Inventory) -> Mapping[str, str]:
    own = model.metadata.labels
    if isinstance(model, GlobalNetworkSet):
        return own
    space = inventory.namespace_labels(item.namespace)
    inherited = {f"{NAMESPACE_PREFIX}{key}": value for key, value in space.items()}
    name = {f"{NAMESPACE_PREFIX}projectcalico.org/name": item.namespace}
    return {**inherited, **name, **own, NAMESPACE_LABEL: item.namespace}


def _init_ports(inventory: Inventory) -> Iterable[InitPort]:
    for pod in inventory.pods:
        usual = {(port.name, port.protocol, port.number) for port in pod.ports if not port.init or port.restartable}
        extra = {(port.name, port.protocol, port.number) for port in pod.ports if port.name} - usual
        for name, protocol, number in sorted(extra):
            yield InitPort(pod.namespace, pod.name, name, protocol, number)
