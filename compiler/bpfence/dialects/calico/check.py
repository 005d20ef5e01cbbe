"""Checks of whole objects: a model and its document in, diagnostics out.

Errors are the union of what Calico's validation layers refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from bpfence.dialects.calico import codes
from bpfence.dialects.calico.check_endpoint import (
    NAMESPACE_LABEL,
    check_host_endpoint,
    check_inherited_labels,
    check_workload_endpoint,
)
from bpfence.dialects.calico.check_felix import check_configuration
from bpfence.dialects.calico.check_rule import RulePlace, check_rule
from bpfence.dialects.calico.check_selector import check_selector
from bpfence.dialects.calico.metadata import check_labels, check_metadata
from bpfence.dialects.calico.model import (
    DEFAULT_TIER,
    DEFAULT_TIER_ORDER,
    FelixConfiguration,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    GlobalNetworkSet,
    HostEndpoint,
    NetworkPolicy,
    NetworkPolicySpec,
    NetworkSet,
    Profile,
    ProfileSpec,
    Resource,
    Rule,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy,
    Tier,
    WorkloadEndpoint,
)
from bpfence.dialects.calico.report import Report
from bpfence.dialects.calico.staged import check_staged
from bpfence.dialects.calico.values import BadValueError, MappedAddressError, read_set_cidr
from bpfence.dialects.label_syntax import dns_subdomain_problem
from bpfence.source.documents import Path

MAX_RULES = 1024
BUILT_IN_TIERS = {
    "kube-admin": (1000.0, "Pass"),
    DEFAULT_TIER: (DEFAULT_TIER_ORDER, "Deny"),
    "kube-baseline": (10_000_000.0, "Pass"),
}
"""Tiers that always exist: order and default action, which no object may change."""

PROFILE_TIER = "profiles"
UNSUPPORTED_TIER = "unsupported"
RESERVED_TIERS = (PROFILE_TIER, UNSUPPORTED_TIER)
"""Names under which the compiler puts tiers of its own beside the input's."""

_PERFORMANCE_HINT = "AssumeNeededOnEveryNode"


def check_object(report: Report, resource: Resource) -> None:
    """Report everything wrong with an object whose structure is right."""
    check_metadata(report, resource.kind, resource.metadata)
    _check_nulls(report)
    match resource:
        case NetworkPolicy(spec=spec) | GlobalNetworkPolicy(spec=spec):
            _check_policy(report, spec, isinstance(resource, NetworkPolicy))
        case StagedNetworkPolicy(spec=spec) | StagedGlobalNetworkPolicy(spec=spec):
            check_staged(report, spec)
            _check_policy(report, spec, isinstance(resource, StagedNetworkPolicy))
        case Tier():
            _check_tier(report, resource)
        case NetworkSet() | GlobalNetworkSet():
            _check_set(report, resource)
        case StagedKubernetesNetworkPolicy(spec=spec):
            check_staged(report, spec)
        case HostEndpoint(spec=spec):
            check_host_endpoint(report, resource.metadata.labels, spec)
        case Profile(spec=spec):
            _check_profile(report, spec)
        case WorkloadEndpoint(metadata=metadata, spec=spec):
            check_workload_endpoint(report, metadata, spec)
        case FelixConfiguration(spec=spec):
            check_configuration(report, resource.metadata.name, spec)
        case _:
            pass


def _check_nulls(report: Report) -> None:
    """A null would be read as a missing criterion, which matches everything."""
    for path in _null_paths(report.document.data.get("spec"), ("spec",)):
        if len(path) > 1:
            report.error(codes.NULL, path, f"{path[-1]} is null", "remove the line, or give it a value")


def _null_paths(value: Any, path: Path) -> Iterator[Path]:
    if value is None:
        yield path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _null_paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _null_paths(item, (*path, index))


def _check_policy(report: Report, spec: NetworkPolicySpec, namespaced: bool) -> None:
    if "spec" not in report.document.data:
        message = "the policy has no spec: it denies all ingress of what it selects"
        report.warning(codes.SPEC_MISSING, (), message, "write a spec, or remove the policy")
    if spec.tier:
        report.name_problem(codes.TIER_NAME, ("spec", "tier"), spec.tier, "tier name", dns_subdomain_problem)
    if "order" in spec.model_fields_set:
        _check_order(report, spec.order)
    check_selector(report, ("spec", "selector"), spec.selector)
    check_selector(report, ("spec", "serviceAccountSelector"), spec.service_account_selector)
    if isinstance(spec, GlobalNetworkPolicySpec):
        check_selector(report, ("spec", "namespaceSelector"), spec.namespace_selector)
        _check_host_flags(report, spec)
    _check_types(report, spec)
    _check_hints(report, spec)
    for index, rule in _all_rules(report, "ingress", spec.ingress):
        check_rule(report, RulePlace(("spec", "ingress", index), "ingress", namespaced), rule)
    for index, rule in _all_rules(report, "egress", spec.egress):
        check_rule(report, RulePlace(("spec", "egress", index), "egress", namespaced), rule)


def _check_profile(report: Report, spec: ProfileSpec) -> None:
    check_labels(report, ("spec", "labelsToApply"), spec.labels_to_apply)
    check_inherited_labels(report, ("spec", "labelsToApply"), spec.labels_to_apply)
    for index, rule in _all_rules(report, "ingress", spec.ingress):
        _check_profile_rule(report, RulePlace(("spec", "ingress", index), "ingress", namespaced=False), rule)
    for index, rule in _all_rules(report, "egress", spec.egress):
        _check_profile_rule(report, RulePlace(("spec", "egress", index), "egress", namespaced=False), rule)


def _check_profile_rule(report: Report, place: RulePlace, rule: Rule) -> None:
    check_rule(report, place, rule)
    if rule.action == "Pass":
        message = "Pass in a profile denies: nothing comes after profiles"
        report.warning(codes.PROFILE_PASS, (*place.path, "action"), message, "write Deny, or remove the rule")


def _all_rules(report: Report, name: str, rules: tuple[Rule, ...]) -> Iterator[tuple[int, Rule]]:
    if len(rules) > MAX_RULES:
        message = f"{name} has {len(rules)} rules, the limit is {MAX_RULES}"
        report.error(codes.RULE_COUNT, ("spec", name), message, "split the policy")
    yield from enumerate(rules)


def _check_order(report: Report, order: float) -> None:
    if not isfinite(order):
        report.error(codes.ORDER, ("spec", "order"), "the order must be a finite number", "remove it to come last")


def _check_types(report: Report, spec: NetworkPolicySpec) -> None:
    for index, name in enumerate(spec.types):
        path = ("spec", "types", index)
        if name not in ("Ingress", "Egress"):
            report.error(codes.TYPE, path, f"{name!r} is no policy type", "write Ingress or Egress")
        elif name in spec.types[:index]:
            report.error(codes.TYPE_TWICE, path, f"the type {name} is listed twice", "remove one")


def _check_hints(report: Report, spec: NetworkPolicySpec) -> None:
    for index, hint in enumerate(spec.performance_hints):
        path = ("spec", "performanceHints", index)
        if hint != _PERFORMANCE_HINT:
            report.error(codes.PERFORMANCE_HINT, path, f"{hint!r} is no performance hint", f"write {_PERFORMANCE_HINT}")
        elif hint in spec.performance_hints[:index]:
            report.error(codes.PERFORMANCE_HINT, path, f"the hint {hint} is listed twice", "remove one")


def _check_host_flags(report: Report, spec: GlobalNetworkPolicySpec) -> None:
    if spec.do_not_track and spec.pre_dnat:
        message = "doNotTrack and preDNAT can't both be true"
        report.error(codes.TRACK_AND_DNAT, ("spec", "preDNAT"), message, "use two policies")
    for name, given in (("doNotTrack", spec.do_not_track), ("preDNAT", spec.pre_dnat)):
        if given and not spec.apply_on_forward:
            message = f"{name} needs applyOnForward: true"
            report.error(codes.NEEDS_APPLY_ON_FORWARD, ("spec", name), message, "add applyOnForward: true")
    if not spec.pre_dnat:
        return
    if spec.egress:
        report.error(codes.DNAT_EGRESS, ("spec", "egress"), "a preDNAT policy can't have egress rules")
    if "Egress" in spec.types:
        path = ("spec", "types", spec.types.index("Egress"))
        report.error(codes.DNAT_EGRESS, path, "a preDNAT policy can't have type Egress")


def _check_tier(report: Report, tier: Tier) -> None:
    spec = tier.spec
    _check_order(report, spec.order)
    if tier.metadata.name in RESERVED_TIERS:
        message = f"the tier name {tier.metadata.name} is taken by bpfence itself"
        report.error(codes.RESERVED_TIER, ("metadata", "name"), message, "rename the tier")
    if spec.default_action not in ("", "Deny", "Pass"):
        message = f"{spec.default_action!r} is no default action"
        report.error(codes.DEFAULT_ACTION, ("spec", "defaultAction"), message, "write Deny or Pass")
        return
    built_in = BUILT_IN_TIERS.get(tier.metadata.name)
    if built_in is None:
        return
    order, action = built_in
    if spec.order != order:
        message = f"the built-in tier {tier.metadata.name} has order {order:.0f}"
        report.error(codes.BUILT_IN_TIER, ("spec", "order"), message, "remove the object, or write this order")
    if (spec.default_action or "Deny") != action:
        message = f"the built-in tier {tier.metadata.name} has defaultAction {action}"
        report.error(codes.BUILT_IN_TIER, ("spec", "defaultAction"), message, "remove the object, or write this action")


def _check_set(report: Report, resource: NetworkSet | GlobalNetworkSet) -> None:
    if NAMESPACE_LABEL in resource.metadata.labels:
        path = ("metadata", "labels", NAMESPACE_LABEL)
        report.error_at_key(codes.LABEL, path, f"the label {NAMESPACE_LABEL} is Calico's own", "remove it")
    report.repeated(("spec", "nets"), resource.spec.nets, "network")
    for index, text in enumerate(resource.spec.nets):
        try:
            read_set_cidr(text)
        except BadValueError as problem:
            code = codes.CIDR_MAPPED if isinstance(problem, MappedAddressError) else codes.SET_CIDR
            report.error(code, ("spec", "nets", index), problem.message, problem.help)
