"""Failures and crashes at every step: the old or the new generation is wholly in force, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bpfence.demo.traffic import send_flows
from bpfence.errors import BpfenceError, KernelError
from bpfence.loader import prove, ready, stage, transaction
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import Node, Slot
from bpfence.loader.status import read_status
from bpfence.loader.unload import unload
from support.netns import PODS, NodeUnderTest, allow_ingress, die, killed_during, node_under_test, tcp

pytestmark = pytest.mark.kernel

WEB_TO_DB = allow_ingress("db", "db", "web")
CART_TO_DB = allow_ingress("db", "db", "cart")
OTHER_SHAPE = (
    "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: codes, namespace: shop}\n"
    "spec: {selector: app == 'web', types: [Ingress],\n"
    "  ingress: [{action: Allow, protocol: ICMP, icmp: {type: 8, code: 0}}]}"
)
TWO_PODS = {name: PODS[name] for name in ("shop/web", "shop/db")}
FLOWS = (tcp("shop/web", "shop/db"), tcp("shop/cart", "shop/db"))

STEPS: dict[str, tuple[Any, str]] = {
    "table write": (stage, "write_array"),
    "proof": (transaction, "prove"),
    "dispatcher": (Netlink, "add_filter"),
    "artefact on disk": (ready, "write_artefact"),
    "generation of the slot": (Slot, "set_generation"),
    "commit": (Node, "set_active"),
    "tidying up": (transaction, "detach_dispatchers"),
}


@pytest.fixture(scope="module")
def node(bpffs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeUnderTest]:
    """A node with generations in both slots; tests bring it back to web -> db."""
    with node_under_test(bpffs, tmp_path_factory.mktemp("failures")) as made:
        for policy in (CART_TO_DB, WEB_TO_DB):
            made.apply(made.compile(policy, pods=TWO_PODS))
        yield made
        unload(made.paths, force=True)


@pytest.fixture
def serving(node: NodeUnderTest) -> NodeUnderTest:
    """web -> db in force on two pods; the third has no dispatcher."""
    node.apply(node.compile(WEB_TO_DB, pods=TWO_PODS))
    return node


def fail(*_: object, **__: object) -> None:
    raise KernelError("the kernel said no")


@pytest.mark.parametrize("step", [name for name in STEPS if name != "tidying up"])
def test_failure_changes_nothing(serving: NodeUnderTest, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    artefact = serving.compile(CART_TO_DB)
    before = serving.snapshot()
    owner, name = STEPS[step]
    kept = getattr(owner, name)
    calls = []

    failing = 2 if step in ("table write", "dispatcher") else 1

    def fails_once(*arguments: Any, **options: Any) -> Any:
        # in the middle of a step that is taken several times; the undo may take it again
        calls.append(name)
        return fail() if len(calls) == failing else kept(*arguments, **options)

    monkeypatch.setattr(owner, name, fails_once)
    with pytest.raises(KernelError, match="said no"):
        serving.apply(artefact)
    assert serving.snapshot() == before
    assert send_flows(serving.world, FLOWS, 0.2, (True, False)) == (True, False)


def test_failure_with_another_shape_keeps_the_standby_slot(
    serving: NodeUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = serving.snapshot()
    monkeypatch.setattr(transaction, "prove", fail)
    with pytest.raises(KernelError):
        serving.apply(serving.compile(OTHER_SHAPE))
    assert serving.snapshot() == before


def test_wrong_verdict_stops_the_transaction(serving: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    before = serving.snapshot()
    monkeypatch.setattr(prove, "TC_DROP", -1)
    with pytest.raises(KernelError, match="the proof failed"):
        serving.apply(serving.compile(CART_TO_DB))
    assert serving.snapshot() == before


def test_failure_after_the_commit_is_told_not_undone(serving: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "detach_dispatchers", fail)
    report = serving.apply(serving.compile(CART_TO_DB))
    assert any("tidying up failed" in warning for warning in report.warnings)
    assert send_flows(serving.world, FLOWS, 0.2, (False, True)) == (False, True)


@pytest.mark.parametrize("step", STEPS)
def test_kill_leaves_the_old_or_the_new_generation(
    serving: NodeUnderTest, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = read_status(serving.paths)
    owner, name = STEPS[step]
    # a second policy, different each time, so that no slot holds these very tables already
    artefact = serving.compile(CART_TO_DB, allow_ingress("cart", "cart", "web", port=1000 + list(STEPS).index(step)))
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, die)
        assert killed_during(lambda: serving.apply(artefact)) == 9
    now = read_status(serving.paths)
    expected = (False, True) if step == "tidying up" else (True, False)
    assert send_flows(serving.world, FLOWS, 0.2, expected) == expected
    assert (now.generation == old.generation) == (step != "tidying up")
    assert not [line for line in now.drift if "table" in line]
    report = serving.apply(serving.compile(WEB_TO_DB))
    assert report.generation > now.generation
    assert not read_status(serving.paths).drift
    assert send_flows(serving.world, FLOWS, 0.2, (True, False)) == (True, False)


def test_kill_while_programs_are_exchanged(serving: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stage, "_set_programs", die)
        assert killed_during(lambda: serving.apply(serving.compile(OTHER_SHAPE))) == 9
    assert send_flows(serving.world, FLOWS, 0.2, (True, False)) == (True, False)
    serving.apply(serving.compile(CART_TO_DB, pods=TWO_PODS))
    assert not read_status(serving.paths).drift
    assert not list(serving.paths.bpffs.glob("staging*"))
    assert not list(serving.paths.bpffs.glob("retired*"))


def test_damaged_artefact_is_refused(serving: NodeUnderTest) -> None:
    artefact = serving.compile(CART_TO_DB)
    artefact.tables["cells"] = bytes(len(artefact.tables["cells"]))
    before = serving.snapshot()
    with pytest.raises(BpfenceError, match="cells"):
        serving.apply(artefact)
    assert serving.snapshot() == before
