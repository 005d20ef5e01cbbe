"""What --allow-unsupported makes of a policy that can't be enforced."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bpfence.ir.expressions import ANYONE, OnOwnNode, PeerNot
from bpfence.ir.nodes import ANY_L4, Action

STATEMENTS = {
    "http": "ingress: [{toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{}]}}]}]",
    "authentication": "ingress: [{fromEndpoints: [{}], authentication: {mode: required}}]",
    "groups": "ingress: [{fromGroups: [{aws: {}}]}]",
    "requires": "ingress: [{fromRequires: [{}]}]",
}


@pytest.mark.parametrize("case", STATEMENTS)
def test_denies_all_ingress_but_the_own_node(case: str, compile_rule: Callable) -> None:
    outcome = compile_rule(f"endpointSelector: {{}}\n{STATEMENTS[case]}", allow_unsupported=True)
    assert outcome.errors == []
    (policy,) = outcome.policies
    (rule,) = policy.ingress.rules
    assert (rule.action, rule.peer, rule.l4) == (Action.DENY, PeerNot(OnOwnNode()), ANY_L4)
    assert policy.ingress.isolates
    assert policy.egress is None


def test_denies_every_direction_of_every_rule_of_the_object(compile_policy: Callable) -> None:
    text = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: shop}
specs:
- {endpointSelector: {matchLabels: {app: a}}, egress: [{toGroups: [{aws: {}}]}]}
- {endpointSelector: {matchLabels: {app: b}}, egress: [{toEntities: [world]}], enableDefaultDeny: {egress: false}}
"""
    outcome = compile_policy(text, allow_unsupported=True)
    assert outcome.codes == ["CIL064"]
    for policy in outcome.policies:
        assert [(rule.action, rule.peer) for rule in policy.egress.rules] == [(Action.DENY, ANYONE)]
        assert policy.ingress is None


def test_mistakes_stay_errors(compile_rule: Callable) -> None:
    text = "endpointSelector: {}\negress: [{toFQDNs: [{}]}]"
    assert [code for code, _ in compile_rule(text, allow_unsupported=True).errors] == ["CIL048"]


def test_authentication_may_be_disabled(compile_rule: Callable) -> None:
    text = "endpointSelector: {}\ningress: [{fromEndpoints: [{}], authentication: {mode: disabled}}]"
    assert compile_rule(text).codes == []


@pytest.mark.parametrize("rules", ["{}", "{http: []}", "{dns: []}"])
def test_empty_rules_are_a_plain_port_with_a_warning(rules: str, compile_rule: Callable) -> None:
    text = f"endpointSelector: {{}}\negress: [{{toPorts: [{{ports: [{{port: '80'}}], rules: {rules}}}]}}]"
    outcome = compile_rule(text)
    assert outcome.codes == ["CIL077"]
    assert outcome.policies[0].egress.rules[0].l4[0].destination_ports == ((80, 80),)
