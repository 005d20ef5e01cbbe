"""--allow-unsupported: what can't be enforced gives less access, never more."""

from __future__ import annotations

import pytest

from bpfence.dialects.kubernetes import lower_unsupported
from bpfence.ir.expressions import ANYONE, POD, OnOwnNode
from bpfence.ir.nodes import ANY_L4, Action


def cnp(spec: str) -> str:
    return (
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: p}\n"
        f"spec: {{priority: 1, {spec}}}\n"
    )


def egress(rules: str) -> str:
    return cnp(f"tier: Admin, subject: {{namespaces: {{}}}}, egress: [{rules}]")


UNKNOWN_PEER = "to: [{namespaces: {}}, {services: {}}]"
UNKNOWN_MEMBER = "to: [{namespaces: {}, services: {}}]"
UNKNOWN_PROTOCOL = "to: [{namespaces: {}}], protocols: [{icmp: {}}, {tcp: {destinationPort: {number: 1}}}]"


@pytest.mark.parametrize("part", [UNKNOWN_PEER, UNKNOWN_MEMBER, UNKNOWN_PROTOCOL])
@pytest.mark.parametrize("action", ["Accept", "Deny", "Pass"])
def test_a_rule_with_an_unknown_member_fails_closed(action, part, load):
    text = egress(f"{{action: {action}, {part}}}, {{action: Accept, to: [{{nodes: {{}}}}]}}")
    assert load(text).objects == ()
    loaded = load(text, allow_unsupported=True)
    ((lowered,), ()) = loaded.cluster_policies()
    first = lowered.egress.rules[0]
    if action == "Accept":
        assert first.origin.field == "spec.egress[1]"
    else:
        assert (first.action, first.peer, first.l4) == (Action.DENY, ANYONE, ANY_L4)
    assert loaded.errors == []
    assert "K8S061" in loaded.codes
    assert lower_unsupported(loaded.objects) == ()


RULE = "ingress: [{action: Accept, from: [{namespaces: {}}]}]"
DENYING = [
    ("unknown tier", cnp(f"tier: Other, subject: {{namespaces: {{}}}}, {RULE}")),
    ("unknown action", cnp(f"tier: Admin, subject: {{namespaces: {{}}}}, {RULE.replace('Accept', 'Audit')}")),
    ("unknown field", cnp(f"tier: Admin, subject: {{namespaces: {{}}}}, mode: x, {RULE}")),
    (
        "unknown field of a rule",
        cnp(f"tier: Admin, subject: {{namespaces: {{}}}}, {RULE.replace('from', 'log: 1, from')}"),
    ),
]


@pytest.mark.parametrize("text", [row[1] for row in DENYING], ids=[row[0] for row in DENYING])
def test_the_whole_policy_denies_what_it_selects(text, load):
    assert load(text).objects == ()
    loaded = load(text, allow_unsupported=True)
    assert loaded.errors == []
    assert loaded.cluster_policies() == ((), ())
    (lowered,) = lower_unsupported(loaded.objects)
    assert (lowered.subject, lowered.egress) == (POD, None)
    own_node, everybody = lowered.ingress.rules
    assert (own_node.action, own_node.peer) == (Action.PASS, OnOwnNode())
    assert (everybody.action, everybody.peer, everybody.l4) == (Action.DENY, ANYONE, ANY_L4)


def network_policy(spec: str) -> str:
    return (
        f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: shop}}\nspec: {spec}\n"
    )


@pytest.mark.parametrize(
    "rules", ["egress: [{to: [{service: {}}]}]", "egress: [{log: 1}]", "policyTypes: [Egress, Ingress], tier: 1"]
)
def test_network_policy_denies_what_it_selects(rules, load):
    text = network_policy(f"{{podSelector: {{}}, {rules}}}")
    assert load(text).objects == ()
    loaded = load(text, allow_unsupported=True)
    assert loaded.network_policies() == ()
    (lowered,) = lower_unsupported(loaded.objects)
    assert [rule.action for rule in lowered.egress.rules] == [Action.DENY]
    assert [rule.action for rule in lowered.ingress.rules] == [Action.PASS, Action.DENY]


@pytest.mark.parametrize(
    "text",
    [
        network_policy("{podSelector: {matchNames: [a]}}"),
        cnp("tier: Admin, subject: {services: {}}, " + RULE),
        network_policy("{podSelector: {}, ingress: [{ports: [{port: 0}]}]}"),
    ],
    ids=["unknown selector", "unknown subject", "plain mistake"],
)
def test_what_stays_refused(text, load):
    loaded = load(text, allow_unsupported=True)
    assert loaded.objects == ()
    assert loaded.errors != []
