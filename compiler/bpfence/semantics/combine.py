"""Layers: which engine enforces what, Admin and Baseline around the layer NetworkPolicy has joined, and the
conjunction.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from bpfence.dialects.cilium.model import Policy as CiliumPolicy
from bpfence.identity.inventory import Pod
from bpfence.semantics.calico import calico_isolation, decide_calico, enforced_policies
from bpfence.semantics.calico_profiles import own_profiles
from bpfence.semantics.cilium import asks_name, cilium_isolation, decide_cilium, decide_cilium_node
from bpfence.semantics.cluster import cluster_policies, decide_cluster_tier
from bpfence.semantics.decision import NOT_SELECTED, Decision, Outcome, first
from bpfence.semantics.denials import node_denial, pod_denial
from bpfence.semantics.host_endpoints import is_failsafe
from bpfence.semantics.kubernetes import decide_network_policies, default_deny, isolating_policies
from bpfence.semantics.packet import Packet, is_icmpv6_error, is_link_housekeeping, is_mtu_error, reaches_itself
from bpfence.semantics.verdict import LayerVerdict, SideVerdict
from bpfence.semantics.world import ReferenceWorld

LayerName = Literal["kubernetes", "calico", "cilium"]


def judge(world: ReferenceWorld, packet: Packet) -> SideVerdict:
    """One direction at a pod. Every layer must allow."""
    joined = joined_layer(world)
    backends = backends_of(world, packet)
    layers = [
        _layer_verdict(world, name, packet, joined=name == joined)
        if backends is None
        else _service_verdict(world, name, packet, backends, joined=name == joined)
        for name in layer_names(world)
    ]
    return SideVerdict(all(layer.allowed for layer in layers), tuple(layers))


def judge_node(world: ReferenceWorld, packet: Packet, *, with_failsafes: bool = True) -> tuple[LayerVerdict, ...]:
    """One direction at a node's own processes: Cilium's host policies, where some select the node. The failsafe ports
    of host endpoints are open for them as well.
    """
    endpoint = f"node/{packet.node}"
    denial = node_denial(world, packet)
    outcome = Outcome(True, denial) if denial else decide_cilium_node(world, with_query(world, packet))
    if not outcome.selected:
        return ()
    if is_link_housekeeping(packet) or is_mtu_error(packet) or is_icmpv6_error(packet):
        return (LayerVerdict("cilium", True, "exempt", endpoint=endpoint),)
    if with_failsafes and _is_failsafe(world, packet):
        return (LayerVerdict("cilium", True, "failsafe", endpoint=endpoint),)
    if outcome.decision is None:
        return (LayerVerdict("cilium", True, "unmatched", endpoint=endpoint),)
    return (outcome.decision.verdict("cilium", endpoint),)


def _is_failsafe(world: ReferenceWorld, packet: Packet) -> bool:
    """By the destination's port, as FelixConfiguration says, else Calico's defaults."""
    objects, remote = world.policies.calico, packet.peer.address
    return is_failsafe(objects, packet.node, packet.direction, packet.protocol, packet.destination_port, remote)


def backends_of(world: ReferenceWorld, packet: Packet) -> tuple[Packet, ...] | None:
    """The packet as it would go to each ready backend of the service it is sent to. None: it is sent to no service,
    or never leaves the pod, whose own address a service has borrowed.
    """
    address, port = packet.destination.address, packet.destination_port
    if packet.direction == "ingress" or address is None or port is None or reaches_itself(packet):
        return None
    backends = world.backends.get((address, packet.protocol, port))
    if backends is None:
        return None
    return tuple(
        replace(packet, peer=world.owner(backend.address), destination_port=backend.port, by_service=True)
        for backend in backends
    )


def _service_verdict(
    world: ReferenceWorld, name: LayerName, packet: Packet, backends: tuple[Packet, ...], *, joined: bool
) -> LayerVerdict:
    """Allowed exactly if every ready backend is. Without one an isolated pod is denied; else as for any address."""
    if backends:
        verdicts = [_layer_verdict(world, name, item, joined=joined) for item in backends]
        return next((verdict for verdict in verdicts if not verdict.allowed), verdicts[0])
    isolation = _isolation(world, name, packet, joined=joined)
    if isolation is not None:
        return replace(isolation, reason="no-backend").verdict(name, title_of(packet.subject))
    return _layer_verdict(world, name, packet, joined=joined)


def _isolation(world: ReferenceWorld, name: LayerName, packet: Packet, *, joined: bool) -> Decision | None:
    """The default deny that the layer has for the pod, whether or not something allows this packet."""
    if name == "calico":
        return calico_isolation(world, packet, joined=joined)
    if name == "cilium":
        return cilium_isolation(world, packet, joined=joined)
    isolating = isolating_policies(world, packet.subject, packet.direction) if joined else []
    return first(map(default_deny, isolating))


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
    if joined not in names and (world.written.kubernetes or not names):
        names.append(joined)
    return names


def _engines_in_use(world: ReferenceWorld) -> list[LayerName]:
    written = [world] if world.denying is None else [world, world.denying]
    found: list[LayerName] = []
    if any(enforced_policies(item) for item in written) or any(
        own_profiles(world, pod) for pod in world.inventory.pods
    ):
        found.append("calico")
    if any(isinstance(item.model, CiliumPolicy) for item in world.written.cilium):
        found.append("cilium")
    return found


def _layer_verdict(world: ReferenceWorld, name: LayerName, packet: Packet, *, joined: bool) -> LayerVerdict:
    endpoint = title_of(packet.subject)
    packet = with_query(world, packet)
    if is_exempt(packet):
        return LayerVerdict(name, True, "exempt", endpoint=endpoint)
    denial = pod_denial(world, name, packet, joined=joined)
    if denial is not None:
        outcome = Outcome(True, denial)
    elif name == "calico":
        outcome = decide_calico(world, packet, joined=joined)
    elif joined:
        outcome = _enclosed(world, name, packet)
    else:
        outcome = _own_tiers(world, name, packet, joined=False)
    if outcome.decision is not None:
        return outcome.decision.verdict(name, endpoint)
    return LayerVerdict(name, True, "unmatched" if outcome.selected else "not-selected", endpoint=endpoint)


def with_query(world: ReferenceWorld, packet: Packet) -> Packet:
    """The packet; where DNS rules look into it, its name is what it asks for, not one that was learnt."""
    if not packet.fqdn or not asks_name(world, packet):
        return packet
    return replace(packet, fqdn="", query=packet.fqdn)


def title_of(pod: Pod) -> str:
    return f"{pod.namespace}/{pod.name}"


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
