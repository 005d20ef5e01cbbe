"""Every rule of the IR has a program that breaks it alone, and is named with its place."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given, settings

from bpfence.ir.expressions import (
    ANYONE,
    HasObject,
    InPrefixes,
    LabelExpr,
    LabelNot,
    LabelOperator,
    LabelTest,
    LearntName,
    OnOwnNode,
    PeerExpr,
    PeerNot,
    kind_is,
)
from bpfence.ir.legality import MAX_DEPTH, IllegalProgram, check_program
from bpfence.ir.nodes import (
    ANY_L4,
    Action,
    DnsNames,
    L4Match,
    Layer,
    NamedPort,
    Origin,
    Policy,
    Program,
    Rule,
    Section,
    Tier,
)
from bpfence.source.spans import Span
from support.ir_strategies import programs

ORIGIN = Origin("NetworkPolicy a/b", "spec", Span("a.yaml", 1, 1, 1, 2))
RULE = Rule(Action.ALLOW, ANYONE, ANY_L4, ORIGIN)
TCP = ((6, 6),)
ICMP = ((1, 1),)


def policy_of(rule: Rule, **changes: object) -> Policy:
    policy = Policy("NetworkPolicy a/b", kind_is("pod"), Section((RULE, rule), True, ORIGIN), None, ORIGIN)
    return replace(policy, **changes)  # type: ignore[arg-type]  # mypy can't tell the fields apart here


def program_of(*policies: Policy, **changes: object) -> Program:
    tier = Tier("default", 0.0, Action.DENY, policies)
    return Program((Layer("kubernetes", (replace(tier, **changes),)),))  # type: ignore[arg-type]  # as above


def peer_rule(peer: PeerExpr) -> Rule:
    return replace(RULE, peer=peer)


def label_rule(labels: LabelExpr) -> Rule:
    return peer_rule(HasObject(labels))


def l4_rule(match: L4Match) -> Rule:
    return replace(RULE, l4=(match,))


def named(protocol: int = 6, name: str = "http") -> tuple[NamedPort, ...]:
    return (NamedPort(name, protocol, "destination"),)


def nested(levels: int) -> PeerExpr:
    expr: PeerExpr = OnOwnNode()
    for _ in range(levels - 1):
        expr = PeerNot(expr)
    return expr


@settings(max_examples=30, deadline=None)
@given(programs())
def test_generated_programs_are_legal(program: Program) -> None:
    check_program(program)


@pytest.mark.parametrize(
    "rule",
    [
        l4_rule(L4Match(TCP, ((0, 80), (82, 65535)), ((1, 1),))),
        l4_rule(L4Match(TCP, ())),
        l4_rule(L4Match(((0, 255),))),
        l4_rule(L4Match(named_ports=named())),
        l4_rule(L4Match(TCP, not_named_ports=named())),
        l4_rule(L4Match(((1, 1), (58, 58)), icmp_types=((0, 255),), icmp_codes=((0, 0),))),
        label_rule(LabelTest(("port:TCP:http:80", "reserved:health"), LabelOperator.EXISTS)),
        label_rule(LabelTest(("meta:name", "label:a:b"), LabelOperator.IN)),
        peer_rule(InPrefixes((ip_network("10.0.0.0/8"), ip_network("10.0.0.0/9"), ip_network("::/0")))),
        peer_rule(nested(MAX_DEPTH)),
        replace(RULE, action=Action.PASS),
    ],
)
def test_legal_rules(rule: Rule) -> None:
    check_program(program_of(policy_of(rule)))


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (l4_rule(L4Match(TCP, ((80, 79),))), "destination ports"),
        (l4_rule(L4Match(TCP, ((1, 2), (3, 4)))), "destination ports"),
        (l4_rule(L4Match(TCP, source_ports=((5, 6), (1, 2)))), "source ports"),
        (l4_rule(L4Match(TCP, source_ports=((0, 65536),))), "source ports"),
        (l4_rule(L4Match(((-1, 6),))), "protocols"),
        (l4_rule(L4Match(((6, 256),))), "protocols"),
        (l4_rule(L4Match(ICMP, icmp_types=((0, 256),))), "ICMP types"),
        (l4_rule(L4Match(ICMP, icmp_codes=((0, 256),))), "ICMP codes"),
        (l4_rule(L4Match(destination_ports=((80, 80),))), "port criterion"),
        (l4_rule(L4Match(((6, 7),), ((80, 80),))), "port criterion"),
        (l4_rule(L4Match(not_named_ports=named())), "port criterion"),
        (l4_rule(L4Match(ICMP, named_ports=named())), "port criterion"),
        (l4_rule(L4Match(TCP, named_ports=named(1))), "named port 'http' of protocol 1"),
        (l4_rule(L4Match(TCP, named_ports=named(name=""))), "named port ''"),
        (l4_rule(L4Match(TCP, icmp_types=((8, 8),))), "ICMP criterion"),
        (l4_rule(L4Match(icmp_codes=((0, 0),))), "ICMP criterion"),
        (l4_rule(L4Match(dns_names=DnsNames(("a.",), "1.20"))), "DNS names with protocols"),
        (l4_rule(L4Match(TCP, dns_names=DnsNames(("b.", "a."), "1.20"))), "name patterns"),
        (label_rule(LabelTest((), LabelOperator.EXISTS)), "without a key"),
        (label_rule(LabelTest(("app",), LabelOperator.EXISTS)), "unknown label key 'app'"),
        (label_rule(LabelTest(("meta:color",), LabelOperator.EXISTS)), "unknown label key"),
        (label_rule(LabelTest(("port:ICMP:http:80",), LabelOperator.EXISTS)), "unknown label key"),
        (label_rule(LabelTest(("port:TCP:http:65536",), LabelOperator.EXISTS)), "unknown label key"),
        (label_rule(LabelTest(("label:a",), LabelOperator.IN, ("b", "a"))), "values"),
        (label_rule(LabelTest(("label:a",), LabelOperator.NOT_IN, ("a", "a"))), "values"),
        (label_rule(LabelTest(("label:a",), LabelOperator.ABSENT, ("a",))), "values"),
        (label_rule(LabelTest(("label:a",), LabelOperator.CONTAINS)), "values"),
        (peer_rule(InPrefixes((ip_network("::/0"), ip_network("10.0.0.0/8")))), "networks"),
        (peer_rule(InPrefixes((ip_network("::/0"), ip_network("::/0")))), "networks"),
        (peer_rule(LearntName(("b.", "a."), "1.20")), "name patterns that are not sorted"),
        (peer_rule(LearntName(("a.", "a."), "1.18")), "name patterns that are not sorted"),
        (peer_rule(LearntName(("A.",), "1.18")), "canonical"),
        (peer_rule(LearntName(("a..b.",), "1.18")), "canonical"),
        (peer_rule(LearntName(("*.a",), "1.20")), "canonical"),
        (peer_rule(nested(MAX_DEPTH + 1)), "levels deep"),
        (peer_rule(nested(100_000)), "levels deep"),
        (replace(RULE, own=InPrefixes((ip_network("::/0"),) * 2)), "networks"),
        (replace(RULE, origin=replace(ORIGIN, policy="")), "no origin"),
        (replace(RULE, origin=replace(ORIGIN, span=Span("", 1, 1, 1, 1))), "no origin"),
        (replace(RULE, origin=replace(ORIGIN, span=Span("a", 0, 1, 1, 1))), "no origin"),
    ],
)
def test_illegal_rules_are_named(rule: Rule, problem: str) -> None:
    place = "layer 'kubernetes' > tier 'default' > policy 'NetworkPolicy a/b' > ingress rule 1: "
    with pytest.raises(IllegalProgram, match=problem) as caught:
        check_program(program_of(policy_of(rule)))
    assert place in str(caught.value)


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        (program_of(policy_of(RULE), policy_of(RULE)), "2 nodes named policy"),
        (Program((Layer("a", ()), Layer("a", ()))), "2 nodes named layer"),
        (Program((Layer("a", (Tier("t", 0.0, Action.DENY, ()),) * 2),)), "2 nodes named tier"),
        (
            Program((Layer("a", (Tier("t", 1.0, Action.DENY, ()), Tier("u", 0.0, Action.DENY, ()))),)),
            "tiers are not sorted",
        ),
        (program_of(order=float("nan")), "tiers are not sorted"),
        (
            program_of(policy_of(RULE, order=(1.0, "")), policy_of(RULE, name="other", order=(0.0, "z"))),
            "policies are not sorted",
        ),
        (program_of(end=Action.ALLOW), "can't end"),
        (program_of(end=Action.LOG), "can't end"),
        (program_of(policy_of(replace(RULE, action=Action.PASS)), order_free=True), "without order"),
        (program_of(policy_of(replace(RULE, action=Action.LOG)), order_free=True), "without order"),
        (program_of(exempt_egress=(replace(RULE, action=Action.PASS),)), "egress exemption 0: an exemption can't"),
        (program_of(policy_of(RULE, subject=LabelNot(LabelTest((), LabelOperator.EXISTS)))), "without a key"),
        (program_of(policy_of(RULE, origin=replace(ORIGIN, policy=""))), "no origin"),
    ],
)
def test_illegal_structures_are_named(program: Program, problem: str) -> None:
    with pytest.raises(IllegalProgram, match=problem):
        check_program(program)
