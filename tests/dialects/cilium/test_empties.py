"""Empty, missing and null, and default deny: what a direction becomes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bpfence.ir.expressions import ANYONE, POD, HasObject, LabelOperator, LabelTest, all_labels
from bpfence.ir.nodes import ANY_L4, Action, Direction, L4Match

SHOP = LabelTest(("meta:namespace",), LabelOperator.IN, ("shop",))
ANYWHERE = LabelTest(("meta:namespace",), LabelOperator.EXISTS)
PORT_80 = (L4Match(protocols=((6, 6),), destination_ports=((80, 80),)),)

NOTHING = {
    "empty statement": ("{}", []),
    "empty peers": ("{fromEndpoints: []}", ["CIL071"]),
    "empty peers with ports": ("{fromEndpoints: [], toPorts: [{ports: [{port: '80'}]}]}", ["CIL071"]),
    "empty CIDR": ("{fromCIDR: []}", ["CIL071"]),
    "empty CIDRSet": ("{fromCIDRSet: []}", ["CIL071"]),
    "empty entities": ("{fromEntities: []}", ["CIL071"]),
    "empty nodes": ("{fromNodes: []}", ["CIL071"]),
    "no entity": ("{fromEntities: [none]}", []),
    "empty toPorts alone": ("{toPorts: []}", []),
    "port rule without ports": ("{fromEntities: [all], toPorts: [{}]}", ["CIL072"]),
    "empty ports": ("{fromEntities: [all], toPorts: [{ports: []}]}", ["CIL072"]),
    "empty icmps item": ("{fromEntities: [all], icmps: [{}]}", ["CIL072"]),
    "empty fields": ("{fromEntities: [all], icmps: [{fields: []}]}", ["CIL072"]),
}


@pytest.mark.parametrize("case", NOTHING)
def test_isolates_and_allows_nothing(case: str, compile_rule: Callable) -> None:
    statement, warnings = NOTHING[case]
    outcome = compile_rule(f"endpointSelector: {{}}\ningress: [{statement}]")
    (policy,) = outcome.policies
    assert policy.ingress.rules == ()
    assert policy.ingress.isolates
    assert policy.egress is None
    assert outcome.codes == warnings


def test_empty_section_leaves_the_direction_alone(compile_rule: Callable) -> None:
    (policy,) = compile_rule("endpointSelector: {}\ningress: []\negress: [{}]").policies
    assert policy.ingress is None
    assert policy.egress.isolates


def test_empty_selector_means_pods_in_scope(compile_rule: Callable) -> None:
    body = "endpointSelector: {}\ningress: [{fromEndpoints: [{}]}]"
    (own,) = compile_rule(body).policies
    (everywhere,) = compile_rule(body, namespace="").policies
    assert own.subject == all_labels(POD, SHOP)
    assert own.ingress.rules[0].peer == HasObject(all_labels(POD, SHOP))
    assert everywhere.subject == POD
    assert everywhere.ingress.rules[0].peer == HasObject(all_labels(POD, ANYWHERE))


def test_ports_without_peers_mean_any_peer(compile_rule: Callable) -> None:
    body = "endpointSelector: {}\ningress: [{toPorts: [{}, {ports: [{port: '80', protocol: TCP}]}]}]"
    (policy,) = compile_rule(body).policies
    assert [(rule.peer, rule.l4) for rule in policy.ingress.rules] == [(ANYONE, PORT_80)]


def test_peers_without_ports_mean_every_protocol(compile_rule: Callable) -> None:
    (policy,) = compile_rule("endpointSelector: {}\ningress: [{fromEndpoints: [{}], toPorts: []}]").policies
    assert policy.ingress.rules[0].l4 == ANY_L4


DEFAULTS = [
    ("ingress: [{}]", Direction.INGRESS, True),
    ("ingressDeny: [{fromEntities: [all]}]", Direction.INGRESS, True),
    ("ingress: [{}]\nenableDefaultDeny: {egress: false}", Direction.INGRESS, True),
    ("ingress: [{}]\nenableDefaultDeny: {ingress: false}", Direction.INGRESS, False),
    ("ingressDeny: [{fromEntities: [all]}]\nenableDefaultDeny: {ingress: false}", Direction.INGRESS, False),
    ("egress: [{}]\nenableDefaultDeny: {}", Direction.EGRESS, True),
    ("egressDeny: [{}]\nenableDefaultDeny: {egress: false}", Direction.EGRESS, False),
]


@pytest.mark.parametrize(("sections", "direction", "isolates"), DEFAULTS)
def test_default_deny(sections: str, direction: Direction, isolates: bool, compile_rule: Callable) -> None:
    (policy,) = compile_rule(f"endpointSelector: {{}}\n{sections}").policies
    assert policy.section(direction).isolates is isolates


def test_default_deny_without_a_section_is_idle(compile_rule: Callable) -> None:
    outcome = compile_rule("endpointSelector: {}\ningress: [{}]\nenableDefaultDeny: {egress: true}")
    assert outcome.codes == ["CIL073"]
    assert outcome.policies[0].egress is None


def test_allows_and_denies_share_a_section_in_written_order(compile_rule: Callable) -> None:
    body = (
        "endpointSelector: {}\ningressDeny: [{fromEntities: [host]}]\ningress:\n- fromEntities: [world]\n- toPorts: []"
    )
    (policy,) = compile_rule(body).policies
    assert [(rule.action, rule.origin.field) for rule in policy.ingress.rules] == [
        (Action.DENY, "spec.ingressDeny[0]"),
        (Action.ALLOW, "spec.ingress[0]"),
    ]


def test_every_rule_of_spec_and_specs_counts(compile_policy: Callable) -> None:
    text = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p}
spec: {endpointSelector: {}, ingress: [{}]}
specs:
- {endpointSelector: {}, egress: [{}]}
- {endpointSelector: {}, ingress: [{}], egress: [{}]}
"""
    outcome = compile_policy(text)
    assert [(item.name, item.origin.field) for item in outcome.policies] == [
        ("CiliumNetworkPolicy default/p", "spec"),
        ("CiliumNetworkPolicy default/p", "specs[0]"),
        ("CiliumNetworkPolicy default/p", "specs[1]"),
    ]
    assert outcome.codes == ["CIL070"]
