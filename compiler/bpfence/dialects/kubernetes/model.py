"""NetworkPolicy (``networking.k8s.io/v1``) as written. A missing list is empty; a missing selector, unlike {}, is None.

Source: ``staging/src/k8s.io/api/networking/v1/types.go`` of kubernetes/kubernetes.
"""

from __future__ import annotations

from pydantic import Field

from bpfence.dialects.model_base import Anything, ListOf, Model, ObjectMeta


class SelectorRequirement(Model):
    """One item of ``matchExpressions``."""

    key: str
    operator: str
    values: ListOf[str] = ()


class LabelSelector(Model):
    """A label selector: every entry must hold; an empty one matches everything."""

    match_labels: dict[str, str] = Field(default_factory=dict)
    match_expressions: ListOf[SelectorRequirement] = ()

    @property
    def is_empty(self) -> bool:
        return not self.match_labels and not self.match_expressions


class IPBlock(Model):
    """Addresses in ``cidr`` and in no item of ``except_``."""

    cidr: str
    except_: ListOf[str] = Field(default=(), alias="except")


class Peer(Model):
    """One item of ``from`` or ``to``: pods by selectors (ANDed), or addresses."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class Port(Model):
    """One item of ``ports``; ``port`` is a number or the name of a container port."""

    protocol: str | None = None
    port: int | str | None = None
    end_port: int | None = None


class IngressRule(Model):
    ports: ListOf[Port] = ()
    from_: ListOf[Peer] = Field(default=(), alias="from")

    @property
    def peers(self) -> tuple[Peer, ...]:
        """``from``; empty = everybody."""
        return self.from_


class EgressRule(Model):
    ports: ListOf[Port] = ()
    to: ListOf[Peer] = ()

    @property
    def peers(self) -> tuple[Peer, ...]:
        """``to``; empty = everybody."""
        return self.to


class NetworkPolicySpec(Model):
    pod_selector: LabelSelector | None = None
    ingress: ListOf[IngressRule] = ()
    egress: ListOf[EgressRule] = ()
    policy_types: ListOf[str] = ()

    @property
    def directions(self) -> tuple[bool, bool]:
        """(ingress, egress): whether the policy isolates, with ``policyTypes`` defaulted as the API server does."""
        if self.policy_types:
            return "Ingress" in self.policy_types, "Egress" in self.policy_types
        return True, bool(self.egress)


class NetworkPolicy(Model):
    """``spec`` is optional: without it the policy denies every ingress of its namespace."""

    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: NetworkPolicySpec = Field(default_factory=NetworkPolicySpec)
    status: Anything = None
