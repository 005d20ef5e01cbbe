"""Calico's resources as written: structure and types only. Values are checked elsewhere.

A missing list or text is empty, as Calico reads it. Source: ``api/pkg/apis/projectcalico/v3`` of projectcalico/calico.
"""

from __future__ import annotations

from math import inf

from pydantic import ConfigDict, Field

from bpfence.dialects.model_base import Anything, ListOf, Model, ObjectMeta

DEFAULT_TIER = "default"
DEFAULT_TIER_ORDER = 1_000_000.0


class IcmpFields(Model):
    """``icmp`` and ``notICMP`` of a rule."""

    type: int | None = None
    code: int | None = None


class ServiceMatch(Model):
    """``services``; a missing namespace in a NetworkPolicy is the policy's."""

    name: str = ""
    namespace: str = ""


class ServiceAccountMatch(Model):
    """``names`` are ORed, and ANDed with ``selector``; both empty: no criterion."""

    names: ListOf[str] = ()
    selector: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.names and not self.selector


class EntityRule(Model):
    """One side of a rule. An empty selector is no criterion; ports are numbers, ``"low:high"`` or names."""

    nets: ListOf[str] = ()
    not_nets: ListOf[str] = ()
    selector: str = ""
    not_selector: str = ""
    namespace_selector: str = ""
    services: ServiceMatch | None = None
    ports: ListOf[int | str] = ()
    not_ports: ListOf[int | str] = ()
    service_accounts: ServiceAccountMatch = Field(default_factory=ServiceAccountMatch)


class HttpPath(Model):
    exact: str = ""
    prefix: str = ""


class HttpMatch(Model):
    methods: ListOf[str] = ()
    paths: ListOf[HttpPath] = ()


class RuleMetadata(Model):
    annotations: dict[str, str] = Field(default_factory=dict)


class Rule(Model):
    """The conjunction of what it states; an absent criterion matches everything."""

    action: str
    ip_version: int | None = None
    protocol: int | str | None = None
    not_protocol: int | str | None = None
    icmp: IcmpFields | None = None
    not_icmp: IcmpFields | None = Field(default=None, alias="notICMP")
    source: EntityRule = Field(default_factory=EntityRule)
    destination: EntityRule = Field(default_factory=EntityRule)
    http: HttpMatch | None = None
    metadata: RuleMetadata = Field(default_factory=RuleMetadata)


class NetworkPolicySpec(Model):
    """What both policy kinds have. ``order`` absent is infinite: last."""

    tier: str = ""
    order: float = inf
    selector: str = ""
    service_account_selector: str = ""
    types: ListOf[str] = ()
    ingress: ListOf[Rule] = ()
    egress: ListOf[Rule] = ()
    performance_hints: ListOf[str] = ()

    @property
    def tier_name(self) -> str:
        return self.tier or DEFAULT_TIER

    @property
    def directions(self) -> tuple[bool, bool]:
        """(ingress, egress): the policy's types, inferred from the lengths of its lists when it has none."""
        if self.types:
            return "Ingress" in self.types, "Egress" in self.types
        return bool(self.ingress) or not self.egress, bool(self.egress)


class GlobalNetworkPolicySpec(NetworkPolicySpec):
    namespace_selector: str = ""
    do_not_track: bool = False
    pre_dnat: bool = Field(default=False, alias="preDNAT")
    apply_on_forward: bool = False


class TierSpec(Model):
    """``default_action``: ``Deny`` (also when empty) or ``Pass``."""

    order: float = DEFAULT_TIER_ORDER
    default_action: str = ""


class NetworkSetSpec(Model):
    """``nets``: CIDRs, with or without host bits, or single addresses."""

    nets: ListOf[str] = ()


class HostEndpointPort(Model):
    """A named port of a host endpoint."""

    name: str
    protocol: int | str
    port: int


class HostEndpointSpec(Model):
    """``interface_name``: a name, ``*``, or empty (found by its addresses)."""

    node: str = ""
    interface_name: str = ""
    expected_ips: ListOf[str] = Field(default=(), alias="expectedIPs")
    profiles: ListOf[str] = ()
    ports: ListOf[HostEndpointPort] = ()


class ProfileSpec(Model):
    """Rules for endpoints that no tier decides about, and labels that the endpoints inherit."""

    ingress: ListOf[Rule] = ()
    egress: ListOf[Rule] = ()
    labels_to_apply: dict[str, str] = Field(default_factory=dict)


class WorkloadPort(Model):
    """A port of a workload; without a name it is there for its ``hostPort`` alone."""

    name: str = ""
    protocol: int | str
    port: int
    host_port: int = 0
    host_ip: Anything = Field(default=None, alias="hostIP")


class WorkloadEndpointSpec(Model):
    """What Calico knows about a pod. The fields of type Anything have no influence on verdicts."""

    node: str = ""
    pod: str = ""
    service_account_name: str = ""
    ip_networks: ListOf[str] = ()
    profiles: ListOf[str] = ()
    interface_name: str = ""
    ports: ListOf[WorkloadPort] = ()
    orchestrator: Anything = None
    workload: Anything = None
    container_id: Anything = Field(default=None, alias="containerID")
    endpoint: Anything = None
    ip_nats: Anything = Field(default=None, alias="ipNATs")
    ipv4_gateway: Anything = Field(default=None, alias="ipv4Gateway")
    ipv6_gateway: Anything = Field(default=None, alias="ipv6Gateway")
    mac: Anything = None
    allow_spoofed_source_prefixes: Anything = None
    qos_controls: Anything = Field(default=None, alias="qosControls")


class ProtocolPort(Model):
    """A failsafe port. ``net``: the remote addresses it holds for, all when empty."""

    protocol: str = "TCP"
    port: int
    net: str = ""


class FelixConfigurationSpec(Model):
    """Only what changes verdicts is read; Felix has some two hundred other fields.

    An absent failsafe list keeps the defaults, an empty one means none: ask ``model_fields_set``.
    """

    model_config = ConfigDict(extra="ignore")

    default_endpoint_to_host_action: str = ""
    failsafe_inbound_host_ports: ListOf[ProtocolPort] = ()
    failsafe_outbound_host_ports: ListOf[ProtocolPort] = ()


class Resource(Model):
    """What every object has around its ``spec``."""

    api_version: str
    kind: str
    metadata: ObjectMeta
    status: Anything = None


class NetworkPolicy(Resource):
    spec: NetworkPolicySpec = Field(default_factory=NetworkPolicySpec)


class GlobalNetworkPolicy(Resource):
    spec: GlobalNetworkPolicySpec = Field(default_factory=GlobalNetworkPolicySpec)


class StagedNetworkPolicySpec(NetworkPolicySpec):
    """``staged_action``: ``Set`` (also when empty), ``Delete``, ``Learn`` or ``Ignore``."""

    staged_action: str = ""


class StagedGlobalNetworkPolicySpec(GlobalNetworkPolicySpec):
    staged_action: str = ""


class StagedNetworkPolicy(Resource):
    """A draft of a NetworkPolicy. It never acts."""

    spec: StagedNetworkPolicySpec = Field(default_factory=StagedNetworkPolicySpec)


class StagedGlobalNetworkPolicy(Resource):
    """A draft of a GlobalNetworkPolicy. It never acts."""

    spec: StagedGlobalNetworkPolicySpec = Field(default_factory=StagedGlobalNetworkPolicySpec)


class Tier(Resource):
    spec: TierSpec = Field(default_factory=TierSpec)


class NetworkSet(Resource):
    spec: NetworkSetSpec = Field(default_factory=NetworkSetSpec)


class GlobalNetworkSet(Resource):
    spec: NetworkSetSpec = Field(default_factory=NetworkSetSpec)


class FelixConfiguration(Resource):
    spec: FelixConfigurationSpec = Field(default_factory=FelixConfigurationSpec)


class HostEndpoint(Resource):
    spec: HostEndpointSpec = Field(default_factory=HostEndpointSpec)


class Profile(Resource):
    spec: ProfileSpec = Field(default_factory=ProfileSpec)


class WorkloadEndpoint(Resource):
    spec: WorkloadEndpointSpec = Field(default_factory=WorkloadEndpointSpec)


class StagedKubernetesNetworkPolicySpec(Model):
    """The rest is the spec of a Kubernetes NetworkPolicy, which the dialect of that language reads."""

    model_config = ConfigDict(extra="ignore")

    staged_action: str = ""


class StagedKubernetesNetworkPolicy(Resource):
    """A draft of a Kubernetes NetworkPolicy. It never acts."""

    spec: StagedKubernetesNetworkPolicySpec = Field(default_factory=StagedKubernetesNetworkPolicySpec)


PolicySpec = NetworkPolicySpec | GlobalNetworkPolicySpec
Policy = NetworkPolicy | GlobalNetworkPolicy
StagedPolicy = StagedNetworkPolicy | StagedGlobalNetworkPolicy
