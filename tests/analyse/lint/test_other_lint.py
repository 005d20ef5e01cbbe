"""Duplicates, names, ties, denies alone, prefixes, and what is too large."""

from __future__ import annotations

import pytest

from bpfence.analyse import lint as program_lint
from bpfence.diagnostics import Severity

CNP = (
    "---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {name}, namespace: shop}}\n"
    "spec:\n  endpointSelector: {{matchLabels: {{app: web}}}}\n  egress:\n{rules}"
)
GNP = (
    "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {name}}}\n"
    "spec:\n  selector: app == 'web'\n  types: [{type}]\n  {lower}:\n{rules}"
)
TO_DB = "  - {toEndpoints: [{matchLabels: {app: db}}]}\n"
TO_DNS = (
    "  - toEndpoints: [{matchLabels: {'k8s:io.kubernetes.pod.namespace': kube-system, k8s-app: kube-dns}}]\n"
    "    toPorts: [{ports: [{port: '53', protocol: ANY}]}]\n"
)


def gnp(name: str, rules: str, direction: str = "Ingress") -> str:
    return GNP.format(name=name, rules=rules, type=direction, lower=direction.lower())


def codes_of(found):
    return [(item.code, item.severity) for item in found]


def test_duplicate_policies(lint):
    text = CNP.format(name="a", rules=TO_DB + TO_DNS) + CNP.format(name="b", rules=TO_DB + TO_DNS)
    found = [item for item in lint(text) if item.code == "LNT003"]
    assert [(item.policy, item.severity) for item in found] == [("CiliumNetworkPolicy shop/b", Severity.NOTE)]
    assert "CiliumNetworkPolicy shop/a" in found[0].message
    other = CNP.format(name="a", rules=TO_DB + TO_DNS) + CNP.format(name="b", rules=TO_DNS)
    assert [item.code for item in lint(other)] == ["LNT002"]


def test_no_way_to_names(lint):
    (item,) = lint(CNP.format(name="a", rules=TO_DB))
    assert (item.code, item.severity) == ("LNT004", Severity.WARNING)
    assert "shop/web can't resolve names" in item.message


@pytest.mark.parametrize(
    "rules",
    [
        TO_DB + TO_DNS,
        "  - {toEntities: [world]}\n",
        "  - {toEntities: [world], toPorts: [{ports: [{port: '53', protocol: UDP}]}]}\n",
        "  - {toEndpoints: []}\n",
    ],
    ids=["dns", "everything outside", "a resolver outside", "nothing at all"],
)
def test_a_way_to_names_or_nowhere_to_go(rules, lint):
    assert [item for item in lint(CNP.format(name="a", rules=rules)) if item.code == "LNT004"] == []


def test_another_policy_opens_dns(lint):
    assert lint(CNP.format(name="a", rules=TO_DB) + CNP.format(name="b", rules=TO_DNS)) == []


def test_network_policies_are_spoken_of_by_their_own_lint(lint):
    text = (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: shop}\n"
        "spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}], ports: [{port: 80}]}]}\n"
    )
    assert lint(text) == []
    assert lint(text, engine="calico") == []


def test_ties_that_decide_differently(lint):
    deny = gnp("b", "  - {action: Deny, source: {selector: app == 'job'}}\n  - {action: Allow}\n")
    allow = gnp("a", "  - {action: Allow, protocol: TCP, source: {selector: has(app)}}\n")
    found = [item for item in lint(allow + deny) if item.code == "LNT005"]
    assert [(item.policy, item.severity) for item in found] == [("GlobalNetworkPolicy b", Severity.WARNING)]
    assert "GlobalNetworkPolicy a has the same order" in found[0].message
    assert "allowed there, denied here, for shop/web" in found[0].message


def test_ties_that_agree_or_do_not_meet(lint):
    deny = gnp("b", "  - {action: Deny, protocol: UDP, source: {selector: app == 'job'}}\n  - {action: Allow}\n")
    allow = gnp("a", "  - {action: Allow, protocol: TCP, source: {selector: app == 'db'}}\n")
    assert lint(allow + deny) == []
    other = gnp("b", "  - {action: Deny, source: {selector: app == 'db'}}\n  - {action: Allow}\n")
    ordered = other.replace("spec:\n", "spec:\n  order: 5\n")
    assert [item.code for item in lint(allow + ordered)] == ["LNT001"]


def test_only_denies(lint):
    deny = gnp("a", "  - {action: Deny, source: {selector: app == 'job'}}\n")
    found = lint(deny)
    assert ("LNT006", Severity.NOTE) in codes_of(found)
    first = deny.replace("spec:\n", "spec:\n  order: 5\n")
    assert lint(first + gnp("b", "  - {action: Pass}\n")) == []


def test_prefix_over_pods(lint):
    rule = "  - {action: Allow, protocol: UDP, destination: {nets: [10.1.0.0/16], ports: [53]}}\n"
    (item,) = lint(gnp("a", rule, "Egress"))
    assert (item.code, item.severity) == ("LNT007", Severity.NOTE)
    found = lint(gnp("a", rule, "Egress"), ipblock_matches_pods="never")
    assert ("LNT007", Severity.WARNING) in codes_of(found)
    for other in ("0.0.0.0/0", "10.1.0.10/32", "192.0.2.0/24", "10.0.0.0/24"):
        assert "LNT007" not in [item.code for item in lint(gnp("a", rule.replace("10.1.0.0/16", other), "Egress"))]


def test_too_large_is_said(lint, monkeypatch):
    monkeypatch.setattr(program_lint, "MOST_ELEMENTS", 10)
    found = lint(CNP.format(name="a", rules=TO_DB))
    assert codes_of(found) == [("LNT008", Severity.NOTE)]


def test_nothing_without_endpoints(tmp_path, lint):
    assert lint("apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n") == []
