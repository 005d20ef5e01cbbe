"""The canonical text: readable, exact, and read back as the same program."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from bpfence.ir.expressions import InPrefixes, LabelAll, LabelTest, LearntName, PeerAny
from bpfence.ir.nodes import DnsNames, L4Match, Layer, Origin, Point, Program, Rule
from bpfence.ir.parse import IrSyntaxError, parse_program
from bpfence.ir.text import program_text
from bpfence.source.spans import Span
from support.ir_strategies import programs

SAMPLE = """\
layer "hosts" point pre-dnat unmatched "the next point is asked"
layer "kubernetes" unmatched "no policy selects the endpoint"
  tier "default" order 0 end deny order-free
    exempt ingress
      allow own-node on any @ "<built-in>":1:1-1:1 "own node" of "built-in"
    policy "NetworkPolicy shop/db" order 2.5 "shop/db" subject label:app else namespace:app in {"db"} \
& !label:x exists @ db.yaml:1:1-20:1 ""
      ingress isolates @ db.yaml:9:3-20:1 spec.ingress
        allow [meta:kind in {"pod"} & label:app starts with "web"] on protocol tcp to 80,443-445 \
@ db.yaml:10:5-15:9 spec.ingress[0]
        allow names "1.20" {"*", "a.example."} on protocol udp to 53 queries "1.18" {"*.", "b."} \
@ db.yaml:16:1-16:9 spec.ingress[2]
        deny {10.0.0.0/8, fd00::/8} | !(own-node & anyone) own any({}) on protocol icmp type 3 code 0-4 | never_
      egress @ db.yaml:9:3-20:1 spec.egress
""".replace("never_", 'protocol udp named "dns"/udp/destination @ db.yaml:16:1-16:9 spec.ingress[1]')


def test_sample_reads_and_prints_as_itself() -> None:
    assert program_text(parse_program(SAMPLE)) == SAMPLE


def test_sample_means_what_it_says() -> None:
    hosts, pods = parse_program(SAMPLE).layers
    assert (hosts.point, pods.point) == (Point.PRE_DNAT, Point.ENDPOINT)
    policy = pods.tiers[0].policies[0]
    assert policy.ingress is not None
    assert policy.egress is not None
    assert (policy.ingress.isolates, policy.egress.isolates) == (True, False)
    assert isinstance(policy.subject, LabelAll)
    assert isinstance(policy.subject.items[0], LabelTest)
    assert policy.subject.items[0].keys == ("label:app", "namespace:app")
    web, named, other = policy.ingress.rules
    assert web.origin == Origin(policy.name, "spec.ingress[0]", Span("db.yaml", 10, 5, 15, 9))
    assert web.l4 == (L4Match(((6, 6),), ((80, 80), (443, 445))),)
    assert named.l4[0].dns_names == DnsNames(("*.", "b."), "1.18")
    assert named.peer == LearntName(("*", "a.example."), "1.20")
    assert other.own == PeerAny((InPrefixes(()),))
    assert other.l4[1].named_ports[0].name == "dns"


@settings(max_examples=50, deadline=None)  # the first parse builds the parser
@given(programs())
def test_text_reads_back_as_the_same_program(program: Program) -> None:
    assert parse_program(program_text(program)) == program


def test_the_relative_path_is_printed() -> None:
    sample = parse_program(SAMPLE)
    tier = sample.layers[1].tiers[0]
    rule: Rule = tier.exempt_ingress[0]
    span = Span("/home/me/policies/db.yaml", 1, 1, 1, 1, "policies/db.yaml")
    moved = replace(rule, origin=replace(rule.origin, span=span))
    layer: Layer = replace(sample.layers[1], tiers=(replace(tier, exempt_ingress=(moved,)),))
    assert "@ policies/db.yaml:1:1-1:1" in program_text(Program((layer,)))
    assert "/home/me" not in program_text(Program((layer,)))


def test_no_layers_are_no_text() -> None:
    assert program_text(Program(())) == ""
    assert parse_program("") == Program(())


@pytest.mark.parametrize(
    ("written", "mistake", "at", "problem"),
    [
        ("10.0.0.0/8", "10.0.0.1/8", "10.0.0.1/8", "no network"),
        ('app in {"db"}', 'app is {"db"}', "is {", "unexpected"),
        ('"dns"', r'"\q"', r'"\q"', "malformed string"),
        ("type 3 code 0-4", "type 3 type 4", "type 4", "criterion given twice"),
        ("protocol icmp", "protocol ipx", "ipx", "unknown protocol"),
        ('names "1.20"', 'names "1.19"', '"1.19"', "unknown language of names"),
        ("point pre-dnat", "point dnat", "dnat unmatched", "unexpected"),
        ('layer "kubernetes"', "layer kubernetes", "kubernetes", "unexpected"),
    ],
)
def test_mistakes_are_placed(written: str, mistake: str, at: str, problem: str) -> None:
    text = SAMPLE.replace(written, mistake, 1)
    before = text[: text.index(at)]
    with pytest.raises(IrSyntaxError, match=problem) as caught:
        parse_program(text)
    place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
    assert (caught.value.line, caught.value.column) == place


def test_a_text_that_stops_is_placed_at_its_end() -> None:
    with pytest.raises(IrSyntaxError, match="ends too early") as caught:
        parse_program('layer "a" unmatched "b"\n  tier')
    assert (caught.value.line, caught.value.column) == (2, 7)
