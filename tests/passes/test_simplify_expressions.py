"""Expressions in the text form, before and after: the table of what simplifying does."""

from __future__ import annotations

import pytest

from bpfence.ir.expression_text import label_text, peer_text
from bpfence.ir.nodes import Rule
from bpfence.ir.parse import parse_program
from bpfence.passes.simplify_expressions import simplify_expressions

PROGRAM = """
layer "l" unmatched "" tier "t" order 0 end deny
  policy "p" subject %s @ a:1:1-1:1 ""
    ingress @ a:1:1-1:1 "" allow %s own %s on any @ a:1:1-1:1 ""
"""


@pytest.mark.parametrize(
    ("written", "simple"),
    [
        ("all(label:a exists)", "label:a exists"),
        ("label:b exists & label:a exists & label:b exists", "label:a exists & label:b exists"),
        ("label:c exists & (label:a exists & label:b exists)", "label:a exists & label:b exists & label:c exists"),
        ("label:a exists & (label:b exists | label:c exists)", "label:a exists & (label:b exists | label:c exists)"),
        ("label:a exists & every", "label:a exists"),
        ("label:a exists & none", "none"),
        ("label:a exists | none", "label:a exists"),
        ("label:a exists | !none", "every"),
        ("!!label:a exists", "label:a exists"),
        ("!label:a exists", "label:a absent"),
        ('!label:a not in {"x"}', 'label:a in {"x"}'),
        ('!label:a contains "x"', '!label:a contains "x"'),
        ("label:a in {}", "none"),
        ("label:a not in {}", "every"),
    ],
)
def test_labels(written: str, simple: str) -> None:
    policy = simplify_expressions(parse_program(PROGRAM % (written, "anyone", "anyone"))).layers[0].tiers[0].policies[0]
    assert label_text(policy.subject) == simple


@pytest.mark.parametrize(
    ("written", "simple"),
    [
        ("[label:a exists & none]", "nobody"),
        ("[!!every]", "[every]"),
        ("{}", "nobody"),
        ("!{}", "anyone"),
        ("own-node & !!own-node", "own-node"),
        ("{10.0.0.0/9, 10.1.0.0/16, 10.128.0.0/9}", "{10.0.0.0/8}"),
        ("{10.0.0.0/9} | {10.128.0.0/9} | {fd00::/64} | own-node", "own-node | {10.0.0.0/8, fd00::/64}"),
        ("{10.0.0.0/9} | (own-node | {10.0.0.0/8, fd00::/64})", "own-node | {10.0.0.0/8, fd00::/64}"),
        ("{10.0.0.0/9} & {10.128.0.0/9}", "{10.0.0.0/9} & {10.128.0.0/9}"),
        ("{0.0.0.0/1, 128.0.0.0/1, ::/0}", "{0.0.0.0/0, ::/0}"),
        ("({10.1.0.0/16} & !own-node) | (!own-node & {10.0.0.0/16})", "{10.0.0.0/15} & !own-node"),
        (
            "({10.0.0.0/8} & !{10.1.0.0/16}) | ({11.0.0.0/8} & !{10.1.0.0/16})",
            "{10.0.0.0/7} & !{10.1.0.0/16}",
        ),
        ("({10.0.0.0/8} & !{10.1.0.0/16}) | {11.0.0.0/8}", "{11.0.0.0/8} | ({10.0.0.0/8} & !{10.1.0.0/16})"),
        ("anyone | own-node", "anyone"),
        ("anyone & own-node", "own-node"),
        ("nobody & own-node", "nobody"),
    ],
)
def test_peers(written: str, simple: str) -> None:
    assert peer_text(_rule(written, "anyone").peer) == simple
    assert peer_text(_rule("anyone", written).own) == simple


def test_what_is_simple_stays_the_same_object() -> None:
    program = parse_program(PROGRAM % ("label:a exists", "own-node | {10.0.0.0/8}", "anyone"))
    assert simplify_expressions(program) is program


def _rule(peer: str, own: str) -> Rule:
    program = simplify_expressions(parse_program(PROGRAM % ("every", peer, own)))
    section = program.layers[0].tiers[0].policies[0].ingress
    assert section is not None
    return section.rules[0]
