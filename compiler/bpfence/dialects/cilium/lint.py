"""What a reviewer should know about policies that compile: objects and inventory in, warnings and notes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.cilium import codes
from bpfence.dialects.cilium.context import Context, build_context
from bpfence.dialects.cilium.entities import LABELLED
from bpfence.dialects.cilium.groups import nested_conflicts
from bpfence.dialects.cilium.labels import selector_tests
from bpfence.dialects.cilium.lint_subjects import find_teachers, lint_learning, lint_nodes, lint_special, lint_untied
from bpfence.dialects.cilium.lower import LoweredStatement, RuleSite, lower_statement, rule_sites
from bpfence.dialects.cilium.matching import Pods
from bpfence.dialects.cilium.model import CidrRule, Policy
from bpfence.dialects.cilium.named_ports import NameUse, name_uses, named_entries
from bpfence.dialects.cilium.overlaps import NetworkIndex, index_networks
from bpfence.dialects.cilium.prefixes import network_of
from bpfence.dialects.cilium.report import Report
from bpfence.dialects.cilium.statements import Place, isolates, peers_of, rules_of, statements_of
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory
from bpfence.identity.world import host_networks
from bpfence.ir.expressions import NOBODY, Network
from bpfence.ir.nodes import Direction
from bpfence.options import Options
from bpfence.source.documents import Path


def lint(objects: Sequence[PolicyObject], inventory: Inventory, options: Options, diagnostics: Diagnostics) -> None:
    """Report what is legal and yet unlikely to be meant. References that don't resolve are `lower`'s to report."""
    context = build_context(objects, options, inventory, Diagnostics())
    own = index_networks(cluster_networks(inventory))
    for item in objects:
        if not isinstance(item.model, Policy):
            continue
        report = Report(item.document, item.title, item.namespace, diagnostics, options)
        for path, rule in rules_of(item.model):
            _lint_deny_only(RuleSite(item, path, rule, (), context.cluster.pod, False, context), report)
            for place, statement in statements_of(rule, path):
                peers = peers_of(statement)
                _lint_entities(peers.entities or (), place, context, report)
                _lint_prefixes(_written_prefixes(peers.cidrs or (), peers.cidr_set or (), place), own, report)
                _lint_group_selectors(peers.cidr_set or (), place, context, report)
    sites = tuple(rule_sites(objects, context))
    teachers = find_teachers(sites, context.pods)
    for site in sites:
        report = Report(site.owner.document, site.owner.title, site.owner.namespace, diagnostics, options)
        lint_learning(site, teachers, report)
        lint_nodes(site, report)
        lint_special(site, report)
        lint_untied(site, report)
        if not site.refused:
            _lint_names(site, report)


def _lint_deny_only(site: RuleSite, report: Report) -> None:
    sides = (
        (Direction.INGRESS, site.rule.ingress, site.rule.ingress_deny),
        (Direction.EGRESS, site.rule.egress, site.rule.egress_deny),
    )
    for direction, allows, denies in sides:
        if denies and not allows and isolates(site.rule, direction):
            report.note(
                codes.DENY_ONLY,
                (*site.path, f"{direction.value}Deny"),
                f"the rule only denies, and yet isolates: all other {direction.value} needs an allow rule somewhere",
                f"write enableDefaultDeny: {{{direction.value}: false}} for a pure block list",
            )


def _lint_entities(entities: Iterable[str], place: Place, context: Context, report: Report) -> None:
    for index, name in enumerate(entities):
        missing = _missing_facts(name, context)
        if not missing:
            continue
        path = (*place.path, f"{place.prefix}Entities", index)
        message = f"the entity {name} is empty: the input has {missing}"
        if place.denies:
            report.warning(codes.ENTITY_EMPTY, path, message, "nothing is denied by it")
        else:
            report.note(codes.ENTITY_EMPTY, path, message)


def _missing_facts(entity: str, context: Context) -> str:
    """What the inventory would have to hold for the entity to mean something; empty when it does."""
    inventory = context.inventory
    if entity in LABELLED:
        if any(entity in pod.reserved for pod in inventory.pods):
            return ""
        if entity == "unmanaged" and "CiliumEndpoint" in inventory.declared_kinds:
            return "a CiliumEndpoint for every pod"
        return f"no CiliumEndpoint with the label reserved:{entity}" if entity != "unmanaged" else "no CiliumEndpoint"
    if entity == "kube-apiserver" and context.cluster.api_server == NOBODY:
        return "no Endpoints of the service default/kubernetes"
    if entity in ("host", "remote-node") and not inventory.nodes:
        return "no Node"
    if entity in ("cluster", "cluster-mesh") and not (inventory.nodes or inventory.pods):
        return "neither pods nor nodes"
    return ""


def cluster_networks(inventory: Inventory) -> Iterator[tuple[Network, str]]:
    """Addresses of the cluster's own, with what has them."""
    for pod in inventory.pods:
        for network in host_networks(pod.addresses):
            yield network, f"pod {pod.namespace}/{pod.name}"
    for node in inventory.nodes:
        for network in host_networks(node.addresses):
            yield network, f"node {node.name}"
        for network in node.pod_cidrs:
            yield network, f"the pod addresses of node {node.name}"
    for service in inventory.services:
        for network in host_networks(service.addresses):
            yield network, f"service {service.namespace}/{service.name}"


def _written_prefixes(
    cidrs: Sequence[str], cidr_set: Sequence[CidrRule], place: Place
) -> Iterator[tuple[Path, Network]]:
    for index, text in enumerate(cidrs):
        yield (*place.path, f"{place.prefix}CIDR", index), network_of(text)
    for index, item in enumerate(cidr_set):
        if item.cidr is not None:
            yield (*place.path, f"{place.prefix}CIDRSet", index, "cidr"), network_of(item.cidr)


def _lint_prefixes(prefixes: Iterable[tuple[Path, Network]], own: NetworkIndex, report: Report) -> None:
    """A prefix over the cluster's own addresses. The whole family is left alone: it is the usual way to write world."""
    reading = (
        "matches pods but no nodes"
        if report.options.ipblock_matches_pods == "always"
        else "matches neither pods nor nodes"
    )
    for path, prefix in prefixes:
        if prefix.prefixlen == 0:
            continue
        owner = own.find(prefix)
        if owner is not None:
            report.warning(
                codes.PREFIX_OVERLAP,
                path,
                f"{prefix} covers addresses of the cluster ({owner}), but a prefix {reading}",
                "name pods by endpoint selectors, and nodes by entities",
            )


def _lint_group_selectors(items: Sequence[CidrRule], place: Place, context: Context, report: Report) -> None:
    for index, item in enumerate(items):
        if item.cidr_group_selector is None:
            continue
        path = (*place.path, f"{place.prefix}CIDRSet", index, "cidrGroupSelector")
        tests = selector_tests(item.cidr_group_selector)
        if not context.groups.with_all(tests):
            report.warning(codes.GROUP_NO_MATCH, path, "the selector matches no CiliumCIDRGroup of the input")
        if not report.is_old:
            continue
        for first, second, key in nested_conflicts(context.groups, (test.key.name for test in tests)):
            report.warning(
                codes.GROUP_NESTING,
                path,
                f"the CIDRGroups {first.name} and {second.name} overlap and differ in the label {key}; "
                "Cilium 1.18 lets the longest prefix hide the other group, bpfence counts both",
            )


def _lint_names(site: RuleSite, report: Report) -> None:
    pods = site.context.pods
    for lowered, use in _name_uses(site):
        place = lowered.place
        if next(use.destinations(pods), None) is None:
            if place.denies and pods.all:
                continue  # refused when the policy was lowered
            report.warning(
                codes.NAMED_PORT_UNKNOWN,
                use.path,
                f"no pod that the statement means has a port named {use.name!r}: the entry matches nothing",
                "check the container ports of the destination, and their protocol",
            )
        elif report.is_old and place.direction is Direction.EGRESS and _old_reading_differs(use, lowered, pods):
            report.warning(
                codes.NAMED_PORT_PROFILE,
                use.path,
                f"Cilium 1.18 would take one number for {use.name!r} from all pods of the cluster and use it "
                "for every peer; bpfence resolves the name on each destination pod",
                "write the number",
            )


def _name_uses(site: RuleSite) -> Iterator[tuple[LoweredStatement, NameUse]]:
    """Only statements with port names are lowered once more."""
    for place, statement in statements_of(site.rule, site.path):
        if not any(True for _ in named_entries(statement, place)):
            continue
        lowered = lower_statement(site, place, statement)
        if lowered is not None:
            uses = name_uses(statement, place, site.labels, lowered.rule.peer)
            yield from ((lowered, use) for use in uses)


def _old_reading_differs(use: NameUse, lowered: LoweredStatement, pods: Pods) -> bool:
    """Whether one cluster-wide number gives another answer than each destination's own."""
    peers = peers_of(lowered.statement)
    if peers.endpoints is None and peers.services is None:
        return True
    everywhere = {
        (port.protocol, port.number)
        for pod in pods.all
        for port in pod.ports
        if port.name == use.name and port.protocol in use.protocols
    }
    if len(everywhere) != len({protocol for protocol, _ in everywhere}):
        return True
    return any(not use.numbers(pods.all[place]) for place in use.reach(pods))
