"""`bpfence watch` beside other commands: what somebody brings into force by hand, confirms or takes back stays."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfence.cli import run
from bpfence.demo.traffic import send_flows
from bpfence.emit.artefact import Artefact
from bpfence.loader import node as node_module
from bpfence.loader.in_force import NoLongerInForce
from bpfence.loader.kept import kept_manifest
from bpfence.loader.lock import node_lock
from bpfence.loader.pending import AwaitsConfirmation
from bpfence.loader.status import read_status
from bpfence.loader.transaction import ApplyReport, ApplySettings, refresh, transact
from bpfence.loader.unload import unload, unload_locked
from bpfence.loader.watch import Outlet, Watch, WatchSettings
from bpfence.timing import Stopwatch
from support.netns import PODS, NodeUnderTest, allow_ingress, eventually, generation
from support.timers import timers
from support.watching import (
    CART,
    FLOWS,
    LATER,
    WEB,
    RunningWatch,
    begin_with_web,
    pod_interface,
    poke,
    watched_node,
    watching,
)

pytestmark = pytest.mark.kernel

NOBODY = allow_ingress("db", "db")
BY_HAND = "another command has brought generation"
DROPPED = "they are not applied until they change again"


@pytest.fixture(scope="module")
def shared_node(bpffs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeUnderTest]:
    with watched_node(bpffs, tmp_path_factory.mktemp("others")) as made:
        yield made


@pytest.fixture
def node(shared_node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> NodeUnderTest:
    return begin_with_web(shared_node, monkeypatch)


def compiled(node: NodeUnderTest, policy: str) -> Artefact:
    return node.compile(policy, pods={**PODS, **LATER})


def by_hand(node: NodeUnderTest, artefact: Artefact, confirm_within: float = 0.0) -> ApplyReport:
    """The transaction alone, for a test that holds the lock."""
    return transact(artefact, ApplySettings(node.paths, confirm_within=confirm_within, by="somebody"), Stopwatch())


def pending(node: NodeUnderTest, policy: str, within: str) -> None:
    """In force until somebody confirms it, or the timer has rung."""
    compiled(node, policy)
    assert run(["apply", str(node.folder / "input.yaml"), "--confirm-within", within]) == 0


def kill_timers() -> None:
    for process in timers():
        os.kill(process, signal.SIGKILL)


def in_force(node: NodeUnderTest) -> str:
    """The content in force, after a look at all that the node remembers: files are those of their records."""
    for number in node.paths.folder.kept():
        record, manifest = node.paths.folder.read().record(number), kept_manifest(node.paths.folder, number)
        assert record is not None
        assert manifest is not None
        assert record.content == manifest.content, f"generation {number} has the files of another"
    record = node.paths.folder.read().record(generation(node))
    assert record is not None
    return record.content


def settled(watch: RunningWatch) -> None:
    """It has had the time to do something wrong."""
    assert watch.silent(1.5), watch.buffer


def test_what_is_committed_while_it_waits_for_the_lock_stays(node: NodeUnderTest, tmp_path: Path) -> None:
    cart = compiled(node, CART)
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        time.sleep(0.3)
        with node_lock(node.paths.state, 5):
            poke()
            time.sleep(0.3)
            report = by_hand(node, cart)
        settled(watch)
        assert generation(node) == report.generation
        assert in_force(node) == cart.manifest.content
        assert send_flows(node.world, FLOWS, 0.2, (False, True)) == (False, True)
        assert watch.errors().count(f"{BY_HAND} {report.generation}") == 1
        assert "error" not in watch.errors()
        with pod_interface(1):
            assert watch.next()["attached"] == ["later1 (shop/later1)"]
            assert in_force(node) == cart.manifest.content
        watch.next()


def test_what_is_taken_off_while_it_waits_for_the_lock_stays_off(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        time.sleep(0.3)
        with node_lock(node.paths.state, 5):
            poke()
            time.sleep(0.3)
            unload_locked(node.paths)
        settled(watch)
        assert generation(node) == 0
        assert not node.paths.bpffs.exists()
        assert "nothing is in force any more" in watch.errors()


def test_hand_and_interfaces_at_the_same_time(node: NodeUnderTest, tmp_path: Path) -> None:
    artefacts = [compiled(node, CART), compiled(node, NOBODY)]
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        for turn in range(6):
            artefact = artefacts[turn % 2]
            with pod_interface(2):
                node.apply(artefact) if turn % 3 else run(["rollback"])
                wanted = in_force(node)
            time.sleep(0.4)
            assert in_force(node) == wanted
            assert turn % 3 == 0 or wanted == artefact.manifest.content


def test_an_overdue_generation_goes_once_and_for_all(node: NodeUnderTest, tmp_path: Path) -> None:
    before = in_force(node)
    with watching(node, tmp_path, WEB) as watch:
        first = watch.next()["generation"]
        before = in_force(node)
        time.sleep(0.3)
        pending(node, CART, "1s")
        kill_timers()
        poke()
        eventually(lambda: generation(node) > first + 1, 10)
        settled(watch)
        assert generation(node) == first + 2
        assert in_force(node) == before
        assert node.paths.folder.read().pending is None
        assert send_flows(node.world, FLOWS, 0.2, (True, False)) == (True, False)
        assert watch.errors().count(f"generation {first + 1} was not confirmed in time and has been taken back") == 1


def test_the_timer_and_the_watch_at_the_same_time(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        before = in_force(node)
        for _ in range(3):
            pending(node, CART, "800ms")
            wanted = generation(node) + 1
            end = time.monotonic() + 1.6
            while time.monotonic() < end:
                poke()
                time.sleep(0.02)
            eventually(lambda wanted=wanted: generation(node) >= wanted)  # type: ignore[misc]
            settled(watch)
            assert generation(node) == wanted
            assert in_force(node) == before


def test_refreshing_takes_nothing_back_and_brings_nothing_back(node: NodeUnderTest) -> None:
    web, cart = compiled(node, WEB), compiled(node, CART)
    settings = ApplySettings(node.paths)
    with pytest.raises(NoLongerInForce):
        refresh(cart, settings)
    pending(node, CART, "300ms")
    kill_timers()
    time.sleep(0.4)
    before = node.snapshot()
    for artefact in (web, cart):
        with pytest.raises(AwaitsConfirmation):
            refresh(artefact, settings)
    assert node.snapshot() == before
    assert run(["confirm"]) == 3


def test_changed_files_do_not_replace_what_came_later(node: NodeUnderTest, tmp_path: Path) -> None:
    """Somebody decides while the files are compiled, or wait for the lock: that stays until they change again."""
    nobody = compiled(node, NOBODY)
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        with node_lock(node.paths.state, 5):
            watch.write(CART)
            time.sleep(0.9)  # it is compiled by now
            report = by_hand(node, nobody)
        eventually(lambda: f"{BY_HAND} {report.generation}" in watch.errors())
        settled(watch)
        assert generation(node) == report.generation
        assert watch.errors().count(DROPPED) == 1
        watch.process.send_signal(signal.SIGHUP)
        assert watch.next()["before"] == report.generation
        assert send_flows(node.world, FLOWS, 0.2, (False, True)) == (False, True)


def test_files_that_somebody_applies_by_hand_too_are_fine(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        watch.write(CART)
        assert run(["apply", str(watch.folder), "-o", "json"]) == 0
        time.sleep(2)
        assert DROPPED not in watch.errors()
        assert "error" not in watch.errors()
        assert send_flows(node.world, FLOWS, 0.2, (False, True)) == (False, True)


@pytest.mark.parametrize("confirmed", [True, False])
def test_files_that_change_before_somebody_tries_something(
    node: NodeUnderTest, tmp_path: Path, confirmed: bool
) -> None:
    """Confirmed, it is the later decision. Taken back, nothing has been decided, and the files are applied."""
    nobody = compiled(node, NOBODY)
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        with node_lock(node.paths.state, 5):
            watch.write(CART)
            time.sleep(0.9)
            report = by_hand(node, nobody, confirm_within=60)
        eventually(lambda: "waits for its confirmation" in watch.errors())
        assert generation(node) == report.generation
        assert run(["confirm" if confirmed else "rollback"]) == 0
        if not confirmed:
            assert watch.next()["generation"] == report.generation + 2
            assert send_flows(node.world, FLOWS, 0.2, (False, True)) == (False, True)
            assert DROPPED not in watch.errors()
            return
        eventually(lambda: DROPPED in watch.errors())
        settled(watch)
        assert in_force(node) == nobody.manifest.content


@pytest.mark.parametrize("end", ["confirm", "rollback"])
def test_files_that_change_while_somebody_tries_something(node: NodeUnderTest, tmp_path: Path, end: str) -> None:
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        pending(node, NOBODY, "1m")
        watch.write(CART)
        eventually(lambda: "waits for its confirmation" in watch.errors())
        assert run([end]) == 0
        watch.next()
        assert send_flows(node.world, FLOWS, 0.2, (False, True)) == (False, True)
        assert DROPPED not in watch.errors()


def test_a_confirmation_that_is_waited_for_is_told_once(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        for turn in (1, 2):
            pending(node, CART if turn == 1 else NOBODY, "1m")
            poke()
            time.sleep(2.5)
            assert watch.errors().count("waits for its confirmation") == turn
            assert run(["confirm"]) == 0
            time.sleep(0.7)
        assert watch.errors().count(BY_HAND) == 2


def test_a_watch_without_node_json_goes_on(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        first = watch.next()["generation"]
        content = in_force(node)
        time.sleep(0.3)
        (node.paths.state / "node.json").unlink()
        with pod_interface(3):
            assert watch.next()["generation"] == first + 1
            assert in_force(node) == content
            assert not read_status(node.paths).drift
        watch.next()
        assert "error" not in watch.errors()


def test_an_unload_just_after_a_generation_does_not_end_it(
    node: NodeUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks of the watch at what is pinned, when it tells the service manager."""
    told: list[int] = []
    problems: list[str] = []
    real = node_module.open_pinned

    def unloaded(path: str | Path) -> object:
        monkeypatch.setattr(node_module, "open_pinned", real)
        unload(node.paths)
        os.kill(os.getpid(), signal.SIGTERM)
        return real(path)

    def generation_came(report: ApplyReport) -> None:
        told.append(report.generation)
        monkeypatch.setattr(node_module, "open_pinned", unloaded)

    settings = WatchSettings(node.paths, (tmp_path,))
    outlet = Outlet(generation_came, lambda error: problems.append(str(error)), problems.append)
    Watch(settings, lambda: compiled(node, CART), outlet).run()
    assert len(told) == 1
    assert problems == []
    assert generation(node) == 0
