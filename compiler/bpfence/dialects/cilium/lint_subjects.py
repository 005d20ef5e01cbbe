"""Rules whose subjects lack something: names that nobody can learn, selectors that no node satisfies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bpfence.dialects.cilium import codes
from bpfence.dialects.cilium.lower import RuleSite
from bpfence.dialects.cilium.matching import label_holds
from bpfence.dialects.cilium.names import has_dns_rules, name_lists
from bpfence.dialects.cilium.report import Report
from bpfence.identity.inventory import Node, Pod


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


def _node_labels(node: Node) -> Mapping[str, str]:
    return {**{f"label:{key}": value for key, value in node.labels.items()}, "meta:kind": "node"}
