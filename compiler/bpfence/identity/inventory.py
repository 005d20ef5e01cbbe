"""What the cluster has: typed records of pods, nodes, namespaces, services. Raw facts as the objects state them,
nothing derived.

`read_inventory` turns located documents into an `Inventory`. Both the compiler and the reference evaluator read these
records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from bpfence.source.spans import Span

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


DEFAULT_CLUSTER = "default"
"""A cluster's name when nothing says otherwise."""

SPECIAL_ENDPOINTS = frozenset(("health", "ingress"))
"""Cilium's reserved labels that stand in place of a workload's own, namespace included."""


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """A named container port. ``protocol``: 6, 17 or 132. ``restartable_init``/``init``: which kind of container
    declares it.
    """

    name: str
    protocol: int
    number: int
    init: bool = False
    restartable: bool = False


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that has not ended, or (``template``) a workload without pods that stands for its template's pods and has
    no address.

    ``owner``: ``Kind`` and name of the controlling owner, collapsed over ReplicaSet and Job; ``("Pod", name)``
    without one.
    """

    namespace: str
    name: str
    span: Span
    labels: Mapping[str, str] = field(default_factory=dict)
    node: str = ""
    addresses: tuple[Address, ...] = ()
    host_network: bool = False
    service_account: str = "default"
    ports: tuple[ContainerPort, ...] = ()
    owner: tuple[str, str] = ("Pod", "")
    interface: str = ""
    template: bool = False
    reserved: tuple[str, ...] = ()
    """Cilium's reserved labels of the endpoint: ``health``, ``ingress``, ``init``, ``unmanaged``; sorted"""

    cluster: str = ""
    """the cluster of a mesh to which the pod belongs; empty = the own one"""

    profiles: tuple[str, ...] | None = None
    """Calico's profiles of the pod in order, when they are others than those of its namespace and service account; what
    it inherits is then among ``labels``"""


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    span: Span
    labels: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[Address, ...] = ()
    pod_cidrs: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Namespace:
    """``labels`` always hold kubernetes.io/metadata.name. ``made_up``: mentioned by a pod, not defined by the input."""

    name: str
    span: Span
    labels: Mapping[str, str] = field(default_factory=dict)
    made_up: bool = False


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    namespace: str
    name: str
    span: Span
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServicePort:
    """``target``: a number, or the name of a container port."""

    name: str
    protocol: int
    port: int
    target: int | str
    node_port: int = 0


@dataclass(frozen=True, slots=True)
class Service:
    """``addresses``: ClusterIPs, external and load-balancer addresses. ``selector`` None = a service without one."""

    namespace: str
    name: str
    span: Span
    labels: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[Address, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    selector: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class EndpointsEntry:
    """One address of a service's Endpoints or EndpointSlice with the slice's ports (name, protocol, number)."""

    namespace: str
    service: str
    address: Address
    ready: bool
    ports: tuple[tuple[str, int, int], ...]
    span: Span


@dataclass(frozen=True, slots=True)
class HostEndpoint:
    """An interface of a node that policy can select. ``interface``: a name, ``*`` or empty (found by ``addresses``).

    ``labels``: effective ones, those of its profiles included. ``ports``: (name, protocol, number).
    """

    name: str
    span: Span
    node: str
    interface: str = ""
    addresses: tuple[Address, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[tuple[str, int, int], ...] = ()
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FailsafePort:
    """Never closed by host policy. ``network``: the remote addresses it holds for; None = any."""

    protocol: int
    port: int
    network: Network | None = None


DEFAULT_FAILSAFE_INGRESS = tuple(
    FailsafePort(protocol, port)
    for protocol, port in (
        (6, 22),
        (17, 68),
        (6, 179),
        (6, 2379),
        (6, 2380),
        (6, 5473),
        (6, 6443),
        (6, 6666),
        (6, 6667),
    )
)
DEFAULT_FAILSAFE_EGRESS = tuple(
    FailsafePort(protocol, port)
    for protocol, port in (
        (17, 53),
        (17, 67),
        (6, 179),
        (6, 2379),
        (6, 2380),
        (6, 5473),
        (6, 6443),
        (6, 6666),
        (6, 6667),
    )
)


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What a FelixConfiguration says about hosts. ``workload_to_host``: what happens to allowed pod traffic to its
    own host.
    """

    failsafe_ingress: tuple[FailsafePort, ...] = DEFAULT_FAILSAFE_INGRESS
    failsafe_egress: tuple[FailsafePort, ...] = DEFAULT_FAILSAFE_EGRESS
    workload_to_host: str = "Accept"
    """``Accept``, ``Drop`` or ``Return`` (as Accept here: the host's own firewall decides)"""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything known about the cluster; each tuple sorted by (namespace, name). Declared kinds: what the input had
    objects of.
    """

    pods: tuple[Pod, ...] = ()
    nodes: tuple[Node, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    service_accounts: tuple[ServiceAccount, ...] = ()
    services: tuple[Service, ...] = ()
    endpoints: tuple[EndpointsEntry, ...] = ()
    declared_kinds: frozenset[str] = frozenset()
    cluster: str = DEFAULT_CLUSTER
    """the own cluster's name"""

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """Labels of a namespace; just its name label when the input does not define it."""
        for namespace in self.namespaces:
            if namespace.name == name:
                return namespace.labels
        return {"kubernetes.io/metadata.name": name}
