"""ClusterNetworkPolicy (``policy.networking.k8s.io/v1alpha2``) as written.

Source: ``apis/v1alpha2`` of kubernetes-sigs/network-policy-api. None = the field is missing.
"""

from __future__ import annotations

from pydantic import Field

from bpfence.dialects.kubernetes.model import LabelSelector
from bpfence.dialects.model_base import Anything, ListOf, Model, ObjectMeta


class NamespacedPods(Model):
    """Pods by their own and by their namespace's labels."""

    pod_selector: LabelSelector
    namespace_selector: LabelSelector | None = None


class Subject(Model):
    """Exactly one member: all pods of namespaces, or chosen pods."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None


class ClusterIngressPeer(Model):
    """Exactly one member; none (only after unknown members were taken out) makes the whole rule fail closed."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None


class ClusterEgressPeer(ClusterIngressPeer):
    """Exactly one member; ``nodes`` and ``domain_names`` are of the experimental channel."""

    nodes: LabelSelector | None = None
    networks: ListOf[str] | None = None
    domain_names: ListOf[str] | None = None


class PortRange(Model):
    start: int
    end: int


class DestinationPort(Model):
    """Exactly one member."""

    number: int | None = None
    range: PortRange | None = None


class ProtocolPorts(Model):
    destination_port: DestinationPort | None = None


class ProtocolItem(Model):
    """Exactly one member; none makes the whole rule fail closed, as with peers."""

    tcp: ProtocolPorts | None = None
    udp: ProtocolPorts | None = None
    sctp: ProtocolPorts | None = None
    destination_named_port: str | None = None


class ClusterIngressRule(Model):
    action: str
    name: str | None = None
    from_: ListOf[ClusterIngressPeer] = Field(alias="from")
    protocols: ListOf[ProtocolItem] | None = None

    @property
    def peers(self) -> tuple[ClusterIngressPeer, ...]:
        return self.from_


class ClusterEgressRule(Model):
    action: str
    name: str | None = None
    to: ListOf[ClusterEgressPeer]
    protocols: ListOf[ProtocolItem] | None = None

    @property
    def peers(self) -> tuple[ClusterEgressPeer, ...]:
        return self.to


class ClusterNetworkPolicySpec(Model):
    tier: str
    priority: int
    subject: Subject
    ingress: ListOf[ClusterIngressRule] = ()
    egress: ListOf[ClusterEgressRule] = ()


class ClusterNetworkPolicy(Model):
    """Rules mean what they say and isolate nobody."""

    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: ClusterNetworkPolicySpec
    status: Anything = None
