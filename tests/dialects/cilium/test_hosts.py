"""Policies for nodes: nodeSelector."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from bpfence.dialects.cilium import exempt_rules
from bpfence.identity.inventory import Inventory, Node
from bpfence.ir.expressions import NO_LABELS, NODE, LabelOperator, LabelTest, OnOwnNode, all_labels
from bpfence.ir.nodes import Action, Direction, Layer, Program, Tier
from bpfence.source.spans import Span
from support.ir_oracle import Packet, Place, decide

N1 = {"meta:kind": "node", "meta:name": "n1", "label:role": "edge"}
HOST = Place(ip_address("10.0.0.1"), (N1,), own_node=True)
OTHER = Place(ip_address("10.0.0.2"), ({"meta:kind": "node", "meta:name": "n2"},))
WEB = Place(ip_address("10.1.0.10"), ({"meta:kind": "pod", "meta:namespace": "shop"},))
OFFICE, STRANGER = Place(ip_address("198.51.100.5")), Place(ip_address("203.0.113.7"))

EDGE = all_labels(NODE, LabelTest(("label:role",), LabelOperator.IN, ("edge",)))
RULES = """
nodeSelector: {}
ingress:
- {fromEntities: [remote-node, health]}
- {fromCIDR: [198.51.100.0/24], toPorts: [{ports: [{port: "22", protocol: TCP}]}]}
"""


@pytest.fixture
def verdict(compile_rule: Callable) -> Callable:
    def ask(peer: Place, port: int, direction: Direction = Direction.INGRESS) -> str:
        policies = compile_rule(RULES, namespace="").policies
        exempt = exempt_rules(Direction.INGRESS)
        tier = Tier("cilium", 1.0, Action.DENY, policies, order_free=True, exempt_ingress=exempt)
        program = Program((Layer("cilium", (tier,)),))
        (steps,) = decide(program, N1, HOST, peer, Packet(6, 40000, port), direction)
        return steps[-1].split()[0]

    return ask


@pytest.mark.parametrize(
    ("peer", "port", "expected"),
    [(OFFICE, 22, "allow"), (OFFICE, 443, "end"), (OTHER, 6443, "allow"), (WEB, 10250, "end"), (STRANGER, 22, "end")],
)
def test_ingress(peer: Place, port: int, expected: str, verdict: Callable) -> None:
    assert verdict(peer, port) == expected


def test_egress_is_not_touched(verdict: Callable) -> None:
    assert verdict(STRANGER, 443, Direction.EGRESS) == "unmatched"


@pytest.mark.parametrize(
    ("selector", "labels"),
    [
        ("{}", NODE),
        ("{matchLabels: {role: edge}}", EDGE),
        (
            "{matchLabels: {'k8s:role': edge}}",
            all_labels(NODE, LabelTest(("label:role",), LabelOperator.IN, ("edge",))),
        ),
        ("{matchLabels: {'reserved:host': ''}}", NODE),
        ("{matchLabels: {io.kubernetes.pod.namespace: shop}}", NO_LABELS),
    ],
)
def test_subjects(selector: str, labels: object, compile_rule: Callable) -> None:
    outcome = compile_rule(f"nodeSelector: {selector}\ningress: [{{}}]", namespace="")
    assert outcome.errors == []
    assert outcome.policies[0].subject == labels


def test_pod_policies_never_select_nodes(compile_rule: Callable) -> None:
    (policy,) = compile_rule("endpointSelector: {}\ningress: [{}]", namespace="").policies
    assert policy.subject == LabelTest(("meta:kind",), LabelOperator.IN, ("pod",))


def test_nothing_is_said_of_a_plain_one(compile_rule: Callable) -> None:
    assert compile_rule("nodeSelector: {}\ningress: [{}]", namespace="").codes == []


def test_selector_that_no_node_satisfies(compile_rule: Callable) -> None:
    span = Span("nodes.yaml", 1, 1, 1, 1)
    inventory = Inventory(nodes=(Node("n1", span, {"role": "edge"}),))
    for role, expected in (("edge", []), ("core", ["CIL089"])):
        outcome = compile_rule(
            f"nodeSelector: {{matchLabels: {{role: {role}}}}}\ningress: [{{}}]", inventory, namespace=""
        )
        assert sorted(outcome.codes) == expected


def test_what_denies_all_spares_the_own_node(compile_rule: Callable) -> None:
    text = "nodeSelector: {}\ningress: [{fromGroups: [{aws: {}}]}]"
    (policy,) = compile_rule(text, namespace="", allow_unsupported=True).policies
    assert policy.ingress.rules[0].action is Action.DENY
    assert policy.ingress.rules[0].peer.item == OnOwnNode()
