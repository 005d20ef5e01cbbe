"""Layers: which engine enforces what, Admin and Baseline around the layer NetworkPolicy has joined, and the
conjunction.
"""

from __future__ import annotations

from typing import Literal

from bpfence.dialects.cilium.model import Policy as CiliumPolicy
from bpfence.semantics.calico import decide_calico, enforced_policies
from bpfence.semantics.cilium import decide_cilium
from bpfence.semantics.cluster import cluster_policies, decide_cluster_tier
from bpfence.semantics.decision import NOT_SELECTED, Outcome
from bpfence.semantics.kubernetes import decide_network_policies
from bpfence.semantics.packet import Packet, is_link_housekeeping, is_mtu_error, reaches_itself
from bpfence.semantics.verdict import LayerVerdict, SideVerdict
from bpfence.semantics.world import ReferenceWorld

LayerName = Literal["kubernetes", "calico", "cilium"]


def judge(world: ReferenceWorld, packet: Packet) -> SideVerdict:
    """Every layer must allow."""
    joined = joined_layer(world)
    layers = tuple(_layer_verdict(world, name, packet, joined=name == joined) for name in layer_names(world))
    return SideVerdict(all(layer.allowed for layer in layers), layers)


def joined_layer(world: ReferenceWorld) -> LayerName:
    """The layer NetworkPolicy and its enclosing tiers have joined: as forced, else the only other engine in use."""
    if world.options.engine != "auto":
        return world.options.engine
    others = _engines_in_use(world)
    return others[0] if len(others) == 1 else "kubernetes"


def layer_names(world: ReferenceWorld) -> list[LayerName]:
    """Layers with policies; the joined layer alone when there are none at all."""
    names = _engines_in_use(world)
    joined = joined_layer(world)
    if joined not in names and (world.policies.kubernetes or not names):
        names.append(joined)
    return names


def _engines_in_use(world: ReferenceWorld) -> list[LayerName]:
    found: list[LayerName] = []
    if enforced_policies(world):
        found.append("calico")
    if any(isinstance(item.model, CiliumPolicy) for item in world.policies.cilium):
        found.append("cilium")
    return found


def _layer_verdict(world: ReferenceWorld, name: LayerName, packet: Packet, *, joined: bool) -> LayerVerdict:
    if is_exempt(packet):
        return LayerVerdict(name, True, "exempt")
    if name == "calico":
        outcome = decide_calico(world, packet, joined=joined)
    elif joined:
        outcome = _enclosed(world, name, packet)
    else:
        outcome = _own_tiers(world, name, packet, joined=False)
    if outcome.decision is not None:
        return outcome.decision.verdict(name)
    return LayerVerdict(name, True, "unmatched" if outcome.selected else "not-selected")


def is_exempt(packet: Packet) -> bool:
    """What no policy of any layer decides at a pod."""
    return reaches_itself(packet) or is_link_housekeeping(packet) or is_mtu_error(packet)


def _enclosed(world: ReferenceWorld, name: LayerName, packet: Packet) -> Outcome:
    """ClusterNetworkPolicy API: Admin first, then the layer's own tiers, whose isolation is final, then
    Baseline, then allow.
    """
    admin = decide_cluster_tier(world, "Admin", packet)
    if admin:
        return Outcome(True, admin)
    own = _own_tiers(world, name, packet, joined=True)
    if own.decision:
        return own
    around = any(cluster_policies(world, tier, packet) for tier in ("Admin", "Baseline"))
    return Outcome(own.selected or around, decide_cluster_tier(world, "Baseline", packet))


def _own_tiers(world: ReferenceWorld, name: LayerName, packet: Packet, *, joined: bool) -> Outcome:
    if name == "cilium":
        return decide_cilium(world, packet, joined=joined)
    decision = decide_network_policies(world, packet) if joined else None
    return Outcome(True, decision) if decision else NOT_SELECTED
