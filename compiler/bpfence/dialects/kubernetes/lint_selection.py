"""Selectors and port names against the inventory: who is not there, and who is there but out of reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from bpfence.dialects.kubernetes import codes
from bpfence.dialects.kubernetes.cluster_form import ClusterPolicy
from bpfence.dialects.kubernetes.model import LabelSelector, NetworkPolicy
from bpfence.dialects.kubernetes.pod_index import PodIndex, Scope, choice_scope, peer_scope, policy_scope
from bpfence.dialects.kubernetes.port_names import (
    NameUse,
    numbers_of,
    uses_of_cluster_policy,
    uses_of_policy,
)
from bpfence.dialects.kubernetes.report import Path, Report
from bpfence.dialects.kubernetes.selectors import requirement_holds, selector_keys
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Pod

NAME_LABEL = "kubernetes.io/metadata.name"
SHOWN = 3
"""How many names a message lists."""

Place = tuple[Path, Scope]


def lint_policy_selection(
    source: PolicyObject, policy: NetworkPolicy, index: PodIndex, hosts: PodIndex, report: Report
) -> None:
    """Subject, peers and port names of a NetworkPolicy."""
    subject = policy_scope(source, policy)
    _lint_places([(("spec", "podSelector"), subject)], "selects no pod", index, hosts, report)
    _lint_places(_policy_peers(source, policy), "matches no pod", index, hosts, report)
    _lint_names(uses_of_policy(source, policy), index, report)


def lint_cluster_selection(form: ClusterPolicy, index: PodIndex, hosts: PodIndex, report: Report) -> None:
    """Subject, peers and port names of a cluster policy."""
    subject = choice_scope(form.subject)
    if subject is not None:
        _lint_places([(("spec", "subject"), subject)], "selects no pod", index, hosts, report)
    _lint_places(_cluster_peers(form), "matches no pod", index, hosts, report)
    _lint_names(uses_of_cluster_policy(form), index, report)


def _policy_peers(source: PolicyObject, policy: NetworkPolicy) -> Iterator[Place]:
    lists = [(("spec", "ingress", at, "from"), rule.peers) for at, rule in enumerate(policy.spec.ingress)]
    lists += [(("spec", "egress", at, "to"), rule.peers) for at, rule in enumerate(policy.spec.egress)]
    for path, peers in lists:
        for number, peer in enumerate(peers):
            if (scope := peer_scope(source, peer)) is not None:
                yield (*path, number), scope


def _cluster_peers(form: ClusterPolicy) -> Iterator[Place]:
    for rule in (*form.ingress, *form.egress):
        field = "from" if rule.path[1] == "ingress" else "to"
        for number, peer in enumerate(rule.peers):
            if (scope := choice_scope(peer)) is not None:
                yield (*rule.path, field, number), scope


def _lint_places(places: Iterable[Place], nothing: str, index: PodIndex, hosts: PodIndex, report: Report) -> None:
    if not index.inventory.pods:
        return
    for path, scope in places:
        _lint_keys(path, scope, index, report)
        if next(index.matching(scope), None) is None:
            report.note(codes.NOTHING_SELECTED, path, f"the selector {nothing} of the inventory")
        _note_host_network(path, scope, hosts, report)
        _warn_made_up(path, scope, index, report)


def _lint_keys(path: Path, scope: Scope, index: PodIndex, report: Report) -> None:
    keys = [(key, "pod") for key in selector_keys(scope.pods) if key not in index.pod_keys]
    if scope.namespaces is not None and index.namespaces:
        keys += [(key, "namespace") for key in selector_keys(scope.namespaces) if key not in index.namespace_keys]
    for key, kind in keys:
        message = f"no {kind} of the inventory has a label {key!r}"
        report.warning(codes.KEY_NOWHERE, path, message, "check the spelling of the key")


def _note_host_network(path: Path, scope: Scope, hosts: PodIndex, report: Report) -> None:
    if scope.pods.is_empty and (scope.namespaces is None or scope.namespaces.is_empty):
        return
    found = list(hosts.matching(scope))
    if found:
        message = f"pods on the host network are not matched by selectors: {_names(found)}"
        report.note(codes.HOST_NETWORK, path, message, "their traffic is their node's; ipBlock can name it")


def _names(pods: list[Pod]) -> str:
    names = ", ".join(f"{pod.namespace}/{pod.name}" for pod in islice(pods, SHOWN))
    return f"{names} and {len(pods) - SHOWN} more" if len(pods) > SHOWN else names


def _warn_made_up(path: Path, scope: Scope, index: PodIndex, report: Report) -> None:
    """Labels of a Namespace that the input does not define are unknown, so the selector may be wrong about it."""
    if scope.namespaces is None or not _asks_beyond_name(scope.namespaces):
        return
    selector = scope.namespaces
    names = [item.name for item in index.namespaces.values() if item.made_up and _name_fits(selector, item.name)]
    if names:
        message = f"the selector asks for labels of namespaces that the input does not define: {', '.join(names)}"
        report.warning(codes.MADE_UP_NAMESPACE, path, message, "add the Namespace objects to the input")


def _asks_beyond_name(selector: LabelSelector) -> bool:
    return any(key != NAME_LABEL for key in selector_keys(selector))


def _name_fits(selector: LabelSelector, name: str) -> bool:
    labels = {NAME_LABEL: name}
    if selector.match_labels.get(NAME_LABEL, name) != name:
        return False
    return all(requirement_holds(item, labels) for item in selector.match_expressions if item.key == NAME_LABEL)


def _lint_names(uses: Iterable[NameUse], index: PodIndex, report: Report) -> None:
    if not index.inventory.pods:
        return
    for use in uses:
        pods = chain.from_iterable(index.matching(scope) for scope in use.scopes)
        if use.scopes and not any(numbers_of(pod, use.name, number) for pod in pods for number in use.protocols):
            message = f"no pod that the rule concerns has a port named {use.name!r}: it matches nothing"
            report.warning(codes.NAME_UNRESOLVED, use.path, message, "check the name and the protocol")
