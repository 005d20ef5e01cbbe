"""The checks of whole objects: a model and its document in, everything Cilium's sanitiser (or bpfence) refuses out.

Upstream: ``pkg/policy/api/rule_validation.go``, ``pkg/k8s/apis/cilium.io/v2``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bpfence.dialects.cilium import codes
from bpfence.dialects.cilium.check_peers import check_group_prefix, check_peers
from bpfence.dialects.cilium.check_ports import check_host_l7, check_l4
from bpfence.dialects.cilium.check_selectors import HOSTS, check_selector, check_subject
from bpfence.dialects.cilium.model import (
    CidrGroup,
    ClusterwideNetworkPolicy,
    EgressRule,
    IngressRule,
    Policy,
    Rule,
    Statement,
)
from bpfence.dialects.cilium.report import Report
from bpfence.dialects.cilium.statements import Place, has_section, peers_of, rules_of, statements_of
from bpfence.dialects.cilium.unsupported import unsupported_in
from bpfence.dialects.label_syntax import dns_label_problem, dns_subdomain_problem
from bpfence.dialects.model_base import ObjectMeta
from bpfence.ir.nodes import Direction
from bpfence.source.documents import Path

MAX_LOG_VALUE = 32
AUTHENTICATION_MODES = ("disabled", "required", "test-always-fail")


def find_nulls(value: Any, path: Path = ()) -> Iterator[Path]:
    """The places of written nulls."""
    if value is None:
        yield path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from find_nulls(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from find_nulls(item, (*path, index))


def check_metadata(metadata: ObjectMeta, report: Report) -> None:
    """What the API server asks of every object's name and namespace."""
    if not metadata.name:
        report.error(codes.OBJECT_NAME, ("metadata", "name"), "the name is empty", "give the object a name")
    elif problem := dns_subdomain_problem(metadata.name):
        report.error(codes.OBJECT_NAME, ("metadata", "name"), f"the name {metadata.name!r} {problem}")
    if metadata.namespace and (problem := dns_label_problem(metadata.namespace)):
        report.error(codes.OBJECT_NAME, ("metadata", "namespace"), f"the namespace {metadata.namespace!r} {problem}")


def check_group(group: CidrGroup, report: Report) -> None:
    """CiliumCIDRGroup."""
    if group.metadata.namespace:
        report.error(
            codes.CLUSTERWIDE_NAMESPACE,
            ("metadata", "namespace"),
            "a CiliumCIDRGroup has no namespace",
            "remove metadata.namespace: the group is for every namespace",
        )
    for index, text in enumerate(group.spec.external_cidrs):
        check_group_prefix(text, ("spec", "externalCIDRs", index), report)


def check_policy(policy: Policy, report: Report) -> None:
    """CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy."""
    clusterwide = isinstance(policy, ClusterwideNetworkPolicy)
    if clusterwide and policy.metadata.namespace:
        report.error(
            codes.CLUSTERWIDE_NAMESPACE,
            ("metadata", "namespace"),
            "a clusterwide policy has no namespace",
            "remove metadata.namespace, or write a CiliumNetworkPolicy",
        )
    if not clusterwide and not policy.metadata.namespace:
        report.note(codes.DEFAULT_NAMESPACE, ("metadata",), "no namespace is written: the policy is in default")
    rules = list(rules_of(policy))
    if not rules:
        report.error(
            codes.NO_RULES, (), "the policy has no rule", "write the rule in spec, or a list of rules in specs"
        )
    for path, rule in rules:
        _check_rule(rule, path, clusterwide, report)


def _check_rule(rule: Rule, path: Path, clusterwide: bool, report: Report) -> None:
    _check_rule_subject(rule, path, clusterwide, report)
    if not any(has_section(rule, direction) for direction in Direction):
        report.error(
            codes.NO_SECTION,
            path,
            "the rule needs at least one of ingress, ingressDeny, egress, egressDeny",
            "write ingress: [{}] to deny all ingress",
        )
    _check_default_deny(rule, path, report)
    _check_log(rule, path, report)
    for place, statement in statements_of(rule, path):
        _check_statement(statement, place, report)
        if rule.node_selector is not None:
            check_host_l7(statement, place, report)
    for found in unsupported_in(rule, path):
        report.refuse(found.code, found.path, found.message, found.help)


def _check_rule_subject(rule: Rule, path: Path, clusterwide: bool, report: Report) -> None:
    if rule.node_selector is not None and not clusterwide:
        report.error(
            codes.NODE_SELECTOR_IN_NAMESPACE,
            (*path, "nodeSelector"),
            "a namespaced policy can't select nodes",
            "write a CiliumClusterwideNetworkPolicy",
            of_key=True,
        )
        return
    if (rule.endpoint_selector is None) == (rule.node_selector is None):
        report.error(
            codes.SUBJECT,
            path,
            "the rule needs exactly one of endpointSelector and nodeSelector",
            "write endpointSelector: {} to select every endpoint in scope",
        )
    if rule.node_selector is not None:
        check_selector(rule.node_selector, HOSTS, (*path, "nodeSelector"), report)
    if rule.endpoint_selector is not None:
        check_subject(rule.endpoint_selector, (*path, "endpointSelector"), report)


def _check_default_deny(rule: Rule, path: Path, report: Report) -> None:
    written = rule.enable_default_deny
    if written is None:
        return
    for direction, value in ((Direction.INGRESS, written.ingress), (Direction.EGRESS, written.egress)):
        if value and not has_section(rule, direction):
            report.warning(
                codes.IDLE_DEFAULT_DENY,
                (*path, "enableDefaultDeny", direction.value),
                f"has no effect: the rule says nothing about {direction}",
                f"add {direction}: [{{}}] to deny what no rule allows",
            )


def _check_log(rule: Rule, path: Path, report: Report) -> None:
    if rule.log is None:
        return
    if report.is_old:
        report.error(
            codes.PROFILE_FIELD, (*path, "log"), "unknown field 'log' in the 1.18 profile", "remove it", of_key=True
        )
    value = rule.log.value or ""
    if len(value) > MAX_LOG_VALUE or not (value.isascii() and value.isprintable()):
        report.error(codes.LIMIT, (*path, "log", "value"), f"log.value is at most {MAX_LOG_VALUE} printable characters")


def _check_statement(statement: Statement, place: Place, report: Report) -> None:
    peers = peers_of(statement)
    check_peers(peers, place, report)
    if peers.names:
        report.warning(
            codes.NAMES_NOT_ENFORCED,
            (*place.path, "toFQDNs"),
            "the tables of this version know no DNS names: the rule opens nothing there",
            "name the addresses in toCIDRSet as well",
            of_key=True,
        )
    check_l4(statement, place, report)
    if not isinstance(statement, IngressRule | EgressRule) or statement.authentication is None:
        return
    mode = statement.authentication.mode
    if mode not in AUTHENTICATION_MODES:
        report.error(
            codes.AUTHENTICATION_MODE,
            (*place.path, "authentication", "mode"),
            f"unknown authentication mode {mode!r}",
            f"use one of {', '.join(AUTHENTICATION_MODES)}",
        )
