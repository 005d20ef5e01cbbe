"""The transaction's promises beside failures and kills: signals, rollback as a flip, damaged or missing files, pins and
namespaces, and what `unload` leaves.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from bpfence.cli import run
from bpfence.demo.traffic import send_flows
from bpfence.errors import KernelError
from bpfence.loader import bpffs as bpffs_module
from bpfence.loader import standby, transaction
from bpfence.loader.history import rollback
from bpfence.loader.mounts import holds_bpf
from bpfence.loader.namespaces import NetworkNamespace, enter_private_mounts
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import Node, NodePaths
from bpfence.loader.status import read_status
from bpfence.loader.transaction import ApplyReport, ApplySettings, apply
from bpfence.loader.unload import unload
from support.netns import (
    PODS,
    NodeUnderTest,
    allow_ingress,
    die,
    generation,
    hooks,
    killed_during,
    node_under_test,
    tcp,
)
from support.object_cache import keep_objects

pytestmark = pytest.mark.kernel

WEB, CART = allow_ingress("db", "db", "web"), allow_ingress("db", "db", "cart")
FLOWS = (tcp("shop/web", "shop/db"), tcp("shop/cart", "shop/db"))
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def node(bpffs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeUnderTest]:
    keep_objects(monkeypatch)
    with node_under_test(bpffs, tmp_path) as made:
        monkeypatch.setenv("BPFENCE_STATE", str(made.paths.state))
        monkeypatch.setenv("BPFENCE_BPFFS", str(made.paths.bpffs))
        yield made
        unload(made.paths, force=True)


def answers(node: NodeUnderTest, expected: tuple[bool, ...]) -> None:
    assert send_flows(node.world, FLOWS, 0.2, expected) == expected


def test_packets_of_the_generation_before_have_their_time(node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    artefacts = [node.compile(WEB), node.compile(CART)]
    for artefact in artefacts:
        node.apply(artefact)
    monkeypatch.setattr(standby, "GRACE_SECONDS", 0.5)
    withdrawn, withdraw = [], Node.withdraw_standby

    def noted(self: Node) -> int:
        withdrawn.append(time.clock_gettime(time.CLOCK_BOOTTIME))
        return withdraw(self)

    monkeypatch.setattr(Node, "withdraw_standby", noted)
    committed = node.paths.folder.read().committed
    node.apply(artefacts[0])
    assert withdrawn[0] - committed >= 0.5


def then(step: Callable[..., Any], number: int) -> Callable[..., Any]:
    """The step, in the middle of which the process gets a signal."""

    def signalled(*arguments: Any, **options: Any) -> Any:
        result = step(*arguments, **options)
        os.kill(os.getpid(), number)
        return result

    return signalled


def exit_code(work: Callable[[], int]) -> int:
    """Of a child process; negative: the signal that ended it."""
    child = os.fork()
    if child == 0:
        os._exit(work())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(
    ("step", "number"),
    [(step, signal.SIGTERM) for step in ("discover", "stage", "prove", "attach_dispatchers")]
    + [("prove", number) for number in ENDING if number != signal.SIGTERM],
)
def test_a_signal_before_the_commit_undoes_everything(
    node: NodeUnderTest, step: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for policy in (CART, WEB):
        node.apply(node.compile(policy))
    node.compile(CART)
    before = node.snapshot()
    with monkeypatch.context() as patch:
        patch.setattr(transaction, step, then(getattr(transaction, step), number))
        assert exit_code(lambda: run(["apply", str(node.folder / "input.yaml")])) == 130
    assert node.snapshot() == before


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_after_the_commit_comes_too_late(
    node: NodeUnderTest, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.apply(node.compile(WEB))
    node.compile(CART)
    with monkeypatch.context() as patch:
        patch.setattr(transaction, "detach_dispatchers", then(transaction.detach_dispatchers, number))
        assert exit_code(lambda: run(["apply", str(node.folder / "input.yaml")])) == 0
    assert generation(node) == 2
    assert not read_status(node.paths).drift
    answers(node, (False, True))


@pytest.mark.parametrize("step", ["store", "tidying up"])
def test_an_exception_after_the_commit_undoes_nothing(
    node: NodeUnderTest, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for policy in (CART, WEB):
        node.apply(node.compile(policy))
    owner: Any = Node if step == "store" else transaction
    name = "set_active" if step == "store" else "detach_dispatchers"
    kept = getattr(owner, name)

    def interrupted(*arguments: Any, **options: Any) -> Any:
        kept(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            node.apply(node.compile(CART))
    assert generation(node) == 3
    assert not read_status(node.paths).drift
    answers(node, (False, True))
    assert node.apply(node.compile(WEB)).generation == 4
    answers(node, (True, False))


def test_rollback_is_a_flip(node: NodeUnderTest) -> None:
    """The standby slot holds what is gone back to: nothing is written, and everything is proved."""
    for policy in (WEB, CART):
        node.apply(node.compile(policy))
    before = node.snapshot()
    report = rollback(ApplySettings(node.paths))
    assert isinstance(report, ApplyReport)
    assert (report.table_bytes, report.programs_loaded, report.shape_reused) == (0, 0, True)
    assert sum(report.probes.values()) > 10
    after = node.snapshot()
    for number in (0, 1):
        assert after[f"programs {number}"] == before[f"programs {number}"]
    answers(node, (True, False))


@pytest.mark.parametrize("file", ["tables/cells.bin", "manifest.json", "programs/workload.c", "ir.txt"])
def test_a_damaged_artefact_is_not_gone_back_to(
    node: NodeUnderTest, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for policy in (WEB, CART):
        node.apply(node.compile(policy))
    place = node.paths.folder.generation(1) / file
    if not place.exists():
        place = next((node.paths.folder.generation(1) / "programs").glob("*.c"))
    if file == "ir.txt":
        place.unlink()
    else:
        content = bytearray(place.read_bytes())
        content[len(content) // 2] ^= 1
        place.write_bytes(content)
    before = node.snapshot()
    assert run(["rollback"]) == 3
    assert "generation 1 on disk is damaged" in capsys.readouterr().err
    assert node.snapshot() == before


def test_the_history_is_read_under_the_lock(node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another apply comes in between: what is gone back to is what was before that one."""
    node.apply(node.compile(WEB))
    node.apply(node.compile(CART))
    none = node.compile(allow_ingress("db", "db"))
    from bpfence.loader import history

    kept = history.locked_folder

    def late(*arguments: Any, **options: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(history, "locked_folder", kept)
            node.apply(none)
        return kept(*arguments, **options)

    monkeypatch.setattr(history, "locked_folder", late)
    report = rollback(ApplySettings(node.paths))
    assert isinstance(report, ApplyReport)
    assert report.before == 3
    answers(node, (False, True))


def test_a_pod_more_or_less_touches_only_its_interface(node: NodeUnderTest) -> None:
    two = {name: PODS[name] for name in ("shop/web", "shop/db")}
    for policy in (CART, WEB):
        node.apply(node.compile(policy, pods=two))
    before = hooks()
    report = node.apply(node.compile(WEB))
    assert report.programs_loaded == 0
    assert report.attached == ("pod3 (shop/cart)",)
    assert [item for item in hooks() if item in before] == before
    report = node.apply(node.compile(WEB, pods=two))
    assert report.programs_loaded == 0
    assert report.detached == ("pod3",)
    assert hooks() == before


def test_interfaces_that_went_are_forgotten(node: NodeUnderTest) -> None:
    node.apply(node.compile(WEB))
    with Netlink() as netlink:
        gone = next(link.index for link in netlink.links() if link.name == "pod3")
    assert gone in node.paths.folder.read().qdiscs
    with IPRoute() as ip:
        ip.link("del", index=gone)
    node.apply(node.compile(WEB))
    assert gone not in node.paths.folder.read().qdiscs


def test_a_damaged_node_file_is_refused_until_unload_force(
    node: NodeUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = hooks()
    node.apply(node.compile(WEB))
    before = hooks()
    (node.paths.state / "node.json").write_text('{"last_generation": "many"}')
    for arguments in (["apply", str(node.folder / "input.yaml")], ["rollback"], ["confirm"], ["history"], ["unload"]):
        capsys.readouterr()
        assert run(arguments) == 3, arguments
        said = capsys.readouterr().err
        assert "node.json is damaged" in said
        assert "unload --force" in said
    assert hooks() == before
    answers(node, (True, False))
    assert run(["unload", "--force"]) == 0
    assert hooks() == empty
    assert not node.paths.state.exists()
    assert not node.paths.bpffs.exists()


def test_a_damaged_node_file_of_nothing_is_no_matter(node: NodeUnderTest) -> None:
    """After the machine was started anew the pins are gone; the file describes nothing."""
    node.paths.state.mkdir(mode=0o700)
    (node.paths.state / "node.json").write_text("")
    assert node.apply(node.compile(WEB)).generation == 1
    assert run(["unload"]) == 0
    assert not node.paths.state.exists()


def test_without_the_node_file_history_begins_anew(node: NodeUnderTest) -> None:
    for policy in (WEB, CART):
        node.apply(node.compile(policy))
    (node.paths.state / "node.json").unlink()
    with pytest.raises(KernelError, match="no earlier generation is known"):
        rollback(ApplySettings(node.paths))
    assert node.apply(node.compile(WEB)).generation == 3
    assert node.paths.folder.read().network == os.stat("/proc/thread-self/ns/net").st_ino
    answers(node, (True, False))


def test_without_the_node_file_another_namespace_is_not_taken_for_ours(node: NodeUnderTest) -> None:
    artefact = node.compile(WEB)
    node.apply(artefact)
    (node.paths.state / "node.json").unlink()
    elsewhere = NetworkNamespace.create()
    with elsewhere.inside(), pytest.raises(KernelError, match="they may serve another network namespace"):
        node.apply(artefact)
    elsewhere.close()
    answers(node, (True, False))


def test_what_a_namespace_left_behind_goes_by_force(node: NodeUnderTest) -> None:
    artefact = node.compile(WEB)
    elsewhere = NetworkNamespace.create()
    paths = NodePaths(node.paths.bpffs.with_name(node.paths.bpffs.name + "-gone"), node.folder / "gone")
    with elsewhere.inside():
        apply(artefact, ApplySettings(paths))
    elsewhere.close()
    with pytest.raises(KernelError, match="unload --force"):
        unload(paths)
    assert paths.state.exists()
    unload(paths, force=True)
    assert not paths.state.exists()
    assert not paths.bpffs.exists()


def test_filters_whose_pins_are_lost(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    """The kernel empties a program array that nobody holds any more, so nothing passes; nobody touches the dispatchers
    but `unload --force`.
    """
    empty = hooks()
    node.apply(node.compile(WEB))
    standing = hooks()
    shutil.rmtree(node.paths.bpffs)
    deadline = time.monotonic() + 10
    while send_flows(node.world, FLOWS, 0.2, (False, False)) != (False, False):
        assert time.monotonic() < deadline
    for arguments in (
        ["apply", str(node.folder / "input.yaml")],
        ["apply", str(node.folder / "input.yaml"), "--force"],
    ):
        capsys.readouterr()
        assert run(arguments) == 3
        assert "bpfence unload --force" in capsys.readouterr().err
    assert run(["rollback"]) == 3
    capsys.readouterr()
    assert run(["status"]) == 1
    assert "pod1: dispatchers of another bpfence, or of lost pins" in capsys.readouterr().out
    assert hooks() == standing
    assert run(["unload", "--force"]) == 0
    assert hooks() == empty
    assert run(["apply", str(node.folder / "input.yaml")]) == 0


def test_a_kill_after_mounting_does_not_lose_the_mount(node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In mounts of its own: the process mounts a bpf file system and dies; the next one knows that it was bpfence's."""
    point = node.folder / "bpf"
    point.mkdir()
    paths = NodePaths(point / "bpfence", node.folder / "mounted")
    artefact = node.compile(WEB)

    def story() -> int:
        enter_private_mounts()
        with monkeypatch.context() as patch:
            patch.setattr(bpffs_module, "remove_pins", die)
            assert killed_during(lambda: apply(artefact, ApplySettings(paths))) == 9
        assert holds_bpf(paths.bpffs)
        apply(artefact, ApplySettings(paths))
        assert json.loads((paths.state / "node.json").read_text())["mounted"] == str(point)
        unload(paths)
        return int(holds_bpf(paths.bpffs) or paths.state.exists())

    assert exit_code(story) == 0


def test_unload_leaves_the_machine_as_it_was(node: NodeUnderTest) -> None:
    """After first apply, changes, a rollback, pods that come and go, and a foreign clsact."""
    with IPRoute() as ip, Netlink() as netlink:
        ip.tc("add", "clsact", next(link.index for link in netlink.links() if link.name == "pod2"))
    before = node.snapshot()
    parts = {path for folder in (node.paths.state, node.paths.bpffs) for path in folder.parent.iterdir()}
    node.apply(node.compile(WEB, pods={name: PODS[name] for name in ("shop/web", "shop/db")}))
    node.apply(node.compile(CART))
    rollback(ApplySettings(node.paths))
    node.apply(node.compile(CART), dry_run=True)
    unload(node.paths)
    (node.folder / "input.yaml").unlink()
    assert node.snapshot() == before
    assert {path for folder in (node.paths.state, node.paths.bpffs) for path in folder.parent.iterdir()} == parts
    answers(node, (True, True))
