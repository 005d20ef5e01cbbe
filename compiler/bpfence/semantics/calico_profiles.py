"""Calico's profiles: what decides after the last tier, at host endpoints and at pods that list profiles of their own.

Follows ``felix/rules/endpoints.go`` of projectcalico/calico.
"""

from __future__ import annotations

from bpfence.dialects.calico.model import HostEndpoint, Profile, WorkloadEndpoint
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Pod
from bpfence.semantics.calico_rules import rule_matches
from bpfence.semantics.decision import Action, Decision
from bpfence.semantics.host_endpoints import allows_everything, find_profile
from bpfence.semantics.packet import Packet
from bpfence.semantics.world import ReferenceWorld


def decide_profiles(world: ReferenceWorld, packet: Packet, endpoint: PolicyObject) -> Decision:
    """The rules of the profiles in the order of the endpoint's list; Pass denies; without a match: deny."""
    for index, name in enumerate(profile_names(endpoint)):
        if allows_everything(name):
            return Decision("allow", f"Profile {name}", endpoint.span("spec", "profiles", index), "profile")
        item = find_profile(world.policies.calico, name)
        if item is None or not isinstance(item.model, Profile):
            continue
        spec = item.model.spec
        if any(rule.http is not None for rule in (*spec.ingress, *spec.egress)):  # accepted, and can't be enforced
            return Decision("deny", item.title, item.span("spec", packet.direction), "profile")
        for position, rule in enumerate(spec.ingress if packet.direction == "ingress" else spec.egress):
            if rule.action != "Log" and rule_matches(world, rule, "", packet):
                action: Action = "allow" if rule.action == "Allow" else "deny"
                return Decision(action, item.title, item.span("spec", packet.direction, position), "profile")
    return Decision("deny", endpoint.title, endpoint.span(), "profile")


def profile_names(endpoint: PolicyObject) -> tuple[str, ...]:
    """The list that the endpoint writes."""
    return endpoint.model.spec.profiles if isinstance(endpoint.model, HostEndpoint | WorkloadEndpoint) else ()


def own_profiles(world: ReferenceWorld, pod: Pod) -> PolicyObject | None:
    """The WorkloadEndpoint that gives the pod profiles which may not allow everything. None: they do, as usual."""
    if pod.profiles is None:
        return None
    for item in world.policies.calico:
        model = item.model
        if not isinstance(model, WorkloadEndpoint) or (item.namespace, model.spec.pod) != (pod.namespace, pod.name):
            continue
        usual = (f"kns.{pod.namespace}", f"ksa.{pod.namespace}.{pod.service_account}")
        names = profile_names(item)
        return None if usual[0] in names and set(names) <= set(usual) else item
    return None


def may_end_closed(endpoint: PolicyObject) -> bool:
    """Whether something can reach the end of the list, where it is denied."""
    return not any(map(allows_everything, profile_names(endpoint)))
