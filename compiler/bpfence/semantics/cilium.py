"""CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy: deny > local host > allow > default, without any order.

Follows ``pkg/policy/rule.go``, ``pkg/policy/api`` and the policy documentation of cilium/cilium.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from bpfence.dialects.cilium.model import NameSelector, Policy, Rule, Statement
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Pod
from bpfence.semantics.cilium_labels import POD_NAMESPACE, UNMANAGED, host_labels, lookup_in, names_init, pod_labels
from bpfence.semantics.cilium_peers import PeerTest, name_matches, peer_tests
from bpfence.semantics.cilium_ports import icmp_matches, is_exact, port_matches
from bpfence.semantics.decision import EXEMPT, NOT_SELECTED, UNMATCHED, Decision, Outcome, first
from bpfence.semantics.kubernetes import (
    AddressRule,
    allows_exact_port,
    default_deny,
    isolating_policies,
    matching_rules,
)
from bpfence.semantics.label_selector import selector_matches
from bpfence.semantics.packet import Direction, Packet
from bpfence.semantics.world import ReferenceWorld, is_node


@dataclass(frozen=True, slots=True)
class AppliedRule:
    """One rule (``spec`` or an item of ``specs``) that selects the pod and has a section for the direction."""

    policy: PolicyObject
    rule: Rule
    path: tuple[str | int, ...]

    @property
    def for_init(self) -> bool:
        return names_init(self.rule.endpoint_selector)

    def statements(self, direction: Direction, *, deny: bool) -> Sequence[Statement]:
        if direction == "ingress":
            return (self.rule.ingress_deny if deny else self.rule.ingress) or ()
        return (self.rule.egress_deny if deny else self.rule.egress) or ()


def decide_cilium(world: ReferenceWorld, packet: Packet, *, joined: bool) -> Outcome:
    """The Cilium tier; ``joined``: NetworkPolicy is part of it, as more rules that only allow and isolate.

    Cilium documentation, policy enforcement: a matching deny beats everything, the local host may reach its
    pods even under default deny, then any allow, then default deny if some rule asks for it. A pod that reaches
    itself through a service is not policed.
    """
    rules = applied_rules(world, packet.subject, packet.direction)
    isolating = isolating_policies(world, packet.subject, packet.direction) if joined else []
    if not rules and not isolating:
        return NOT_SELECTED
    if packet.by_service and packet.peer.pod is packet.subject:
        return Outcome(True, EXEMPT)
    denied = first(_matches(world, rules, packet, deny=True))
    if denied:
        return Outcome(True, denied)
    if packet.direction == "ingress" and is_node(packet.peer, packet.node):
        return Outcome(True, EXEMPT)
    joined_allows = (d for item in isolating for d in matching_rules(world, item, packet, prefix_owner(world)))
    allowed = first(chain(_matches(world, rules, packet, deny=False), joined_allows))
    refused = first(_refusals(world, rules, isolating, packet))
    decision = refused or allowed or cilium_isolation(world, packet, joined=joined)
    return Outcome(True, decision) if decision else UNMATCHED


def asks_name(world: ReferenceWorld, packet: Packet) -> bool:
    """Whether DNS rules look into what the packet carries: an entry with names selects the server and this port.

    Where nothing is denied by default they restrict nothing.
    """
    if packet.direction == "ingress":
        return False
    rules = (
        applied_rules(world, packet.subject, "egress")
        if packet.own.pod is not None
        else node_rules(world, packet.node, "egress")
    )
    return any(names is not None for names, _ in _exact_entries(world, rules, packet))


def _refusals(
    world: ReferenceWorld, rules: Sequence[AppliedRule], isolating: Sequence[PolicyObject], packet: Packet
) -> Iterator[Decision]:
    """Of all entries for exactly this port that select the server, none has the name or takes every name. What asks for
    no name is refused as well.
    """
    if packet.direction == "ingress" or (not isolating and not first(_default_denies(rules, packet.direction))):
        return
    entries = list(_exact_entries(world, rules, packet))
    if any(allows_exact_port(world, policy, packet, prefix_owner(world)) for policy in isolating):
        return
    for names, _ in entries:
        if names is None or _accepts(world, names, packet.query):
            return
    yield from (decision for _, decision in entries)


def _accepts(world: ReferenceWorld, names: Iterable[NameSelector], query: str) -> bool:
    return query != "" and any(name_matches(world, item, query, query=True) for item in names)


def _exact_entries(
    world: ReferenceWorld, rules: Iterable[AppliedRule], packet: Packet
) -> Iterator[tuple[Sequence[NameSelector] | None, Decision]]:
    """(names, None = every name) of every allow entry for exactly this port that selects the peer."""
    for item in rules:
        for index, statement in enumerate(item.rule.egress or ()):
            peers = peer_tests(statement, for_init=item.for_init)
            if peers is not None and not _any_peer(world, item.policy.namespace, peers, packet):
                continue
            for position, ports in enumerate(statement.to_ports or ()):
                if any(is_exact(entry, packet) for entry in ports.ports or ()):
                    span = item.policy.span(*item.path, "egress", index, "toPorts", position)
                    names = ports.rules.dns if ports.rules is not None else None
                    yield names or None, Decision("deny", item.policy.title, span)


def cilium_isolation(world: ReferenceWorld, packet: Packet, *, joined: bool) -> Decision | None:
    """The default deny of the first rule or NetworkPolicy that asks for one."""
    rules = applied_rules(world, packet.subject, packet.direction)
    isolating = isolating_policies(world, packet.subject, packet.direction) if joined else []
    return first(_default_denies(rules, packet.direction)) or first(map(default_deny, isolating))


def prefix_owner(world: ReferenceWorld) -> AddressRule:
    """Identity wins over address: prefixes match outside addresses, pods only when asked for, nodes never."""
    with_pods = world.options.ipblock_matches_pods == "always"
    return lambda peer: peer.outside or (with_pods and peer.pod is not None)


def decide_cilium_node(world: ReferenceWorld, packet: Packet) -> Outcome:
    """Host policies: rules with a nodeSelector, for what ends or begins in the host. The local host has no privilege
    towards itself.
    """
    rules = node_rules(world, packet.node, packet.direction)
    if not rules:
        return NOT_SELECTED
    decision = (
        first(_matches(world, rules, packet, deny=True))
        or first(_refusals(world, rules, (), packet))
        or first(_matches(world, rules, packet, deny=False))
        or first(_default_denies(rules, packet.direction))
    )
    return Outcome(True, decision) if decision else UNMATCHED


def node_rules(world: ReferenceWorld, node: str, direction: Direction) -> list[AppliedRule]:
    """Rules that select the node and touch the direction, in the order of the input."""
    rules = chain.from_iterable(_rules_of(policy) for policy in world.policies.cilium)
    return [item for item in rules if _selects_node(world, item, node) and _touches(item, direction)]


def _selects_node(world: ReferenceWorld, applied: AppliedRule, node: str) -> bool:
    """nodeSelector: the node's labels, under source ``k8s``."""
    if applied.rule.node_selector is None or applied.policy.namespace:
        return False
    return selector_matches(applied.rule.node_selector, lookup_in(host_labels(world, node)))


def applied_rules(world: ReferenceWorld, pod: Pod, direction: Direction) -> list[AppliedRule]:
    """Rules that select the pod and touch the direction, in the order of the input. Rules for hosts select no pod."""
    rules = chain.from_iterable(_rules_of(policy) for policy in world.policies.cilium)
    return [item for item in rules if _selects(world, item, pod) and _touches(item, direction)]


def _rules_of(policy: PolicyObject) -> Iterator[AppliedRule]:
    model = policy.model
    if not isinstance(model, Policy):
        return
    if model.spec is not None:
        yield AppliedRule(policy, model.spec, ("spec",))
    for index, rule in enumerate(model.specs or []):
        yield AppliedRule(policy, rule, ("specs", index))


def _selects(world: ReferenceWorld, applied: AppliedRule, pod: Pod) -> bool:
    """endpointSelector: pods of the policy's namespace; clusterwide, every pod of this cluster that Cilium manages."""
    if applied.rule.endpoint_selector is None or UNMANAGED in pod.reserved or pod.cluster:
        return False
    labels = pod_labels(world, pod)
    if applied.policy.namespace and labels.get(("k8s", POD_NAMESPACE)) != applied.policy.namespace:
        return False
    return selector_matches(applied.rule.endpoint_selector, lookup_in(labels))


def _touches(applied: AppliedRule, direction: Direction) -> bool:
    """An absent or empty section leaves the direction alone."""
    return bool(applied.statements(direction, deny=False)) or bool(applied.statements(direction, deny=True))


def _default_denies(rules: Iterable[AppliedRule], direction: Direction) -> Iterator[Decision]:
    """enableDefaultDeny: true in each direction with a section, unless the rule says otherwise."""
    for item in rules:
        chosen = item.rule.enable_default_deny
        enabled = None if chosen is None else (chosen.ingress if direction == "ingress" else chosen.egress)
        if enabled is not False:
            yield Decision("deny", item.policy.title, item.policy.span(*item.path), "default-deny")


def _matches(world: ReferenceWorld, rules: Iterable[AppliedRule], packet: Packet, *, deny: bool) -> Iterator[Decision]:
    section = packet.direction + ("Deny" if deny else "")
    for item in rules:
        for index, statement in enumerate(item.statements(packet.direction, deny=deny)):
            if _statement_matches(world, item, statement, packet):
                span = item.policy.span(*item.path, section, index)
                yield Decision("deny" if deny else "allow", item.policy.title, span)


def _statement_matches(world: ReferenceWorld, item: AppliedRule, statement: Statement, packet: Packet) -> bool:
    """Some peer and some port or ICMP entry match. A statement without peers and ports contributes nothing."""
    peers = peer_tests(statement, for_init=item.for_init)
    has_l4 = bool(statement.to_ports or statement.icmps)
    if peers is None:
        return has_l4 and _l4_matches(statement, packet)
    return _any_peer(world, item.policy.namespace, peers, packet) and (not has_l4 or _l4_matches(statement, packet))


def _any_peer(world: ReferenceWorld, namespace: str, peers: Sequence[PeerTest], packet: Packet) -> bool:
    if packet.peer.service:
        return False
    owner = prefix_owner(world)
    return any(matches(world, namespace, packet, owner) for matches in peers)


def _l4_matches(statement: Statement, packet: Packet) -> bool:
    """All items of all entries are ORed; an empty entry contributes nothing."""
    ports = [entry for item in statement.to_ports or [] for entry in item.ports or []]
    fields = [field for item in statement.icmps or [] for field in item.fields or []]
    return any(port_matches(entry, packet) for entry in ports) or any(icmp_matches(field, packet) for field in fields)
