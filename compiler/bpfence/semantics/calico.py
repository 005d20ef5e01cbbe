"""Calico NetworkPolicy and GlobalNetworkPolicy at pods: tiers in order, policies in order, first match; then
the profiles.

Follows ``felix/calc/policy_sorter.go``, ``felix/rules/endpoints.go`` and the policy documentation of
projectcalico/calico. NetworkPolicy of Kubernetes can join tier ``default``, cluster policies tiers
``kube-admin`` and ``kube-baseline``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bpfence.dialects.calico.model import GlobalNetworkPolicySpec, NetworkPolicySpec, Policy, Tier
from bpfence.dialects.objects import PolicyObject
from bpfence.semantics.calico_labels import selects_pod
from bpfence.semantics.calico_profiles import decide_profiles, may_end_closed, own_profiles
from bpfence.semantics.calico_rules import rule_matches
from bpfence.semantics.cluster import TierName, cluster_policies, first_cluster_rule, priority_of
from bpfence.semantics.decision import EXEMPT, NOT_SELECTED, UNMATCHED, Action, Decision, Outcome, first
from bpfence.semantics.kubernetes import AddressRule, isolating_policies, matching_rules
from bpfence.semantics.packet import Direction, Packet
from bpfence.semantics.world import ReferenceWorld

BUILT_IN_TIERS = {
    "kube-admin": (1_000.0, "Pass"),
    "default": (1_000_000.0, "Deny"),
    "kube-baseline": (10_000_000.0, "Pass"),
}
JOINED_ORDER = 1000.0
DIRECTIONS: tuple[Direction, ...] = ("ingress", "egress")
ENFORCED_KINDS = ("NetworkPolicy", "GlobalNetworkPolicy")
ACTIONS: dict[str, Action] = {"Allow": "allow", "Deny": "deny", "Pass": "pass"}


@dataclass(frozen=True, slots=True)
class Applied:
    """A policy that selects the pod in the direction. ``decide``: its first rule that matches, Log rules aside."""

    tier: str
    order: float
    tie: str
    policy: PolicyObject
    decide: Callable[[], Decision | None]


def decide_calico(world: ReferenceWorld, packet: Packet, *, joined: bool) -> Outcome:
    """Calico's workload layer. ``joined``: the Kubernetes policies are part of it.

    Calico: the host may always reach its own pods. A tier without a policy for the pod and direction is
    skipped. Pass and a tier that passes by default go on; after the last tier the pod's profiles decide, of which that
    of the namespace allows.
    """
    if packet.direction == "ingress" and packet.node and packet.peer.host == packet.node:
        return Outcome(True, EXEMPT)
    applied = _applied_policies(world, packet, joined=joined)
    decision = decide_tiers(world, applied)
    endpoint = own_profiles(world, packet.subject)
    if decision is None and endpoint is not None:
        decision = decide_profiles(world, packet, endpoint)
    if decision is not None:
        return Outcome(True, decision)
    return UNMATCHED if applied else NOT_SELECTED


def calico_isolation(world: ReferenceWorld, packet: Packet, *, joined: bool) -> Decision | None:
    """The default deny of the first tier that has policies for the pod and does not pass by default, else that of its
    profiles.
    """
    applied = _applied_policies(world, packet, joined=joined)
    end = first(end for _, end in _active_tiers(world, applied) if end)
    endpoint = own_profiles(world, packet.subject)
    if end is None and endpoint is not None and may_end_closed(endpoint):
        return Decision("deny", endpoint.title, endpoint.span(), "profile")
    return end


def decide_tiers(world: ReferenceWorld, applied: list[Applied], *, always_pass: bool = False) -> Decision | None:
    """The first decision of a tier. None: the last one has been passed. ``always_pass``: no tier denies at its end."""
    for ordered, end in _active_tiers(world, applied):
        decision = first(found for item in ordered if (found := item.decide()) is not None)
        decision = decision or (None if always_pass else end)
        if decision is not None and decision.action != "pass":
            return decision
    return None


def _active_tiers(world: ReferenceWorld, applied: list[Applied]) -> Iterator[tuple[list[Applied], Decision | None]]:
    """Every tier that has policies here: they in order, and the denial at its end (None: it passes)."""
    for name, default_action in tiers(world):
        ordered = sorted((item for item in applied if item.tier == name), key=lambda item: (item.order, item.tie))
        if ordered:
            policy = ordered[0].policy
            end = None if default_action == "Pass" else Decision("deny", policy.title, policy.span(), "default-deny")
            yield ordered, end


def _applied_policies(world: ReferenceWorld, packet: Packet, *, joined: bool) -> list[Applied]:
    applied = list(_calico_policies(world, packet))
    if joined:
        applied += [*_joined_policies(world, packet), *_cluster_policies(world, packet)]
    return applied


def tiers(world: ReferenceWorld) -> list[tuple[str, str]]:
    """(name, default action) of every tier, by order, then name. A tier without order has that of ``default``."""
    found = dict(BUILT_IN_TIERS)
    for item in world.policies.calico:
        if isinstance(item.model, Tier) and item.name not in BUILT_IN_TIERS:
            found[item.name] = (item.model.spec.order, item.model.spec.default_action or "Deny")
    names = sorted(found, key=lambda name: (found[name][0], name))
    return [(name, found[name][1]) for name in names]


def enforced_policies(world: ReferenceWorld) -> list[PolicyObject]:
    """Policies that act; staged ones never do."""
    policies = world.policies.calico
    return [x for x in policies if isinstance(x.model, Policy) and x.kind in ENFORCED_KINDS]


def _calico_policies(world: ReferenceWorld, packet: Packet) -> Iterator[Applied]:
    """Policies for untracked and pre-DNAT traffic are for host endpoints only."""
    for policy in enforced_policies(world):
        assert isinstance(policy.model, Policy)
        spec = policy.model.spec
        if isinstance(spec, GlobalNetworkPolicySpec) and (spec.do_not_track or spec.pre_dnat):
            continue
        if packet.direction in directions(spec) and selects_pod(world, spec, policy.namespace, packet.subject):
            decide = partial(first_calico_rule, world, policy, spec, packet)
            yield Applied(spec.tier or "default", spec.order, tie(policy), policy, decide)


def tie(policy: PolicyObject, kind: str = "") -> str:
    """Policies of equal order go by this text, bytewise."""
    return f"{policy.name}/{policy.namespace}/{kind or policy.kind}"


def directions(spec: NetworkPolicySpec) -> tuple[Direction, ...]:
    """``types``, or inferred: egress rules alone mean Egress, both mean both, else Ingress."""
    if spec.types:
        return tuple(direction for direction in DIRECTIONS if direction.capitalize() in spec.types)
    if not spec.egress:
        return ("ingress",)
    return ("ingress", "egress") if spec.ingress else ("egress",)


def first_calico_rule(
    world: ReferenceWorld, policy: PolicyObject, spec: NetworkPolicySpec, packet: Packet
) -> Decision | None:
    """The policy's first rule that matches. Log is a side effect; any other matching rule decides."""
    for index, rule in enumerate(spec.ingress if packet.direction == "ingress" else spec.egress):
        if rule.action != "Log" and rule_matches(world, rule, policy.namespace, packet):
            return Decision(ACTIONS[rule.action], policy.title, policy.span("spec", packet.direction, index))
    return None


def _prefix_owner(world: ReferenceWorld) -> AddressRule:
    """In this layer ipBlock matches by address, pods and nodes included, unless told otherwise."""
    without_pods = world.options.ipblock_matches_pods == "never"
    return lambda peer: not peer.service and not (without_pods and peer.pod is not None)


def _joined_policies(world: ReferenceWorld, packet: Packet) -> Iterator[Applied]:
    """NetworkPolicy: tier ``default``, order 1000, allow rules only; isolation is the end of the tier."""
    for policy in isolating_policies(world, packet.subject, packet.direction):
        matching = matching_rules(world, policy, packet, _prefix_owner(world))
        text = tie(policy, "KubernetesNetworkPolicy")
        yield Applied("default", JOINED_ORDER, text, policy, partial(first, matching))


def _cluster_policies(world: ReferenceWorld, packet: Packet) -> Iterator[Applied]:
    """Cluster policies: Admin is tier ``kube-admin``, Baseline ``kube-baseline``, the priority is the order."""
    names: tuple[tuple[TierName, str], ...] = (("Admin", "kube-admin"), ("Baseline", "kube-baseline"))
    for written, tier in names:
        for policy in cluster_policies(world, written, packet):
            text = tie(policy, "KubernetesClusterNetworkPolicy")
            decide = partial(first_cluster_rule, world, policy, packet)
            yield Applied(tier, priority_of(policy), text, policy, decide)
