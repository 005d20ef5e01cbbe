"""No pass changes a verdict or its origin, and no pass has anything left to do after itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfence.ir.expressions import ANYONE, LabelExpr, PeerExpr
from bpfence.ir.legality import check_program
from bpfence.ir.nodes import Action, Direction, L4Match, Layer, Origin, Program, Rule, Tier
from bpfence.passes import PASSES, run_passes
from bpfence.passes.merge_alternatives import merge_alternatives
from bpfence.passes.simplify_expressions import simplify_labels, simplify_peer
from bpfence.source.spans import Span
from support.ir_oracle import Labels, Packet, Place, decide, matches, means, selects
from support.ir_strategies import l4_alternatives, label_exprs, peer_exprs, programs
from support.ir_worlds import objects, packets, places

Pass = Callable[[Program], Program]

each_pass = pytest.mark.parametrize("run_pass", [*PASSES, run_passes], ids=lambda function: function.__name__)
some_objects = st.lists(objects, min_size=1, max_size=6)
some_places = st.lists(places, min_size=1, max_size=6)
some_packets = st.lists(packets(), min_size=4, max_size=16)
connections = st.tuples(objects, places, places, packets(), st.sampled_from(Direction))


@given(label_exprs(), some_objects)
def test_simple_labels_select_the_same_objects(expr: LabelExpr, candidates: list[Labels]) -> None:
    simple = simplify_labels(expr)
    assert [selects(simple, item) for item in candidates] == [selects(expr, item) for item in candidates]
    assert simplify_labels(simple) == simple


@given(peer_exprs(), some_places)
def test_simple_peers_mean_the_same_addresses(expr: PeerExpr, candidates: list[Place]) -> None:
    simple = simplify_peer(expr)
    assert [means(simple, item) for item in candidates] == [means(expr, item) for item in candidates]
    assert simplify_peer(simple) == simple


@given(l4_alternatives(), some_packets)
def test_merged_alternatives_match_the_same_packets(l4: tuple[L4Match, ...], sample: list[Packet]) -> None:
    merged = _merge(l4)
    assert [matches(merged, packet) for packet in sample] == [matches(l4, packet) for packet in sample]
    assert _merge(merged) == merged
    assert len(merged) <= len(l4)


@each_pass
@settings(max_examples=40, deadline=None)
@given(program=programs(), asked=st.lists(connections, min_size=2, max_size=6))
def test_verdicts_and_their_origins_stay(
    run_pass: Pass, program: Program, asked: list[tuple[Labels, Place, Place, Packet, Direction]]
) -> None:
    after = run_pass(program)
    check_program(after)
    assert [decide(after, *connection) for connection in asked] == [
        decide(program, *connection) for connection in asked
    ]
    assert run_pass(after) is after


def _merge(l4: tuple[L4Match, ...]) -> tuple[L4Match, ...]:
    origin = Origin("NetworkPolicy a/b", "spec", Span("a.yaml", 1, 1, 1, 1))
    tier = Tier("default", 0.0, Action.DENY, (), exempt_ingress=(Rule(Action.ALLOW, ANYONE, l4, origin),))
    return merge_alternatives(Program((Layer("kubernetes", (tier,)),))).layers[0].tiers[0].exempt_ingress[0].l4
