"""NetworkPolicy (networking.k8s.io/v1): isolation and its union of allows.

Follows ``staging/src/k8s.io/api/networking/v1/types.go`` and the "Network Policies" concept page of
kubernetes/kubernetes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_network

from bpfence.dialects.kubernetes.model import EgressRule, IngressRule, IPBlock, LabelSelector, NetworkPolicy, Peer, Port
from bpfence.dialects.objects import PolicyObject
from bpfence.flows import PROTOCOL_NUMBERS
from bpfence.identity.inventory import Pod
from bpfence.semantics.decision import EXEMPT, Decision, first
from bpfence.semantics.label_selector import selector_matches
from bpfence.semantics.packet import Direction, Packet, container_ports
from bpfence.semantics.world import Party, ReferenceWorld, is_node

AddressRule = Callable[[Party], bool]
"""Which owners a written prefix may match; the layer that NetworkPolicy has joined says so."""


def decide_network_policies(world: ReferenceWorld, packet: Packet) -> Decision | None:
    """The NetworkPolicy tier alone (engine kubernetes). None: the pod is not isolated in this direction.

    NetworkPolicy API: traffic between a pod and its own node is never policed, in both directions, nor what a pod
    says to itself, also by way of a service.
    """
    isolating = isolating_policies(world, packet.subject, packet.direction)
    if not isolating:
        return None
    if is_node(packet.peer, packet.node) or packet.peer.pod is packet.subject:
        return EXEMPT
    allowed = first(d for policy in isolating for d in matching_rules(world, policy, packet, prefix_owner(world)))
    return allowed or default_deny(isolating[0])


def default_deny(policy: PolicyObject) -> Decision:
    """Isolation names the first policy that isolates."""
    return Decision("deny", policy.title, policy.span(), "default-deny")


def prefix_owner(world: ReferenceWorld) -> AddressRule:
    """NetworkPolicy API, ipBlock: meant for addresses outside the cluster; nodes have no other name, pods only
    when asked for.
    """
    with_pods = world.options.ipblock_matches_pods == "always"
    return lambda peer: peer.outside or peer.node is not None or (with_pods and peer.pod is not None)


def isolating_policies(world: ReferenceWorld, pod: Pod, direction: Direction) -> list[PolicyObject]:
    """NetworkPolicy API, isolation: policies of the pod's namespace that select it and have the direction, by name."""
    found = [
        item
        for item in world.policies.kubernetes
        if isinstance(item.model, NetworkPolicy)
        and item.namespace == pod.namespace
        and selector_matches(item.model.spec.pod_selector, pod.labels.get)
        and isolates(item.model, direction)
    ]
    return sorted(found, key=lambda item: item.name)


def isolates(policy: NetworkPolicy, direction: Direction) -> bool:
    """NetworkPolicy API, policyTypes: missing means Ingress, and Egress iff there is an egress rule."""
    types = policy.spec.policy_types
    if types:
        return direction.capitalize() in types
    return direction == "ingress" or bool(policy.spec.egress)


def matching_rules(
    world: ReferenceWorld, policy: PolicyObject, packet: Packet, prefixes: AddressRule
) -> Iterator[Decision]:
    """The policy's rules for the packet's direction that allow it. Rules only add up; there is no deny."""
    assert isinstance(policy.model, NetworkPolicy)
    spec = policy.model.spec
    rules: Sequence[IngressRule | EgressRule] = spec.ingress if packet.direction == "ingress" else spec.egress
    for index, rule in enumerate(rules):
        peers = rule.peers
        from_whom = not peers or any(_peer_matches(world, policy.namespace, p, packet.peer, prefixes) for p in peers)
        if from_whom and _ports_match(rule.ports, packet):
            yield Decision("allow", policy.title, policy.span("spec", packet.direction, index))


def allows_exact_port(world: ReferenceWorld, policy: PolicyObject, packet: Packet, prefixes: AddressRule) -> bool:
    """Whether a rule that selects the peer has an entry for just the packet's port: neither all ports nor a range."""
    assert isinstance(policy.model, NetworkPolicy)
    for rule in policy.model.spec.egress:
        if rule.peers and not any(_peer_matches(world, policy.namespace, p, packet.peer, prefixes) for p in rule.peers):
            continue
        for port in rule.ports or ():
            if port.port is not None and port.end_port in (None, port.port) and _port_matches(port, packet):
                return True
    return False


def _peer_matches(world: ReferenceWorld, namespace: str, peer: Peer, party: Party, prefixes: AddressRule) -> bool:
    """NetworkPolicy API, NetworkPolicyPeer: an address block alone, or pods by selectors that are ANDed."""
    if peer.ip_block is not None:
        return prefixes(party) and _block_contains(peer.ip_block, party)
    if party.pod is None:
        return False
    if peer.namespace_selector is None:
        in_namespace = party.pod.namespace == namespace
    else:
        in_namespace = namespace_matches(world, peer.namespace_selector, party.pod)
    return in_namespace and selector_matches(peer.pod_selector, party.pod.labels.get)


def namespace_matches(world: ReferenceWorld, selector: LabelSelector | None, pod: Pod) -> bool:
    """A namespace selector sees the labels of the pod's Namespace."""
    return selector_matches(selector, world.namespace_labels(pod.namespace).get)


def _block_contains(block: IPBlock, party: Party) -> bool:
    if not party.within(ip_network(block.cidr, strict=False)):
        return False
    return not any(party.within(ip_network(item, strict=False)) for item in block.except_ or [])


def _ports_match(ports: Sequence[Port] | None, packet: Packet) -> bool:
    """NetworkPolicy API, ports: missing or empty means every protocol and port."""
    return not ports or any(_port_matches(port, packet) for port in ports)


def _port_matches(port: Port, packet: Packet) -> bool:
    """NetworkPolicy API, NetworkPolicyPort: TCP unless said otherwise; destination ports only; names of the
    destination pod.
    """
    if PROTOCOL_NUMBERS[port.protocol or "TCP"] != packet.protocol:
        return False
    if port.port is None:
        return True
    number = packet.destination_port
    if isinstance(port.port, str):
        return number in container_ports(packet.destination.pod, port.port, packet.protocol)
    return number is not None and port.port <= number <= (port.end_port or port.port)
