"""`history` and `rollback` as users call them."""

from __future__ import annotations

import json

import pytest

from bpfence.cli import run
from bpfence.loader.state import GenerationRecord
from support.netns import NodeUnderTest, allow_ingress

pytestmark = pytest.mark.kernel

WEB, CART = allow_ingress("db", "db", "web"), allow_ingress("db", "db", "cart")


def history(capsys: pytest.CaptureFixture[str]) -> list[tuple[int, int, bool]]:
    """(number, repeats, in force), newest first."""
    capsys.readouterr()
    assert run(["history", "-o", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)["generations"]
    return [(one["number"], one["repeats"], one["in_force"]) for one in listed]


def contents(node: NodeUnderTest) -> dict[int, str]:
    return {one.number: one.content for one in node.paths.folder.read().generations}


def test_nothing_in_force_has_no_history(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    assert history(capsys) == []
    assert run(["rollback"]) == 3
    assert "nothing is in force" in capsys.readouterr().err


def test_back_and_forth(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    assert run(["rollback"]) == 3
    assert "no earlier generation is known" in capsys.readouterr().err
    node.apply(node.compile(CART))
    assert history(capsys) == [(2, 0, True), (1, 0, False)]
    assert run(["rollback"]) == 0
    assert "brought generation 3 into force (after generation 2)" in capsys.readouterr().out
    assert history(capsys) == [(3, 1, True), (2, 0, False), (1, 0, False)]
    assert contents(node)[3] == contents(node)[1]
    assert run(["status"]) == 0
    assert run(["rollback", "2", "-o", "json"]) == 0
    assert history(capsys)[0] == (4, 2, True)
    assert contents(node)[4] == contents(node)[2]


def test_a_dry_run_changes_nothing(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    node.apply(node.compile(CART))
    before = history(capsys)
    assert run(["rollback", "--dry-run"]) == 0
    assert "dry run: would bring generation 3 into force" in capsys.readouterr().out
    assert history(capsys) == before


def test_what_is_not_there_is_refused(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    node.apply(node.compile(CART))
    assert run(["rollback", "7"]) == 3
    assert "generation 7 is not one to go to; there are: 1" in capsys.readouterr().err
    node.paths.folder.forget(1)
    assert run(["rollback"]) == 3
    assert "no longer on disk" in capsys.readouterr().err


def test_a_generation_that_died_before_its_commit_is_none(
    node: NodeUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    node.apply(node.compile(WEB))
    state = node.paths.folder.read()
    dead = GenerationRecord(number=2, since=0.0, content="", shape="", slot=1)
    node.paths.folder.write(state.model_copy(update={"last_generation": 2, "generations": (*state.generations, dead)}))
    assert history(capsys) == [(1, 0, True)]
    node.apply(node.compile(CART))
    assert history(capsys) == [(3, 0, True), (1, 0, False)]
