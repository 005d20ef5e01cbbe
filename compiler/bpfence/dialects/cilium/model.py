"""CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and CiliumCIDRGroup as written: YAML data in, typed fields out.

Every optional field is ``None`` when absent, so that an absent list and an empty one stay apart: in this language they
mean different things (`read_object` refuses written nulls). The models know the fields of both profiles; what one
profile lacks is refused by the checks.
"""

from __future__ import annotations

from pydantic import Field, JsonValue

from bpfence.dialects.model_base import Anything, Model, ObjectMeta


class Requirement(Model):
    """One item of ``matchExpressions``."""

    key: str
    operator: str
    values: list[str] | None = None


class Selector(Model):
    """A label selector; keys may carry a source (``k8s:app``)."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[Requirement] | None = None


class CidrRule(Model):
    """An item of ``fromCIDRSet`` or ``toCIDRSet``: a prefix or a CIDRGroup, with exceptions."""

    cidr: str | None = None
    cidr_group_ref: str | None = Field(default=None, alias="cidrGroupRef")
    cidr_group_selector: Selector | None = Field(default=None, alias="cidrGroupSelector")
    except_: list[str] | None = Field(default=None, alias="except")


class NameSelector(Model):
    """A DNS name or pattern, of ``toFQDNs`` and ``rules.dns``."""

    match_name: str | None = None
    match_pattern: str | None = None


class ServiceName(Model):
    """``k8sService``: a service by name; an empty namespace means every namespace."""

    service_name: str | None = None
    namespace: str | None = None


class ServiceLabels(Model):
    """``k8sServiceSelector``: services by their labels."""

    selector: Selector
    namespace: str | None = None


class ServiceRule(Model):
    """An item of ``toServices``."""

    k8s_service: ServiceName | None = Field(default=None, alias="k8sService")
    k8s_service_selector: ServiceLabels | None = Field(default=None, alias="k8sServiceSelector")


class Authentication(Model):
    mode: str


class IcmpField(Model):
    """One ICMP type, as a number or a name of the family's list."""

    family: str | None = None
    type: int | str


class IcmpRule(Model):
    fields: list[IcmpField] | None = None


class PortProtocol(Model):
    """One port: a number or a container port name, in a string."""

    port: str | None = None
    end_port: int | None = None
    protocol: str | None = None


class L7Rules(Model):
    """``rules`` of a PortRule. Only ``dns`` can be enforced; the others are known so that they can be refused."""

    http: list[JsonValue] | None = None
    kafka: list[JsonValue] | None = None
    l7proto: str | None = Field(default=None, alias="l7proto")
    l7: list[JsonValue] | None = None
    dns: list[NameSelector] | None = None


class PortRule(Model):
    """An item of ``toPorts`` in an allow rule."""

    ports: list[PortProtocol] | None = None
    rules: L7Rules | None = None
    terminating_tls: dict[str, JsonValue] | None = Field(default=None, alias="terminatingTLS")
    originating_tls: dict[str, JsonValue] | None = Field(default=None, alias="originatingTLS")
    server_names: list[str] | None = None
    listener: dict[str, JsonValue] | None = None


class PortDenyRule(Model):
    """An item of ``toPorts`` in a deny rule."""

    ports: list[PortProtocol] | None = None


class IngressCommon(Model):
    """The peers and ICMP types that allow and deny statements of ingress share."""

    from_endpoints: list[Selector] | None = None
    from_requires: list[Selector] | None = None
    from_cidr: list[str] | None = Field(default=None, alias="fromCIDR")
    from_cidr_set: list[CidrRule] | None = Field(default=None, alias="fromCIDRSet")
    from_entities: list[str] | None = None
    from_groups: list[JsonValue] | None = None
    from_nodes: list[Selector] | None = None
    icmps: list[IcmpRule] | None = None


class IngressRule(IngressCommon):
    to_ports: list[PortRule] | None = None
    authentication: Authentication | None = None


class IngressDenyRule(IngressCommon):
    to_ports: list[PortDenyRule] | None = None


class EgressCommon(Model):
    """The peers and ICMP types that allow and deny statements of egress share."""

    to_endpoints: list[Selector] | None = None
    to_requires: list[Selector] | None = None
    to_cidr: list[str] | None = Field(default=None, alias="toCIDR")
    to_cidr_set: list[CidrRule] | None = Field(default=None, alias="toCIDRSet")
    to_entities: list[str] | None = None
    to_services: list[ServiceRule] | None = None
    to_groups: list[JsonValue] | None = None
    to_nodes: list[Selector] | None = None
    icmps: list[IcmpRule] | None = None


class EgressRule(EgressCommon):
    to_ports: list[PortRule] | None = None
    to_fqdns: list[NameSelector] | None = Field(default=None, alias="toFQDNs")
    authentication: Authentication | None = None


class EgressDenyRule(EgressCommon):
    to_ports: list[PortDenyRule] | None = None


class DefaultDeny(Model):
    ingress: bool | None = None
    egress: bool | None = None


class PolicyLabel(Model):
    """Metadata of a rule; no influence on verdicts."""

    key: str
    value: str | None = None
    source: str | None = None


class LogConfig(Model):
    value: str | None = None


class Rule(Model):
    """``spec``, or an item of ``specs``."""

    endpoint_selector: Selector | None = None
    node_selector: Selector | None = None
    ingress: list[IngressRule] | None = None
    ingress_deny: list[IngressDenyRule] | None = None
    egress: list[EgressRule] | None = None
    egress_deny: list[EgressDenyRule] | None = None
    enable_default_deny: DefaultDeny | None = None
    labels: list[PolicyLabel] | None = None
    description: str | None = None
    log: LogConfig | None = None


class Policy(Model):
    """A CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy; the rules of ``spec`` and ``specs`` all count."""

    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: Rule | None = None
    specs: list[Rule] | None = None
    status: Anything = None


class NetworkPolicy(Policy):
    """CiliumNetworkPolicy, ``cilium.io/v2``."""


class ClusterwideNetworkPolicy(Policy):
    """CiliumClusterwideNetworkPolicy, ``cilium.io/v2``."""


class CidrGroupSpec(Model):
    external_cidrs: list[str] = Field(alias="externalCIDRs")


class CidrGroup(Model):
    """CiliumCIDRGroup, ``cilium.io/v2`` and ``v2alpha1``."""

    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: CidrGroupSpec
    status: Anything = None


Statement = IngressRule | IngressDenyRule | EgressRule | EgressDenyRule
