"""Pods whose egress is isolated and that no policy lets ask for names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.kubernetes import codes
from bpfence.dialects.kubernetes.model import EgressRule, NetworkPolicy, Port
from bpfence.dialects.kubernetes.pod_index import PodIndex, Scope, policy_scope
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Pod

DNS_PORT = 53
Policies = Sequence[tuple[PolicyObject, NetworkPolicy]]


def lint_dns(policies: Policies, index: PodIndex, diagnostics: Diagnostics) -> None:
    """One warning for every policy that isolates egress of a pod to which nobody opens udp/53."""
    answering: dict[str, list[Scope]] = {}
    for source, policy in policies:
        if policy.spec.directions[1] and any(map(_opens_dns, policy.spec.egress)):
            answering.setdefault(source.namespace, []).append(policy_scope(source, policy))
    for source, policy in policies:
        if not policy.spec.directions[1] or any(map(_opens_dns, policy.spec.egress)):
            continue
        scope = policy_scope(source, policy)
        if _all_may_ask(scope, answering.get(source.namespace, []), index):
            continue
        message = "egress is isolated and no rule opens udp/53: the pods can't resolve names"
        hint = "allow egress to the cluster's DNS pods on port 53, UDP and TCP"
        span = source.span("spec", "egress") if policy.spec.egress else source.span("spec")
        diagnostics.warning(codes.NO_DNS, span, message, hint, source.title)


def _all_may_ask(scope: Scope, answering: list[Scope], index: PodIndex) -> bool:
    """Whether some policy opens DNS to every selected pod; without pods, whether one has the same reach or all."""
    pods: Iterable[Pod] = list(index.matching(scope))
    if pods:
        return all(any(index.contains(other, pod) for other in answering) for pod in pods)
    return any(other.pods.is_empty or other.pods == scope.pods for other in answering)


def _opens_dns(rule: EgressRule) -> bool:
    return not rule.ports or any(map(_is_dns, rule.ports))


def _is_dns(port: Port) -> bool:
    """A UDP port that is or may be 53; names are taken for it."""
    if port.protocol != "UDP":
        return False
    if isinstance(port.port, int):
        return port.port <= DNS_PORT <= (port.end_port or port.port)
    return True
