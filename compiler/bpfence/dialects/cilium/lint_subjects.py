"""Rules whose subjects lack something: names that nobody can learn, selectors that no node satisfies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bpfence.dialects.cilium import codes
from bpfence.dialects.cilium.labels import RESERVED
from bpfence.dialects.cilium.lower import RuleSite
from bpfence.dialects.cilium.matching import label_holds
from bpfence.dialects.cilium.names import has_dns_rules, name_lists
from bpfence.dialects.cilium.report import Report
from bpfence.dialects.cilium.selectors import accepts_special
from bpfence.dialects.cilium.statements import has_section, isolates
from bpfence.identity.inventory import Node, Pod
from bpfence.ir.nodes import Direction


def lint_learning(site: RuleSite, sites: Sequence[RuleSite], report: Report) -> None:
    """Names are learnt only from answers that passed a DNS rule of the endpoint that asked."""
    places = list(name_lists(site.rule, site.path))
    if not places:
        return
    teachers = [other for other in sites if has_dns_rules(other.rule)]
    pods = site.context.pods
    selected = [pod for pod in pods.all if pods.selects(site.labels, pod)]
    unable = [pod for pod in selected if not any(pods.selects(other.labels, pod) for other in teachers)]
    if not unable and (selected or teachers):
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


def _node_labels(node: Node) -> Mapping[str, str]:
    return {**{f"label:{key}": value for key, value in node.labels.items()}, "meta:kind": "node"}
