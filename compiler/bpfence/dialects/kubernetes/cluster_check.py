"""ClusterNetworkPolicy and its predecessors: what their CRDs refuse, at the place where it stands.

Source: the markers and CEL rules of ``apis/v1alpha2`` and ``apis/v1alpha1`` (kubernetes-sigs/network-policy-api).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bpfence.dialects.kubernetes import codes
from bpfence.dialects.kubernetes.admin_model import AdminNetworkPolicy, BaselineAdminNetworkPolicy
from bpfence.dialects.kubernetes.check import warn_host_bits
from bpfence.dialects.kubernetes.cluster_form import Rule, given_members
from bpfence.dialects.kubernetes.cluster_model import (
    ClusterEgressPeer,
    ClusterEgressRule,
    ClusterIngressPeer,
    ClusterIngressRule,
    ClusterNetworkPolicy,
    NamespacedPods,
    Subject,
)
from bpfence.dialects.kubernetes.cluster_ports import check_admin_ports, check_protocols
from bpfence.dialects.kubernetes.domain_names import domain_name_problem
from bpfence.dialects.kubernetes.prefixes import parse_prefix
from bpfence.dialects.kubernetes.report import Path, Report

MAX_PRIORITY = 1000
MAX_RULE_NAME = 100
MAX_ITEMS = 25
MAX_NETWORK_TEXT = 43
TIERS = ("Admin", "Baseline")
DENIES_SELECTED = "the policy will deny what it selects"
ADDRESS_MEMBERS = frozenset(("networks", "nodes", "domainNames"))


@dataclass(frozen=True, slots=True)
class Limits:
    """In what the kinds differ. ``accept``: their word for letting through; ``foreign``: the other version's."""

    actions: tuple[str, ...]
    accept: str
    foreign: str
    count: int
    domain_names: bool = True
    needs_namespace_selector: bool = True


CLUSTER = Limits(("Accept", "Deny", "Pass"), "Accept", "Allow", 25, needs_namespace_selector=False)
ADMIN = Limits(("Allow", "Deny", "Pass"), "Allow", "Accept", 100)
BASELINE = Limits(("Allow", "Deny"), "Allow", "Accept", 100, domain_names=False)


def check_cluster_policy(policy: ClusterNetworkPolicy, report: Report) -> None:
    """Report everything that makes a ClusterNetworkPolicy invalid."""
    if policy.spec.tier not in TIERS:
        message = f"{policy.spec.tier!r} is no tier"
        report.refuse(codes.TIER, ("spec", "tier"), message, DENIES_SELECTED, "write Admin or Baseline")
    _check_priority(policy.spec.priority, report)
    _check_body(policy.spec.subject, policy.spec.ingress, policy.spec.egress, CLUSTER, report)


def check_admin_policy(policy: AdminNetworkPolicy, report: Report) -> None:
    """Report everything that makes an AdminNetworkPolicy invalid."""
    _check_priority(policy.spec.priority, report)
    _check_body(policy.spec.subject, policy.spec.ingress, policy.spec.egress, ADMIN, report)


def check_baseline_policy(policy: BaselineAdminNetworkPolicy, report: Report) -> None:
    """Report everything that makes a BaselineAdminNetworkPolicy invalid."""
    if policy.metadata.name != "default":
        message = "a BaselineAdminNetworkPolicy must be named default"
        report.error(codes.BASELINE_NAME, ("metadata", "name"), message, "write name: default")
    _check_body(policy.spec.subject, policy.spec.ingress, policy.spec.egress, BASELINE, report)


def _check_priority(priority: int, report: Report) -> None:
    if not 0 <= priority <= MAX_PRIORITY:
        message = f"priority {priority} is outside 0-{MAX_PRIORITY}"
        report.error(codes.PRIORITY, ("spec", "priority"), message)


def _check_body(
    subject: Subject, ingress: tuple[Rule, ...], egress: tuple[Rule, ...], limits: Limits, report: Report
) -> None:
    place = ("spec", "subject")
    report.exactly_one(codes.SUBJECT, place, given_members(subject), "namespaces, pods")
    report.selector(subject.namespaces, *place, "namespaces")
    _check_pods(subject.pods, (*place, "pods"), limits, report)
    for direction, rules in (("ingress", ingress), ("egress", egress)):
        if len(rules) > limits.count:
            message = f"{len(rules)} {direction} rules; at most {limits.count} are allowed"
            report.error(codes.RULE_COUNT, ("spec", direction), message, "split the policy")
        for index, rule in enumerate(rules):
            _check_rule(rule, ("spec", direction, index), limits, report)


def _check_rule(rule: Rule, path: Path, limits: Limits, report: Report) -> None:
    if rule.name is not None and len(rule.name) > MAX_RULE_NAME:
        report.error(codes.RULE_NAME, (*path, "name"), f"the rule's name is longer than {MAX_RULE_NAME} characters")
    if rule.action not in limits.actions:
        _refuse_action(rule.action, (*path, "action"), limits, report)
    field = "from" if path[1] == "ingress" else "to"
    if not 1 <= len(rule.peers) <= limits.count:
        message = f"{field} has {len(rule.peers)} peers; 1 to {limits.count} are allowed"
        report.error(codes.PEER_COUNT, (*path, field), message, "an empty list does not mean everybody here")
    for index, peer in enumerate(rule.peers):
        _check_peer(peer, rule.action, (*path, field, index), limits, report)
    by_address = any(ADDRESS_MEMBERS & set(given_members(peer)) for peer in rule.peers)
    if isinstance(rule, ClusterIngressRule | ClusterEgressRule):
        check_protocols(rule.protocols, by_address, (*path, "protocols"), report)
    else:
        check_admin_ports(rule.ports, by_address, (*path, "ports"), report)


def _refuse_action(action: str, path: Path, limits: Limits, report: Report) -> None:
    hint = f"write one of {', '.join(limits.actions)}"
    if action == limits.foreign:
        version = "v1alpha2" if limits is CLUSTER else "v1alpha1"
        hint = f"{version} says {limits.accept}"
    report.refuse(codes.ACTION, path, f"{action!r} is no action of this kind", DENIES_SELECTED, hint)


def _check_peer(peer: ClusterIngressPeer, action: str, path: Path, limits: Limits, report: Report) -> None:
    egress = isinstance(peer, ClusterEgressPeer)
    choices = "namespaces, pods, networks, nodes, domainNames" if egress else "namespaces, pods"
    members = given_members(peer)
    if members or not report.lenient:
        report.exactly_one(codes.PEER_MEMBER, path, members, choices)
    report.selector(peer.namespaces, *path, "namespaces")
    _check_pods(peer.pods, (*path, "pods"), limits, report)
    if isinstance(peer, ClusterEgressPeer):
        report.selector(peer.nodes, *path, "nodes")
        _check_networks(peer.networks, (*path, "networks"), report)
        if peer.domain_names is not None:
            _check_domain_names(peer.domain_names, action, (*path, "domainNames"), limits, report)


def _check_pods(pods: NamespacedPods | None, path: Path, limits: Limits, report: Report) -> None:
    if pods is None:
        return
    report.selector(pods.pod_selector, *path, "podSelector")
    report.selector(pods.namespace_selector, *path, "namespaceSelector")
    if pods.namespace_selector is None and limits.needs_namespace_selector:
        message = "pods needs a namespaceSelector in v1alpha1"
        report.error(codes.NAMESPACE_SELECTOR, path, message, "write namespaceSelector: {} for all namespaces")


def _check_networks(networks: tuple[str, ...] | None, path: Path, report: Report) -> None:
    if networks is None:
        return
    _check_list(codes.NETWORKS, networks, path, "networks", report)
    for index, text in enumerate(networks):
        parsed = parse_prefix(text)
        if isinstance(parsed, str) or len(text) > MAX_NETWORK_TEXT:
            reason = parsed if isinstance(parsed, str) else f"is longer than {MAX_NETWORK_TEXT} characters"
            report.error(codes.CIDR, (*path, index), f"network {text!r} {reason}")
        elif parsed.host_bits:
            warn_host_bits(report, (*path, index), text, str(parsed.network))


def _check_domain_names(names: tuple[str, ...], action: str, path: Path, limits: Limits, report: Report) -> None:
    if not limits.domain_names:
        report.error(codes.PEER_MEMBER, path, "BaselineAdminNetworkPolicy has no domainNames peers", of_key=True)
        return
    _check_list(codes.DOMAIN_NAMES, names, path, "domainNames", report)
    for index, text in enumerate(names):
        if problem := domain_name_problem(text):
            report.error(codes.DOMAIN_NAMES, (*path, index), f"the name {text!r} {problem}")
    if action in limits.actions and action != limits.accept:
        message = f"domainNames can't stand in a rule whose action is {action}"
        hint = f"names may only be opened: write action: {limits.accept}"
        report.error(codes.DOMAIN_ACTION, path, message, hint, of_key=True)
    message = "the tables of this version know no DNS names: these peers open nothing there"
    report.warning(codes.NAMES_NOT_ENFORCED, path, message, "name the addresses in networks as well", of_key=True)


def _check_list(code: str, items: Iterable[str], path: Path, word: str, report: Report) -> None:
    listed = list(items)
    if not 1 <= len(listed) <= MAX_ITEMS:
        report.error(code, path, f"{word} has {len(listed)} items; 1 to {MAX_ITEMS} are allowed")
    seen: set[str] = set()
    for index, item in enumerate(listed):
        if item in seen:
            report.error(code, (*path, index), f"{item!r} stands twice in {word}", "remove one of them")
        seen.add(item)
