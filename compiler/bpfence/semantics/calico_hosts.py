"""What Calico's policies say at an interface of a host: untracked, pre-DNAT, to and from the host, forwarded.

Follows ``felix/rules/static.go``, ``felix/rules/endpoints.go`` and the host endpoint documentation of
projectcalico/calico.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Literal

from bpfence.dialects.calico.model import GlobalNetworkPolicy, GlobalNetworkPolicySpec
from bpfence.semantics.calico import (
    Applied,
    decide_tiers,
    directions,
    enforced_policies,
    first_calico_rule,
    tie,
)
from bpfence.semantics.calico_labels import policy_selector
from bpfence.semantics.calico_profiles import decide_profiles
from bpfence.semantics.calico_selector import matches
from bpfence.semantics.decision import Decision
from bpfence.semantics.host_endpoints import HostInterface, is_failsafe
from bpfence.semantics.packet import Packet, is_link_housekeeping
from bpfence.semantics.verdict import LayerVerdict
from bpfence.semantics.world import ReferenceWorld

Point = Literal["endpoint", "untracked", "pre-dnat", "forward"]
LAYERS: dict[Point, str] = {
    "endpoint": "calico",
    "untracked": "calico-untracked",
    "pre-dnat": "calico-pre-dnat",
    "forward": "calico-forward",
}


def decide_host_endpoint(
    world: ReferenceWorld, packet: Packet, host: HostInterface, point: Point, *, with_failsafes: bool = True
) -> LayerVerdict:
    """One point of one host endpoint.

    Neighbour and multicast listener discovery pass. Failsafe ports come before the policies, but not before those for
    forwarded traffic. What no policy decides is undecided at the early points; forwarded it is allowed, at the host
    itself the profiles decide, and denied when they do not.
    """
    layer = LAYERS[point]
    if is_link_housekeeping(packet):
        return LayerVerdict(layer, True, "exempt", endpoint=host.title, point=point)
    if with_failsafes and _is_failsafe(world, packet, point):
        return LayerVerdict(layer, True, "failsafe", endpoint=host.title, point=point)
    denying = _applied(world.denying, packet, host, point) if world.denying is not None else ()
    for item in denying:  # they can't be enforced
        return Decision("deny", item.policy.title, item.policy.span("spec")).verdict(layer, host.title, point)
    early = point in ("untracked", "pre-dnat")
    applied = list(_applied(world, replace(packet, original=early), host, point))
    decision = decide_tiers(world, applied, always_pass=early)
    if decision is None and point == "endpoint":
        decision = decide_profiles(world, packet, host.policy)
    if decision is not None:
        return decision.verdict(layer, host.title, point)
    reason = "undecided" if early else "unmatched" if applied else "not-selected"
    return LayerVerdict(layer, True, reason, endpoint=host.title, point=point)


def _is_failsafe(world: ReferenceWorld, packet: Packet, point: Point) -> bool:
    """By the destination's port. Before translation only for what was sent to the node's own addresses. A source port
    is never enough: whoever sends can choose it.
    """
    if point == "forward":
        return False
    if point == "pre-dnat" and packet.own.host != packet.node:
        return False
    objects, remote = world.policies.calico, packet.peer.address
    return is_failsafe(objects, packet.node, packet.direction, packet.protocol, packet.destination_port, remote)


def _applied(world: ReferenceWorld, packet: Packet, host: HostInterface, point: Point) -> Iterator[Applied]:
    """Only GlobalNetworkPolicies select host endpoints."""
    for policy in enforced_policies(world):
        if not isinstance(policy.model, GlobalNetworkPolicy):
            continue
        spec = policy.model.spec
        if not _is_at(spec, point) or packet.direction not in directions(spec):
            continue
        if matches(policy_selector(spec, ""), host.labels):
            decide = partial(first_calico_rule, world, policy, spec, packet)
            yield Applied(spec.tier or "default", spec.order, tie(policy), policy, decide)


def _is_at(spec: GlobalNetworkPolicySpec, point: Point) -> bool:
    if spec.do_not_track or spec.pre_dnat:
        return point == ("untracked" if spec.do_not_track else "pre-dnat")
    return point == "endpoint" or (point == "forward" and spec.apply_on_forward)
