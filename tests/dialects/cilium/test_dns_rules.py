"""DNS rules: which queries a port is open for, and what lifts the filter."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from bpfence.dialects.cilium import split_dns_rules
from bpfence.ir.legality import check_program
from bpfence.ir.nodes import Action, Direction, Layer, Program, Tier
from bpfence.passes import run_passes
from support.ir_oracle import Packet, Place, decide

WEB = {"meta:kind": "pod", "meta:namespace": "shop", "label:app": "web"}
HERE = Place(ip_address("10.1.0.10"), (WEB,))
DNS_POD = {"meta:kind": "pod", "meta:namespace": "kube-system", "label:k8s-app": "dns"}
SERVER = Place(ip_address("10.1.1.53"), (DNS_POD,))
OUTSIDE = Place(ip_address("203.0.113.9"))

DNS = """
- toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": kube-system, k8s-app: dns}}]
  toPorts: [{ports: [{port: "53", protocol: ANY}], rules: {dns: [{matchPattern: "*.shop.example"}]}}]
"""
NAMES = """
- toFQDNs: [{matchName: pay.shop.example}]
  toPorts: [{ports: [{port: "443", protocol: TCP}]}]
"""


def program_of(policies) -> Program:
    dns, rest = split_dns_rules(policies, 1.0)
    program = Program((Layer("cilium", (*dns, Tier("cilium", 2.0, Action.DENY, rest, order_free=True))),))
    check_program(program)
    return run_passes(program)


@pytest.fixture
def allowed(compile_rule: Callable) -> Callable:
    """Whether web may send a packet, under rules given as items of ``egress`` (and more members of the spec)."""

    def ask(egress: str, peer: Place, port: int, protocol: int = 17, query: str = "", more: str = "", **given) -> bool:
        outcome = compile_rule(f"endpointSelector: {{matchLabels: {{app: web}}}}\n{more}\negress:{egress}", **given)
        assert outcome.errors == []
        packet = Packet(protocol, 40000, port, query=query)
        (steps,) = decide(program_of(outcome.policies), WEB, HERE, peer, packet, Direction.EGRESS)
        return steps[-1].startswith("allow") or steps[-1] == "unmatched"

    return ask


@pytest.mark.parametrize(
    ("query", "expected"),
    [("pay.shop.example", True), ("PAY.shop.example.", True), ("a.b.shop.example", False), ("shop.example", False)],
)
@pytest.mark.parametrize("protocol", [6, 17, 132])
def test_queries_pass_by_their_names(query: str, expected: bool, protocol: int, allowed: Callable) -> None:
    assert allowed(DNS + NAMES, SERVER, 53, protocol, query) is expected


def test_without_a_name_the_port_is_closed(allowed: Callable) -> None:
    assert not allowed(DNS, SERVER, 53)


def test_learnt_names_open_their_ports(allowed: Callable) -> None:
    learnt = Place(OUTSIDE.address, fqdn="pay.shop.example")
    assert allowed(DNS + NAMES, learnt, 443, 6)
    assert not allowed(DNS + NAMES, learnt, 443, 17)
    assert not allowed(DNS + NAMES, OUTSIDE, 443, 6)
    assert not allowed(DNS + NAMES, Place(OUTSIDE.address, fqdn="x.cdn.example"), 443, 6)


@pytest.mark.parametrize("kind", ["pod", "node", "service"])
def test_names_never_match_the_cluster(kind: str, allowed: Callable) -> None:
    assert not allowed(NAMES, Place(OUTSIDE.address, ({"meta:kind": kind},), fqdn="pay.shop.example"), 443, 6)


def test_a_plain_entry_for_the_port_lifts_the_filter(allowed: Callable) -> None:
    plain = '\n- toPorts: [{ports: [{port: "53", protocol: UDP}]}]\n'
    assert allowed(DNS + plain, SERVER, 53, 17, "any.example")
    assert not allowed(DNS + plain, SERVER, 53, 6, "any.example")
    other = '\n- toCIDR: [203.0.113.0/24]\n  toPorts: [{ports: [{port: "53", protocol: UDP}]}]\n'
    assert not allowed(DNS + other, SERVER, 53, 17, "any.example")


@pytest.mark.parametrize(
    "wide",
    [
        "- toEntities: [cluster]",
        '- toPorts: [{ports: [{port: "0", protocol: UDP}]}]',
        '- toPorts: [{ports: [{port: "50", endPort: 60}]}]',
    ],
)
def test_a_wider_entry_does_not(wide: str, allowed: Callable) -> None:
    rules = f"{DNS}\n{wide}\n"
    assert not allowed(rules, SERVER, 53, 17, "any.example")
    assert allowed(rules, SERVER, 53, 17, "pay.shop.example")
    assert allowed(rules, SERVER, 54, 17)


def test_servers_that_no_filter_names_are_not_inspected(allowed: Callable) -> None:
    assert allowed(DNS + "\n- toEntities: [world]\n", OUTSIDE, 53, 17, "any.example")


def test_a_deny_wins(allowed: Callable) -> None:
    deny = "egressDeny: [{toEntities: [cluster]}]"
    assert not allowed(DNS, SERVER, 53, 17, "pay.shop.example", more=deny)


def test_a_filter_restricts_nothing_without_default_deny(allowed: Callable) -> None:
    more = "enableDefaultDeny: {egress: false}"
    assert allowed(DNS, SERVER, 53, 17, "any.example", more=more)


def test_another_policy_that_isolates_brings_the_filter_back(compile_policy: Callable) -> None:
    text = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: shop}
specs:
- endpointSelector: {}
  enableDefaultDeny: {egress: false}
  egress: [{toPorts: [{ports: [{port: "53", protocol: UDP}], rules: {dns: [{matchName: a.example}]}}]}]
- endpointSelector: {matchLabels: {app: web}}
  egress: [{toEntities: [all]}]
"""
    program = program_of(compile_policy(text).policies)
    job = {**WEB, "label:app": "job"}
    for labels, query, verdict in ((WEB, "b.example", "deny"), (WEB, "a.example", "allow"), (job, "b.example", "unm")):
        packet = Packet(17, 40000, 53, query=query)
        (steps,) = decide(program, labels, HERE, SERVER, packet, Direction.EGRESS)
        assert steps[-1].startswith(verdict), (labels, query)


@pytest.mark.parametrize(
    ("profile", "pattern", "query", "expected"),
    [
        ("1.20", "*", "a!b.example", True),
        ("1.18", "**", "a.example", False),
        ("1.20", "**", "a.example", True),
        ("1.18", "**.example", "a.b.example", False),
        ("1.20", "**.example", "a.b.example", True),
    ],
)
def test_patterns_of_the_profiles(profile: str, pattern: str, query: str, expected: bool, allowed: Callable) -> None:
    rules = f'\n- toPorts: [{{ports: [{{port: "53"}}], rules: {{dns: [{{matchPattern: "{pattern}"}}]}}}}]\n'
    assert allowed(rules, SERVER, 53, 17, query, cilium_profile=profile) is expected


def test_an_item_with_both_members_means_either(allowed: Callable) -> None:
    rules = '\n- toPorts: [{ports: [{port: "53"}], rules: {dns: [{matchName: a.b, matchPattern: "*.c"}]}}]\n'
    assert [allowed(rules, SERVER, 53, 17, query) for query in ("a.b", "x.c", "x.b")] == [True, True, False]


def test_policies_without_dns_rules_have_no_tier_for_them(compile_rule: Callable) -> None:
    policies = compile_rule(f"endpointSelector: {{}}\negress:{NAMES}").policies
    assert split_dns_rules(policies, 1.0) == ((), policies)
