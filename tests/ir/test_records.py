"""Programs survive the way to JSON and back as they are."""

from __future__ import annotations

import json
from ipaddress import ip_network
from pathlib import Path

import pytest

from bpfence.diagnostics import Diagnostic, Severity
from bpfence.ir.expressions import ANYONE, InPrefixes, LabelOperator, LabelTest, OnOwnNode, PeerNot
from bpfence.ir.nodes import (
    ANY_L4,
    Action,
    L4Match,
    Layer,
    NamedPort,
    Origin,
    Point,
    Policy,
    Program,
    Rule,
    Section,
    Tier,
)
from bpfence.ir.records import from_records, to_records
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import analyse
from bpfence.source.spans import Span

SPAN = Span("policies/web.yaml", 3, 1, 9, 2, "web.yaml")
ORIGIN = Origin("NetworkPolicy shop/web", "spec", SPAN)
POLICIES = Path(__file__).parents[2] / "policies"


def copy(value: object) -> object:
    return from_records(json.loads(json.dumps(to_records(value))))


def program() -> Program:
    peers = PeerNot(InPrefixes((ip_network("10.0.0.0/8"), ip_network("fd00::/8"))))
    l4 = L4Match(protocols=((6, 6),), named_ports=(NamedPort("http", 6, "destination"),))
    rules = (Rule(Action.DENY, peers, (l4,), ORIGIN), Rule(Action.ALLOW, OnOwnNode(), ANY_L4, ORIGIN, ANYONE))
    subject = LabelTest(("label:app",), LabelOperator.IN, ("web",))
    policy = Policy("web", subject, Section(rules, True, ORIGIN), None, ORIGIN, (1.0, "a"))
    return Program((Layer("calico", (Tier("default", float("-inf"), Action.DENY, (policy,)),), point=Point.FORWARD),))


def test_a_program_comes_back_as_it_was() -> None:
    before = program()
    after = copy(before)
    assert after == before
    assert repr(after) == repr(before)


def test_equal_values_of_different_types_stay_apart() -> None:
    before = (1, 1.0, True, "1", None, (0, False), (0.0, 0))
    assert repr(copy((before, before))) == repr((before, before))


def test_messages_come_back_as_they_were() -> None:
    before = (Diagnostic("CAL001", Severity.NOTE, "so", SPAN, "do", "NetworkPolicy a/b"),)
    assert copy(before) == before
    assert isinstance(copy(before)[0].severity, Severity)  # type: ignore[index]


def test_a_value_without_a_form_is_refused() -> None:
    with pytest.raises(TypeError, match="dict has no record"):
        to_records(({},))


@pytest.mark.parametrize("data", [{}, {"types": ["os"], "nodes": [[0]]}, {"types": ["tuple"], "nodes": [[0, [7]]]}])
def test_what_was_not_made_here_is_refused(data: dict[str, object]) -> None:
    with pytest.raises((KeyError, IndexError, TypeError, ValueError)):
        from_records(data)


@pytest.mark.parametrize("folder", ["kubernetes", "cilium", "calico"])
def test_the_programs_of_the_samples_come_back(folder: str) -> None:
    options = Options()
    before = analyse(load_input([str(POLICIES / folder)], options), options).program
    after = copy(before)
    assert after == before
    assert repr(after) == repr(before)
