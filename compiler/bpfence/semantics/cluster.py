"""ClusterNetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy: ordered rules in two tiers around the others.

Follows ``apis/v1alpha2`` and ``apis/v1alpha1`` of kubernetes-sigs/network-policy-api.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Literal

from bpfence.dialects.kubernetes.admin_model import (
    AdminEgressRule,
    AdminIngressRule,
    AdminNetworkPolicy,
    AdminPort,
    BaselineAdminNetworkPolicy,
)
from bpfence.dialects.kubernetes.cluster_model import (
    ClusterEgressPeer,
    ClusterEgressRule,
    ClusterIngressPeer,
    ClusterIngressRule,
    ClusterNetworkPolicy,
    DestinationPort,
    NamespacedPods,
    ProtocolItem,
    Subject,
)
from bpfence.dialects.objects import PolicyObject
from bpfence.flows import PROTOCOL_NUMBERS
from bpfence.identity.inventory import Pod
from bpfence.semantics.decision import Action, Decision
from bpfence.semantics.kubernetes import namespace_matches
from bpfence.semantics.label_selector import selector_matches
from bpfence.semantics.names import domain_name_matches
from bpfence.semantics.packet import Packet, container_ports
from bpfence.semantics.world import Party, ReferenceWorld

TierName = Literal["Admin", "Baseline"]
ClusterModel = ClusterNetworkPolicy | AdminNetworkPolicy | BaselineAdminNetworkPolicy
ClusterRule = ClusterIngressRule | ClusterEgressRule | AdminIngressRule | AdminEgressRule

ACTIONS: dict[str, Action] = {"Accept": "allow", "Allow": "allow", "Deny": "deny", "Pass": "pass"}


def decide_cluster_tier(world: ReferenceWorld, tier: TierName, packet: Packet) -> Decision | None:
    """One tier: policies by priority, rules as written, first match. None when none matches or the match says Pass."""
    for policy in cluster_policies(world, tier, packet):
        decision = first_cluster_rule(world, policy, packet)
        if decision:
            return None if decision.action == "pass" else decision
    return None


def cluster_policies(world: ReferenceWorld, tier: TierName, packet: Packet) -> list[PolicyObject]:
    """The tier's policies that select the pod and have rules for the direction, in the order of evaluation."""
    found = [
        item
        for item in world.policies.kubernetes
        if isinstance(item.model, ClusterModel)
        and tier_of(item.model) == tier
        and _selects(world, item.model.spec.subject, packet.subject)
        and _rules(item.model, packet)
    ]
    return sorted(found, key=lambda item: (priority_of(item), item.name, item.kind))


def tier_of(model: ClusterModel) -> TierName:
    """v1alpha1 names its tiers by kind: AdminNetworkPolicy, BaselineAdminNetworkPolicy."""
    if isinstance(model, ClusterNetworkPolicy):
        return "Admin" if model.spec.tier == "Admin" else "Baseline"
    return "Admin" if isinstance(model, AdminNetworkPolicy) else "Baseline"


def priority_of(policy: PolicyObject) -> float:
    """The one BaselineAdminNetworkPolicy has no priority and follows every Baseline ClusterNetworkPolicy."""
    if isinstance(policy.model, ClusterNetworkPolicy | AdminNetworkPolicy):
        return policy.model.spec.priority
    return float("inf")


def first_cluster_rule(world: ReferenceWorld, policy: PolicyObject, packet: Packet) -> Decision | None:
    """The first rule of the policy that matches, Pass included."""
    assert isinstance(policy.model, ClusterModel)
    for index, rule in enumerate(_rules(policy.model, packet)):
        span = policy.span("spec", packet.direction, index)
        if _has_unknown_part(rule):
            if ACTIONS[rule.action] == "allow":
                continue
            return Decision("deny", policy.title, span)
        if any(_peer_matches(world, peer, packet) for peer in rule.peers) and _protocols_match(rule, packet):
            return Decision(ACTIONS[rule.action], policy.title, span)
    return None


def _has_unknown_part(rule: ClusterRule) -> bool:
    """ClusterNetworkPolicyPeer: a peer without a member that is known makes an Accept rule match nothing and any
    other rule deny everybody; the same for items of ``protocols`` and ``ports``.
    """
    l4 = rule.ports if isinstance(rule, AdminIngressRule | AdminEgressRule) else rule.protocols
    return any(not item.model_fields_set for item in (*rule.peers, *(l4 or ())))


def _rules(model: ClusterModel, packet: Packet) -> Sequence[ClusterRule]:
    spec = model.spec
    return (spec.ingress if packet.direction == "ingress" else spec.egress) or []


def _selects(world: ReferenceWorld, subject: Subject, pod: Pod) -> bool:
    """ClusterNetworkPolicySubject: all pods of namespaces, or chosen pods."""
    if subject.namespaces is not None:
        return namespace_matches(world, subject.namespaces, pod)
    return subject.pods is not None and _pods_match(world, subject.pods, pod)


def _pods_match(world: ReferenceWorld, pods: NamespacedPods, pod: Pod) -> bool:
    in_namespace = namespace_matches(world, pods.namespace_selector, pod)
    return in_namespace and selector_matches(pods.pod_selector, pod.labels.get)


def _peer_matches(world: ReferenceWorld, peer: ClusterIngressPeer, packet: Packet) -> bool:
    """Peers by label are pods on the pod network; egress can also name addresses, nodes and names."""
    party = packet.peer
    if peer.namespaces is not None:
        return party.pod is not None and namespace_matches(world, peer.namespaces, party.pod)
    if peer.pods is not None:
        return party.pod is not None and _pods_match(world, peer.pods, party.pod)
    return isinstance(peer, ClusterEgressPeer) and _egress_peer_matches(world, peer, party, packet.fqdn)


def _egress_peer_matches(world: ReferenceWorld, peer: ClusterEgressPeer, party: Party, fqdn: str) -> bool:
    """``networks`` and learnt names match by address, pods and nodes included, never a service's."""
    if peer.networks is not None:
        return not party.service and any(party.within(ip_network(item, strict=False)) for item in peer.networks)
    if peer.nodes is not None:
        return party.node is not None and selector_matches(peer.nodes, world.node_labels(party.node).get)
    if peer.domain_names is None or not fqdn or party.service:
        return False
    return any(domain_name_matches(item, fqdn) for item in peer.domain_names)


def _protocols_match(rule: ClusterRule, packet: Packet) -> bool:
    """Without a list: every protocol, ICMP included."""
    if isinstance(rule, AdminIngressRule | AdminEgressRule):
        return not rule.ports or any(_admin_port_matches(item, packet) for item in rule.ports)
    return not rule.protocols or any(_protocol_matches(item, packet) for item in rule.protocols)


def _protocol_matches(item: ProtocolItem, packet: Packet) -> bool:
    """ClusterNetworkPolicyProtocol (v1alpha2): a protocol with its destination port, or a container port's name."""
    if item.destination_named_port is not None:
        return _named_port_matches(item.destination_named_port, packet)
    written = {6: item.tcp, 17: item.udp, 132: item.sctp}.get(packet.protocol)
    return written is not None and _destination_port_matches(written.destination_port, packet.destination_port)


def _destination_port_matches(port: DestinationPort | None, number: int | None) -> bool:
    if port is None or number is None:
        return False
    if port.range is not None:
        return port.range.start <= number <= port.range.end
    return number == port.number


def _admin_port_matches(item: AdminPort, packet: Packet) -> bool:
    """AdminNetworkPolicyPort (v1alpha1): TCP unless said otherwise."""
    if item.named_port is not None:
        return _named_port_matches(item.named_port, packet)
    number = packet.destination_port
    if item.port_range is not None:
        low, high, protocol = item.port_range.start, item.port_range.end, item.port_range.protocol
    elif item.port_number is not None:
        low, high, protocol = item.port_number.port, item.port_number.port, item.port_number.protocol
    else:
        return False
    return packet.protocol == PROTOCOL_NUMBERS[protocol or "TCP"] and number is not None and low <= number <= high


def _named_port_matches(name: str, packet: Packet) -> bool:
    """Number and protocol both come from the destination pod's container port."""
    return packet.destination_port in container_ports(packet.destination.pod, name, packet.protocol)
