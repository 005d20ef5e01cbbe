"""Rules that never decide are told, with the rule that decides instead; the others are not."""

from __future__ import annotations

from bpfence.diagnostics import Severity


def np(name: str, spec: str) -> str:
    return (
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
        f"metadata: {{name: {name}, namespace: shop}}\nspec: {{podSelector: {{matchLabels: {{app: db}}}}, {spec}}}\n"
    )


def gnp(name: str, order: int, rules: str, tier: str = "default", selector: str = "app == 'db'") -> str:
    return (
        "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n"
        f"metadata: {{name: {name}}}\nspec:\n  tier: {tier}\n  order: {order}\n  selector: {selector}\n"
        f"  types: [Ingress]\n  ingress:\n{rules}"
    )


def cnp(name: str, spec: str) -> str:
    return (
        "---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n"
        f"metadata: {{name: {name}, namespace: shop}}\n"
        f"spec:\n  endpointSelector: {{matchLabels: {{app: db}}}}\n{spec}"
    )


WEB = "[{podSelector: {matchLabels: {app: web}}}]"
TIER = "---\napiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: first}\nspec: {order: 10}\n"


def test_narrow_allow_beside_a_wide_one_whatever_their_names(lint):
    narrow = f"ingress: [{{from: {WEB}, ports: [{{port: 5432}}]}}]"
    wide = "ingress: [{from: [{podSelector: {}}]}]"
    for first, second in (("a", "b"), ("b", "a")):
        (item,) = lint(np(first, narrow) + np(second, wide))
        assert (item.code, item.severity, item.policy) == ("LNT002", Severity.NOTE, f"NetworkPolicy shop/{first}")
        assert f"NetworkPolicy shop/{second} ingress[0]" in item.help
        assert "policies.yaml:10" in item.help


def test_two_rules_cover_a_third_together(lint):
    peers = ("[{podSelector: {matchLabels: {app: web}}}]", "[{podSelector: {matchLabels: {app: job}}}]")
    both = "[{podSelector: {matchExpressions: [{key: app, operator: In, values: [web, job]}]}}]"
    rules = (f"{{from: {peers[0]}}}", f"{{from: {peers[1]}}}", f"{{from: {both}, ports: [{{port: 5432}}]}}")
    (item,) = lint(np("p", f"ingress: [{', '.join(rules)}]"))
    assert item.code == "LNT002"
    assert "ingress[0]" in item.help
    assert "ingress[1]" in item.help


def test_rules_that_each_decide_something_are_left_alone(lint):
    rules = f"ingress: [{{from: {WEB}}}, {{from: [{{podSelector: {{}}}}], ports: [{{port: 5432}}]}}]"
    assert lint(np("p", rules)) == []


def test_a_rule_that_matches_nobody_is_left_alone(lint):
    rules = "ingress: [{from: [{podSelector: {}}]}, {from: [{podSelector: {matchLabels: {app: none}}}]}]"
    assert lint(np("p", rules)) == []


def test_an_allow_that_comes_after_a_deny_of_the_same(lint):
    deny = gnp("a", 1, "  - {action: Deny, source: {selector: app == 'web'}}\n  - {action: Pass}\n", "first")
    allow = gnp(
        "b",
        2,
        "  - {action: Allow, protocol: TCP, source: {selector: app == 'web'}, destination: {ports: [5432]}}\n"
        "  - {action: Allow, source: {selector: app == 'job'}}\n",
    )
    (item,) = lint(TIER + deny + allow)
    assert (item.code, item.severity, item.span.line) == ("LNT001", Severity.WARNING, 28)
    assert "denied" in item.message
    assert "GlobalNetworkPolicy a ingress[0]" in item.help


def test_a_later_tier_is_behind_the_end_of_an_earlier_one(lint):
    isolates = gnp("a", 1, "  - {action: Allow, source: {selector: app == 'web'}}\n", "first")
    later = gnp("b", 2, "  - {action: Allow, source: {selector: app == 'job'}}\n")
    (item,) = lint(TIER + isolates + later)
    assert item.code == "LNT001"
    assert "the end of tier first" in item.help


def test_the_order_inside_one_policy_counts_where_the_language_has_an_order(lint):
    rules = "  - {action: Allow, source: {selector: app == 'web'}}\n  - {action: Allow, source: {selector: has(app)}}\n"
    (item,) = lint(gnp("a", 1, rules))
    assert (item.code, item.span.line) == ("LNT002", 11)
    mixed = rules + "  - {action: Deny, protocol: UDP}\n  - {action: Pass}\n"
    assert lint(gnp("a", 1, mixed)) == []


def test_an_allow_under_a_cilium_deny(lint):
    found = lint(
        cnp("deny", "  ingressDeny: [{fromEndpoints: [{matchLabels: {app: web}}]}]\n")
        + cnp(
            "allow",
            "  ingress:\n  - {fromEndpoints: [{matchLabels: {app: web}}]}\n"
            "  - {fromEndpoints: [{matchLabels: {app: job}}]}\n",
        )
    )
    assert [(item.code, item.severity) for item in found] == [("LNT001", Severity.WARNING)]


def test_the_own_node_differs_from_member_to_member(lint):
    """The two databases run on different nodes: a rule for n1 is unnecessary for one and not for the other."""
    rule = "ingress: [{from: [{ipBlock: {cidr: 10.0.0.1/32}}]}]"
    assert lint(np("p", rule)) == []
    only_one = rule.replace("10.0.0.1", "10.0.0.9")
    assert lint(np("p", only_one)) == []


def test_port_names_differ_from_member_to_member(lint):
    """The name is 5432 on one database and 5433 on the other; the wide rule covers just the first."""
    rules = f"ingress: [{{from: {WEB}, ports: [{{port: 5432}}]}}, {{from: {WEB}, ports: [{{port: main}}]}}]"
    assert lint(np("p", rules)) == []
    covered = rules.replace("5432}", "5432, endPort: 5433}")
    assert [item.code for item in lint(np("p", covered))] == ["LNT002"]


def test_a_log_rule_that_is_never_reached(lint):
    rules = "  - {action: Allow, source: {selector: has(app)}}\n  - {action: Log, source: {selector: app == 'web'}}\n"
    (item,) = lint(gnp("a", 1, rules))
    assert item.code == "LNT001"
