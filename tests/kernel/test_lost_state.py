"""node.json lost while something is in force: what fails then takes nothing more away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfence.cli import run
from bpfence.demo.traffic import send_flows
from bpfence.errors import KernelError
from bpfence.loader import transaction
from bpfence.loader.node import active_word
from bpfence.loader.unload import unload
from support.netns import NodeUnderTest, allow_ingress, node_under_test, tcp
from support.object_cache import keep_objects

pytestmark = pytest.mark.kernel

WEB, CART = allow_ingress("db", "db", "web"), allow_ingress("db", "db", "cart")
FLOWS = (tcp("shop/web", "shop/db"), tcp("shop/cart", "shop/db"))


@pytest.fixture
def node(bpffs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeUnderTest]:
    keep_objects(monkeypatch)
    with node_under_test(bpffs, tmp_path) as made:
        monkeypatch.setenv("BPFENCE_STATE", str(made.paths.state))
        monkeypatch.setenv("BPFENCE_BPFFS", str(made.paths.bpffs))
        yield made
        unload(made.paths, force=True)


def refuse(*_: object, **__: object) -> None:
    raise KernelError("no")


def test_commands_that_fail_leave_the_artefacts(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for policy in (WEB, CART):
        node.apply(node.compile(policy))
    path = str(node.folder / "input.yaml")
    (node.paths.state / "node.json").unlink()
    for command in (["confirm"], ["rollback"], ["apply", path]):
        with monkeypatch.context() as patch:
            patch.setattr(transaction, "prove", refuse)
            assert run(command) == 3
        assert active_word(node.paths).generation == 2
        assert 2 in node.paths.folder.kept()
    assert run(["apply", path, "--dry-run"]) == 0
    assert 2 in node.paths.folder.kept()
    capsys.readouterr()
    # and it goes on from there
    assert run(["apply", path]) == 0
    assert send_flows(node.world, FLOWS, 0.2, (False, True)) == (False, True)
    assert active_word(node.paths).generation == 3


def test_a_first_apply_that_fails_leaves_no_folder(node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    before = node.snapshot()
    with monkeypatch.context() as patch:
        patch.setattr(transaction, "prove", refuse)
        with pytest.raises(KernelError):
            node.apply(node.compile(WEB))
    assert not node.paths.state.exists()
    assert node.snapshot() == before


def test_a_first_apply_that_fails_over_a_damaged_node_json_leaves_no_folder(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is loaded: the machine was started anew, and what its state folder had is worth nothing."""
    node.paths.folder.ensure()
    (node.paths.state / "node.json").write_text("{")
    node.paths.folder.generation(4).mkdir()
    artefact = node.compile(WEB)
    with monkeypatch.context() as patch:
        patch.setattr(transaction, "refuse_conflicts", refuse)
        with pytest.raises(KernelError):
            node.apply(artefact)
    assert not node.paths.state.exists()
