"""The worked examples of the language's description, as IR."""

from __future__ import annotations

from collections.abc import Callable

from bpfence.dialects.cilium import exempt_rules
from bpfence.ir.expressions import (
    NO_LABELS,
    OUTSIDE,
    POD,
    HasObject,
    LabelOperator,
    LabelTest,
    OnOwnNode,
    all_labels,
    all_peers,
)
from bpfence.ir.nodes import ANY_L4, Action, Direction, L4Match, NamedPort

SHOP = LabelTest(("meta:namespace",), LabelOperator.IN, ("shop",))
TRANSPORTS = ((6, 6), (17, 17), (132, 132))


def app(name: str) -> LabelTest:
    return LabelTest(("label:app", "reserved:app"), LabelOperator.IN, (name,))


def test_local_host_reaches_its_pods() -> None:
    (rule,) = exempt_rules(Direction.INGRESS)
    assert (rule.action, rule.peer, rule.l4) == (Action.ALLOW, OnOwnNode(), ANY_L4)
    assert rule.origin.field == "local host to its own pods"
    assert exempt_rules(Direction.EGRESS) == ()


def test_allow_in_the_namespace(compile_rule: Callable) -> None:
    (policy,) = compile_rule("""
endpointSelector: {matchLabels: {app: db}}
ingress:
- fromEndpoints: [{matchLabels: {app: web}}]
  toPorts: [{ports: [{port: "5432", protocol: TCP}]}]
""").policies
    (rule,) = policy.ingress.rules
    assert policy.subject == all_labels(POD, SHOP, app("db"))
    assert rule.peer == HasObject(all_labels(POD, SHOP, app("web")))
    assert rule.l4 == (L4Match(protocols=((6, 6),), destination_ports=((5432, 5432),)),)
    assert (rule.origin.policy, rule.origin.field, rule.origin.span.line) == (
        "CiliumNetworkPolicy shop/p",
        "spec.ingress[0]",
        7,
    )
    assert policy.egress is None


def test_deny_without_default_deny(compile_rule: Callable) -> None:
    (policy,) = compile_rule("""
endpointSelector: {matchLabels: {app: web}}
enableDefaultDeny: {ingress: false}
ingressDeny:
- fromCIDR: [203.0.113.0/24]
  toPorts: [{ports: [{port: "8000", endPort: 8099}]}]
- fromEntities: [host]
""").policies
    prefix, host = policy.ingress.rules
    assert not policy.ingress.isolates
    assert (prefix.action, host.action) == (Action.DENY, Action.DENY)
    assert prefix.l4 == (L4Match(protocols=TRANSPORTS, destination_ports=((8000, 8099),)),)
    assert (host.peer, host.l4) == (OnOwnNode(), ANY_L4)


def test_nobody_and_two_warnings(compile_rule: Callable) -> None:
    outcome = compile_rule("""
endpointSelector: {matchLabels: {app: db}}
ingress:
- {fromEndpoints: [], toPorts: [{ports: [{port: "5432"}]}]}
- {fromEntities: [host], toPorts: [{ports: []}]}
""")
    assert outcome.policies[0].ingress.rules == ()
    assert sorted(code for code in outcome.codes if code in ("CIL071", "CIL072")) == ["CIL071", "CIL072"]


def test_names_and_types(compile_rule: Callable) -> None:
    (policy,) = compile_rule("""
endpointSelector: {matchLabels: {app: job}}
egress:
- {toEndpoints: [{}], toPorts: [{ports: [{port: sql}]}]}
- {toEntities: [world], icmps: [{fields: [{type: EchoRequest}]}]}
""").policies
    names, ping = policy.egress.rules
    named = tuple(NamedPort("sql", protocol, "destination") for protocol in (6, 17, 132))
    assert names.peer == HasObject(all_labels(POD, SHOP))
    assert names.l4 == (L4Match(protocols=TRANSPORTS, named_ports=named),)
    assert ping.peer == all_peers(OUTSIDE)
    assert ping.l4 == (L4Match(protocols=((1, 1),), icmp_types=((8, 8),)),)


def test_deny_beside_a_network_policy(compile_rule: Callable) -> None:
    (policy,) = compile_rule("""
endpointSelector: {matchLabels: {app: db}}
ingressDeny: [{fromEndpoints: [{matchLabels: {app: job}}]}]
""").policies
    assert [rule.action for rule in policy.ingress.rules] == [Action.DENY]
    assert policy.ingress.isolates


def test_unselectable_subject_selects_nothing(compile_rule: Callable) -> None:
    outcome = compile_rule("endpointSelector: {matchLabels: {'reserved:host': ''}}\ningress: [{}]", namespace="")
    assert outcome.codes == ["CIL079"]
    assert outcome.policies[0].subject == NO_LABELS
