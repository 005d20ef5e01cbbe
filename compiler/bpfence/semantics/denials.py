"""What policies that can't be enforced deny: all that they select, in the directions that they speak of.

They come before all other policies. Only what the own node sends to its pods passes them, for the others to decide.
"""

from __future__ import annotations

from collections.abc import Iterator

from bpfence.dialects.calico.model import GlobalNetworkPolicySpec
from bpfence.dialects.calico.model import Policy as CalicoPolicy
from bpfence.semantics.calico import directions, enforced_policies
from bpfence.semantics.calico_labels import selects_pod
from bpfence.semantics.cilium import applied_rules, node_rules
from bpfence.semantics.cluster import TierName, cluster_policies
from bpfence.semantics.decision import Decision, first
from bpfence.semantics.kubernetes import isolating_policies
from bpfence.semantics.packet import Packet
from bpfence.semantics.world import ReferenceWorld, is_node

TIERS: tuple[TierName, ...] = ("Admin", "Baseline")


def pod_denial(world: ReferenceWorld, layer: str, packet: Packet, *, joined: bool) -> Decision | None:
    """The first denial of a layer's policies at a pod. ``joined``: those of Kubernetes are among them."""
    if world.denying is None or (packet.direction == "ingress" and is_node(packet.peer, packet.node)):
        return None
    found: Decision | None = None
    if layer == "cilium":
        found = first(_cilium(world.denying, packet))
    elif layer == "calico":
        found = first(_calico(world.denying, packet))
    return found or (first(_kubernetes(world.denying, packet)) if joined else None)


def node_denial(world: ReferenceWorld, packet: Packet) -> Decision | None:
    """The first denial of Cilium's policies for nodes."""
    if world.denying is None:
        return None
    rules = node_rules(world.denying, packet.node, packet.direction)
    return first(Decision("deny", item.policy.title, item.policy.span(*item.path)) for item in rules)


def _cilium(world: ReferenceWorld, packet: Packet) -> Iterator[Decision]:
    for item in applied_rules(world, packet.subject, packet.direction):
        yield Decision("deny", item.policy.title, item.policy.span(*item.path))


def _calico(world: ReferenceWorld, packet: Packet) -> Iterator[Decision]:
    for policy in enforced_policies(world):
        assert isinstance(policy.model, CalicoPolicy)
        spec = policy.model.spec
        if isinstance(spec, GlobalNetworkPolicySpec) and (spec.do_not_track or spec.pre_dnat):
            continue
        if packet.direction in directions(spec) and selects_pod(world, spec, policy.namespace, packet.subject):
            yield Decision("deny", policy.title, policy.span("spec"))


def _kubernetes(world: ReferenceWorld, packet: Packet) -> Iterator[Decision]:
    policies = isolating_policies(world, packet.subject, packet.direction)
    for tier in TIERS:
        policies += cluster_policies(world, tier, packet)
    for policy in policies:
        yield Decision("deny", policy.title, policy.span("spec"))
