"""Warnings about Calico policies that compile but may not mean what their author thinks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.calico import codes
from bpfence.dialects.calico.host_lint import lint_hosts
from bpfence.dialects.calico.hosts import host_endpoints
from bpfence.dialects.calico.model import EntityRule, GlobalNetworkPolicySpec, Rule
from bpfence.dialects.calico.rules import rule_families
from bpfence.dialects.calico.sources import PolicySource, policy_sources
from bpfence.dialects.calico.values import ICMP_NUMBERS, read_port, read_protocol
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory
from bpfence.options import Options
from bpfence.selectors import matches, parse_selector
from bpfence.source.documents import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """One warning, placed inside the policy."""

    code: str
    path: Path
    message: str
    help: str = ""


PolicyLint = Callable[[PolicySource], Iterable[Finding]]


def lint(objects: Sequence[PolicyObject], inventory: Inventory, options: Options, diagnostics: Diagnostics) -> None:
    """Report the warnings that need no more than the objects and the inventory."""
    del options  # no option changes a warning of this dialect
    port_names = {port.name for pod in inventory.pods for port in pod.ports}
    port_names |= {name for host in host_endpoints(objects, inventory, Diagnostics()) for name, _, _ in host.ports}
    for source in policy_sources(objects):
        found = [finding for check in _POLICY_LINTS for finding in check(source)]
        found += _unknown_port_names(source, port_names)
        for item in found:
            diagnostics.warning(item.code, source.item.span(*item.path), item.message, item.help, source.item.title)
    lint_hosts(objects, inventory, diagnostics)


def _rules(source: PolicySource) -> Iterator[tuple[Path, Rule]]:
    for name, rules in (("ingress", source.spec.ingress), ("egress", source.spec.egress)):
        for index, rule in enumerate(rules):
            yield ("spec", name, index), rule


def _sides(source: PolicySource) -> Iterator[tuple[Path, EntityRule]]:
    for path, rule in _rules(source):
        yield (*path, "source"), rule.source
        yield (*path, "destination"), rule.destination


def _inert_rules(source: PolicySource) -> Iterator[Finding]:
    ingress, egress = source.spec.directions
    for name, active, rules in (("ingress", ingress, source.spec.ingress), ("egress", egress, source.spec.egress)):
        if rules and not active:
            message = f"the {name} rules do nothing: types does not list {name.capitalize()}"
            yield Finding(codes.INERT_RULES, ("spec", name), message, f"add {name.capitalize()} to types")


def _empty_lists(source: PolicySource) -> Iterator[Finding]:
    if source.spec.types:
        return
    for name, rules in (("ingress", source.spec.ingress), ("egress", source.spec.egress)):
        if not rules and name in source.spec.model_fields_set:
            message = f"an empty {name} list says nothing: without types only the lists with rules count"
            yield Finding(codes.EMPTY_LIST, ("spec", name), message, f"write types with {name.capitalize()} to deny it")


def _log_only(source: PolicySource) -> Iterator[Finding]:
    for name, rules in (("ingress", source.spec.ingress), ("egress", source.spec.egress)):
        if rules and all(rule.action == "Log" for rule in rules):
            message = f"the {name} rules only log: what reaches the end of the tier is decided there, usually denied"
            yield Finding(codes.LOG_ONLY, ("spec", name), message, "add a rule with action Pass or Allow")


def _unreachable(source: PolicySource) -> Iterator[Finding]:
    for name, rules in (("ingress", source.spec.ingress), ("egress", source.spec.egress)):
        decided = False
        for index, rule in enumerate(rules):
            if decided:
                message = "this rule is never reached: an earlier rule matches everything"
                yield Finding(codes.UNREACHABLE_RULE, ("spec", name, index), message, "remove it, or move it up")
            decided = decided or _matches_everything(rule)


def _matches_everything(rule: Rule) -> bool:
    stated = rule.model_fields_set - {"action", "metadata"}
    empty = EntityRule()
    return rule.action != "Log" and all(
        name in ("source", "destination") and getattr(rule, name) == empty for name in stated
    )


def _impossible(source: PolicySource) -> Iterator[Finding]:
    for path, rule in _rules(source):
        if not rule_families(rule):
            message = "this rule matches no packet: its protocol and its networks are of different families"
            yield Finding(codes.NEVER_MATCHES, path, message, "write the protocol as a number, or correct the networks")
        elif _same_protocol(rule):
            message = "this rule matches no packet: protocol and notProtocol are the same"
            yield Finding(codes.NEVER_MATCHES, path, message, "remove notProtocol")


def _same_protocol(rule: Rule) -> bool:
    if rule.protocol is None or rule.not_protocol is None:
        return False
    return read_protocol(rule.protocol).number == read_protocol(rule.not_protocol).number


def _excluded_families(source: PolicySource) -> Iterator[Finding]:
    for path, rule in _rules(source):
        for side, entity in (("source", rule.source), ("destination", rule.destination)):
            if entity.not_nets and rule.ip_version is None and not rule.source.nets and not rule.destination.nets:
                family = "IPv6" if ":" in entity.not_nets[0] else "IPv4"
                message = f"notNets limits the whole rule to {family}"
                help_text = "add the rule for the other family, or write ipVersion"
                yield Finding(codes.EXCLUSION_LIMITS_FAMILY, (*path, side, "notNets"), message, help_text)


def _scoped_exclusions(source: PolicySource) -> Iterator[Finding]:
    if not source.namespace:
        return
    for path, entity in _sides(source):
        if entity.not_selector and not entity.namespace_selector and not entity.selector:
            message = "notSelector in a NetworkPolicy means: an endpoint of this namespace that does not match"
            help_text = "to reach further write a namespaceSelector, or use a GlobalNetworkPolicy"
            yield Finding(codes.NOT_SELECTOR_SCOPED, (*path, "notSelector"), message, help_text)


def _lone_icmp_exclusions(source: PolicySource) -> Iterator[Finding]:
    for path, rule in _rules(source):
        if rule.not_icmp is None or rule.not_icmp.type is None:
            continue
        if rule.protocol is None or read_protocol(rule.protocol).number not in ICMP_NUMBERS:
            message = "notICMP without an ICMP protocol: every packet that is not ICMP satisfies it"
            yield Finding(codes.NOT_ICMP_ALONE, (*path, "notICMP"), message, "write protocol: ICMP or ICMPv6")


def _negative_namespaces(source: PolicySource) -> Iterator[Finding]:
    spec = source.spec
    if not isinstance(spec, GlobalNetworkPolicySpec) or not spec.namespace_selector or spec.selector:
        return
    if parse_selector(spec.namespace_selector) != parse_selector("all()") and matches(
        parse_selector(spec.namespace_selector), {}
    ):
        message = "this namespaceSelector also holds without a namespace: it selects every host endpoint too"
        yield Finding(codes.NEGATIVE_NAMESPACE, ("spec", "namespaceSelector"), message, "add selector: all()")


def _unknown_port_names(source: PolicySource, known: set[str]) -> Iterator[Finding]:
    for path, entity in _sides(source):
        for field, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
            for index, port in enumerate(ports):
                name = read_port(port)
                if isinstance(name, str) and name not in known:
                    message = f"no pod or host endpoint has a port named {name!r}"
                    yield Finding(codes.PORT_NAME_UNKNOWN, (*path, field, index), message, "correct the name")


_POLICY_LINTS: tuple[PolicyLint, ...] = (
    _inert_rules,
    _empty_lists,
    _log_only,
    _unreachable,
    _impossible,
    _excluded_families,
    _scoped_exclusions,
    _lone_icmp_exclusions,
    _negative_namespaces,
)
