"""Rules whose subjects lack something: names that nobody can learn, selectors that no node satisfies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bpfence.dialects.cilium import codes
from bpfence.dialects.cilium.labels import RESERVED, selector_tests
from bpfence.dialects.cilium.lower import RuleSite
from bpfence.dialects.cilium.matching import Pods, PodSet, label_holds
from bpfence.dialects.cilium.names import has_dns_rules, name_lists
from bpfence.dialects.cilium.report import Report
from bpfence.dialects.cilium.selectors import accepts_special, peer_scope
from bpfence.dialects.cilium.statements import has_section, isolates, peers_of, statements_of
from bpfence.identity.inventory import Node, Pod
from bpfence.ir.nodes import Direction


@dataclass(frozen=True, slots=True)
class Teachers:
    """Who can learn names: ``some`` rule has DNS rules, and ``pods`` are those that such rules select."""

    some: bool
    pods: PodSet


def find_teachers(sites: Sequence[RuleSite], pods: Pods) -> Teachers:
    """The rules with DNS rules, and their subjects."""
    subjects = {site.labels for site in sites if has_dns_rules(site.rule)}
    return Teachers(bool(subjects), frozenset().union(*map(pods.selected, subjects)))


def lint_learning(site: RuleSite, teachers: Teachers, report: Report) -> None:
    """Names are learnt only from answers that passed a DNS rule of the endpoint that asked."""
    places = list(name_lists(site.rule, site.path))
    if not places:
        return
    pods = site.context.pods
    selected = pods.selected(site.labels)
    unable = [pods.all[place] for place in sorted(selected - teachers.pods)]
    if not unable and (selected or teachers.some):
        return
    for path in places:
        report.warning(
            codes.NAMES_NOT_LEARNT,
            path,
            f"no DNS rule covers {_who(unable)}, so no names are learnt from the answers to what it asks",
            "allow port 53 towards the DNS server with rules: {dns: [...]} in a policy for the same endpoints",
            of_key=True,
        )


def _who(pods: Sequence[Pod]) -> str:
    if not pods:
        return "the endpoints that the rule selects"
    more = f" (and {len(pods) - 1} more)" if len(pods) > 1 else ""
    return f"pod {pods[0].namespace}/{pods[0].name}{more}"


def lint_nodes(site: RuleSite, report: Report) -> None:
    """A ``nodeSelector`` that no node of the inventory satisfies."""
    nodes = site.context.inventory.nodes
    if site.rule.node_selector is None or not nodes:
        return
    if not any(label_holds(site.labels, _node_labels(node)) for node in nodes):
        report.warning(
            codes.NODES_NOT_SELECTED,
            (*site.path, "nodeSelector"),
            "the selector matches no Node of the input",
            "check the labels of the nodes",
            of_key=True,
        )


def lint_special(site: RuleSite, report: Report) -> None:
    """A clusterwide rule that isolates Cilium's own endpoints, which it does not name."""
    if site.owner.namespace or site.rule.endpoint_selector is None:
        return
    if any(test.key.source == RESERVED for test in site.subject):
        return
    selected = [name for name in site.context.cluster.special if accepts_special(site.subject, name)]
    directions = [word.value for word in Direction if has_section(site.rule, word) and isolates(site.rule, word)]
    if selected and directions:
        report.warning(
            codes.SPECIAL_SELECTED,
            (*site.path, "endpointSelector"),
            f"the rule isolates the {' and '.join(selected)} endpoints of Cilium as well ({', '.join(directions)})",
            "add {key: reserved:NAME, operator: DoesNotExist} for what is not meant",
            of_key=True,
        )


def lint_untied(site: RuleSite, report: Report) -> None:
    """A peer selector without any positive test, in a rule whose subject names endpoints without a namespace."""
    for place, statement in statements_of(site.rule, site.path):
        for index, selector in enumerate(peers_of(statement).endpoints or ()):
            tests = selector_tests(selector)
            tied = peer_scope(tests, site.owner.namespace, ()) is not None
            if not tied or peer_scope(tests, site.owner.namespace, site.subject) is not None:
                continue
            if all(test.is_negative for test in tests):
                report.warning(
                    codes.NEGATIVE_PEER,
                    (*place.path, f"{place.prefix}Endpoints", index),
                    "endpointSelector names reserved:init, so Cilium ties no peer of the rule to a namespace: "
                    "this selector also matches the nodes and the whole world",
                    "add {key: io.kubernetes.pod.namespace, operator: Exists} to mean pods",
                )


def _node_labels(node: Node) -> Mapping[str, str]:
    return {**{f"label:{key}": value for key, value in node.labels.items()}, "meta:kind": "node"}
