"""Traps in ClusterNetworkPolicy and its predecessors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bpfence.dialects.kubernetes import codes
from bpfence.dialects.kubernetes.cluster_form import ClusterPolicy, ClusterRule
from bpfence.dialects.kubernetes.cluster_model import (
    ClusterEgressPeer,
    ClusterNetworkPolicy,
    NamespacedPods,
)
from bpfence.dialects.kubernetes.domain_names import canonical_name
from bpfence.dialects.kubernetes.model import NetworkPolicy
from bpfence.dialects.kubernetes.pod_index import PodIndex, choice_scope, policy_scope
from bpfence.dialects.kubernetes.report import Path, Report
from bpfence.dialects.objects import PolicyObject

Policies = Sequence[tuple[PolicyObject, NetworkPolicy]]


def lint_cluster_policy(form: ClusterPolicy, policies: Policies, index: PodIndex, report: Report) -> None:
    """Report readings that surprise. ``policies``: the input's NetworkPolicies, which Baseline comes after."""
    if isinstance(form.source.model, ClusterNetworkPolicy):
        _warn_all_namespaces(form, report)
    else:
        message = f"{form.source.kind} v1alpha1 was replaced by ClusterNetworkPolicy v1alpha2; it is read as one"
        report.note(codes.REPLACED_VERSION, ("apiVersion",), message)
    if form.baseline:
        _lint_baseline_accepts(form, policies, index, report)
    for rule in form.ingress:
        _note_nodes(rule, report)
    for rule in form.egress:
        _lint_wildcards(rule, report)


def _warn_all_namespaces(form: ClusterPolicy, report: Report) -> None:
    for path, pods in _pod_choices(form):
        if pods.namespace_selector is None:
            message = "pods without namespaceSelector means pods of all namespaces"
            report.warning(codes.ALL_NAMESPACES, path, message, "write namespaceSelector: {} if that is meant")


def _pod_choices(form: ClusterPolicy) -> Iterator[tuple[Path, NamespacedPods]]:
    if form.subject.pods is not None:
        yield ("spec", "subject", "pods"), form.subject.pods
    for rule in (*form.ingress, *form.egress):
        field = "from" if rule.path[1] == "ingress" else "to"
        for number, peer in enumerate(rule.peers):
            if peer.pods is not None:
                yield (*rule.path, field, number, "pods"), peer.pods


def _lint_baseline_accepts(form: ClusterPolicy, policies: Policies, index: PodIndex, report: Report) -> None:
    """An Accept in Baseline is never reached for pods that a NetworkPolicy isolates."""
    for position, rules in enumerate((form.ingress, form.egress)):
        accepts = [rule for rule in rules if rule.action == "Accept"]
        isolating = [item for item in policies if item[1].spec.directions[position]]
        if accepts and (title := _isolated_by(form, isolating, index)):
            message = f"{title} isolates pods of the subject: for them this Accept opens nothing"
            hint = "allow it in the NetworkPolicy, or write an Admin policy"
            report.warning(codes.BASELINE_ACCEPT, accepts[0].path, message, hint)


def _isolated_by(form: ClusterPolicy, isolating: Policies, index: PodIndex) -> str:
    subject = choice_scope(form.subject)
    for source, policy in isolating if subject is not None else ():
        pods = index.matching(policy_scope(source, policy))
        if subject is not None and any(index.contains(subject, pod) for pod in pods):
            return source.title
    return ""


def _note_nodes(rule: ClusterRule, report: Report) -> None:
    """A Deny from everybody reads as if it stopped nodes and outside too."""
    if rule.action != "Deny" or rule.closed:
        return
    if any(peer.namespaces is not None and peer.namespaces.is_empty for peer in rule.peers):
        message = "this Deny is about pods alone: no ingress peer names nodes or addresses outside"
        report.warning(codes.NODES_NOT_DENIED, rule.path, message, "isolate the pods by a NetworkPolicy to stop those")


def _lint_wildcards(rule: ClusterRule, report: Report) -> None:
    peers = [peer for peer in rule.peers if isinstance(peer, ClusterEgressPeer)]
    listed = {canonical_name(name) for peer in peers for name in peer.domain_names or ()}
    for number, peer in enumerate(peers):
        for index, name in enumerate(peer.domain_names or ()):
            apex = canonical_name(name).removeprefix("*.")
            if name.startswith("*.") and apex not in listed:
                path = (*rule.path, "to", number, "domainNames", index)
                message = f"{name} does not match {apex} itself"
                report.warning(codes.WILDCARD_APEX, path, message, f"list {apex} as well if it is meant")
