"""AdminNetworkPolicy and BaselineAdminNetworkPolicy (``policy.networking.k8s.io/v1alpha1``) as written.

Source: ``apis/v1alpha1`` of kubernetes-sigs/network-policy-api. None = the field is missing.
"""

from __future__ import annotations

from pydantic import Field

from bpfence.dialects.kubernetes.cluster_model import ClusterEgressPeer, ClusterIngressPeer, Subject
from bpfence.dialects.model_base import Anything, ListOf, Model, ObjectMeta


class PortNumber(Model):
    """``protocol`` defaults to TCP."""

    port: int
    protocol: str | None = None


class AdminPortRange(Model):
    """``protocol`` defaults to TCP."""

    start: int
    end: int
    protocol: str | None = None


class AdminPort(Model):
    """Exactly one member."""

    port_number: PortNumber | None = None
    port_range: AdminPortRange | None = None
    named_port: str | None = None


class AdminIngressRule(Model):
    action: str
    name: str | None = None
    from_: ListOf[ClusterIngressPeer] = Field(alias="from")
    ports: ListOf[AdminPort] | None = None

    @property
    def peers(self) -> tuple[ClusterIngressPeer, ...]:
        return self.from_


class AdminEgressRule(Model):
    action: str
    name: str | None = None
    to: ListOf[ClusterEgressPeer]
    ports: ListOf[AdminPort] | None = None

    @property
    def peers(self) -> tuple[ClusterEgressPeer, ...]:
        return self.to


class AdminNetworkPolicySpec(Model):
    priority: int
    subject: Subject
    ingress: ListOf[AdminIngressRule] = ()
    egress: ListOf[AdminEgressRule] = ()


class BaselineAdminNetworkPolicySpec(Model):
    subject: Subject
    ingress: ListOf[AdminIngressRule] = ()
    egress: ListOf[AdminEgressRule] = ()


class AdminNetworkPolicy(Model):
    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: AdminNetworkPolicySpec
    status: Anything = None


class BaselineAdminNetworkPolicy(Model):
    """The one object of its kind, named ``default``."""

    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: BaselineAdminNetworkPolicySpec
    status: Anything = None
