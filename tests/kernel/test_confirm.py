"""Generations that go back by themselves: the timer, `confirm`, and what comes after a deadline."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from bpfence.cli import run
from bpfence.demo.traffic import send_flows
from bpfence.loader import transaction
from bpfence.loader.node import Node
from bpfence.loader.status import read_status
from bpfence.loader.unload import unload
from support.netns import NodeUnderTest, allow_ingress, die, eventually, generation, killed_during, node_under_test, tcp
from support.object_cache import keep_objects
from support.timers import timers

pytestmark = pytest.mark.kernel

WEB, CART = allow_ingress("db", "db", "web"), allow_ingress("db", "db", "cart")
FLOWS = (tcp("shop/web", "shop/db"), tcp("shop/cart", "shop/db"))
FAR = "10m"


@pytest.fixture
def node(bpffs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeUnderTest]:
    monkeypatch.delenv("SUDO_USER", raising=False)
    keep_objects(monkeypatch)
    with node_under_test(bpffs, tmp_path) as made:
        monkeypatch.setenv("BPFENCE_STATE", str(made.paths.state))
        monkeypatch.setenv("BPFENCE_BPFFS", str(made.paths.bpffs))
        yield made
        pending = made.paths.folder.read().pending
        if pending is None:
            eventually(lambda: not timers(), 5)
        unload(made.paths, force=True)
        eventually(lambda: not timers(), 5)


def source(node: NodeUnderTest, policy: str) -> str:
    """A file that compiles to the policy."""
    node.compile(policy)
    return str(node.folder / "input.yaml")


def history(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    capsys.readouterr()
    assert run(["history", "-o", "json"]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)["generations"]
    return found


def contents(node: NodeUnderTest) -> dict[int, str]:
    return {one.number: one.content for one in node.paths.folder.read().generations}


def answers(node: NodeUnderTest, expected: tuple[bool, ...]) -> None:
    assert send_flows(node.world, FLOWS, 0.2, expected) == expected


def overdue(node: NodeUnderTest, policy: str) -> None:
    """A generation whose deadline has passed and whose timer was killed."""
    assert run(["apply", source(node, policy), "--confirm-within", "300ms"]) == 0
    for process in timers():
        os.kill(process, signal.SIGKILL)
    eventually(lambda: not timers(), 5)
    time.sleep(0.4)


def test_without_a_confirmation_the_old_generation_comes_back(
    node: NodeUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    node.apply(node.compile(WEB))
    began = time.monotonic()
    assert run(["apply", source(node, CART), "--confirm-within", "2500ms"]) == 0
    assert "generation 1 comes back" in capsys.readouterr().out
    committed = time.monotonic()
    answers(node, (False, True))
    assert len(timers()) == 1
    eventually(lambda: generation(node) == 3, 10)
    assert time.monotonic() - began > 2.5
    assert time.monotonic() - committed < 5
    answers(node, (True, False))
    eventually(lambda: not timers(), 5)
    newest, taken, first = history(capsys)
    assert (newest["by"], newest["repeats"], newest["in_force"]) == ("automatic", 1, True)
    assert (taken["taken_back_by"], taken["confirmation"], taken["by"]) == (3, "", "root")
    assert first["taken_back_by"] == 0
    assert contents(node)[3] == contents(node)[1]
    assert not read_status(node.paths).drift
    assert node.paths.folder.read().pending is None


def test_the_terminal_may_go(node: NodeUnderTest) -> None:
    """The command runs on a terminal of its own, which is hung up right after the commit: 5 s later the old generation
    is back.
    """
    node.apply(node.compile(WEB))
    path = source(node, CART)
    child, terminal = pty.fork()
    if child == 0:
        # the shell waits, so that it is there, in the foreground, when the terminal goes
        shell = ["/bin/sh", "-c", f"{sys.executable} -m bpfence apply {path} --confirm-within 5s; exec cat"]
        os.execv(shell[0], shell)
    eventually(lambda: generation(node) == 2, 30)
    committed = time.monotonic()
    (timer,) = timers()
    fields = Path(f"/proc/{timer}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[4]) == 0, "it has a controlling terminal"
    assert {os.readlink(f"/proc/{timer}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    answers(node, (False, True))
    eventually(lambda: generation(node) == 3, 10)
    assert 4 < time.monotonic() - committed < 6
    answers(node, (True, False))


def test_going_back_is_a_flip(node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slot of the old generation is untouched while the new one waits: no program and no table byte."""
    monkeypatch.setenv("PATH", "/nonexistent")
    node.apply(node.compile(WEB))
    node.apply(node.compile(CART))
    slots = node.snapshot()
    assert run(["apply", source(node, WEB), "--confirm-within", "400ms"]) == 0
    eventually(lambda: generation(node) == 4, 10)
    after = node.snapshot()
    for number in (0, 1):
        assert after[f"programs {number}"] == slots[f"programs {number}"]
    assert read_status(node.paths).slot == 1


def test_confirmed_in_time_it_stays(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    assert run(["apply", source(node, CART), "--confirm-within", "2s"]) == 0
    assert history(capsys)[0]["confirmation"] == "pending"
    assert run(["status"]) == 0
    assert "to be confirmed within" in capsys.readouterr().out
    assert run(["status", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["pending"]["back_to"] == 1
    assert run(["confirm"]) == 0
    assert "generation 2 is confirmed" in capsys.readouterr().out
    eventually(lambda: not timers(), 1)
    time.sleep(2.2)
    assert generation(node) == 2
    assert history(capsys)[0]["confirmation"] == "confirmed"
    assert run(["confirm"]) == 0
    assert "confirmed already" in capsys.readouterr().out
    assert run(["rollback"]) == 0
    assert history(capsys)[1]["taken_back_by"] == 3


def test_confirming_too_late_is_refused(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    assert run(["apply", source(node, CART), "--confirm-within", "200ms"]) == 0
    eventually(lambda: generation(node) == 3, 10)
    assert run(["confirm"]) == 3
    assert "generation 2 was not confirmed in time and has been taken back" in capsys.readouterr().err
    assert run(["confirm"]) == 3


def test_nothing_to_confirm_is_refused(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["confirm"]) == 3
    assert "nothing is in force" in capsys.readouterr().err
    assert not node.paths.state.exists()
    node.apply(node.compile(WEB))
    assert run(["confirm"]) == 3
    assert "waits for no confirmation" in capsys.readouterr().err


def test_the_first_generation_goes_back_to_nothing(node: NodeUnderTest) -> None:
    before = node.snapshot()
    assert run(["apply", source(node, WEB), "--confirm-within", "300ms"]) == 0
    assert generation(node) == 1
    eventually(lambda: not node.paths.state.exists(), 10)
    eventually(lambda: not timers(), 5)
    assert node.snapshot() == before
    assert not node.paths.bpffs.exists()
    answers(node, (True, True))


def test_one_at_a_time(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    path = source(node, CART)
    assert run(["apply", path, "--confirm-within", FAR]) == 0
    before = node.snapshot()
    for arguments in ([], ["--dry-run"], ["--confirm-within", "1m"]):
        capsys.readouterr()
        assert run(["apply", path, *arguments]) == 3
        assert "run `bpfence confirm` to keep it or `bpfence rollback`" in capsys.readouterr().err
    assert run(["rollback", "--dry-run"]) == 3
    assert run(["rollback", "--confirm-within", "1m"]) == 3
    assert node.snapshot() == before
    assert run(["rollback"]) == 0
    assert contents(node)[3] == contents(node)[1]
    eventually(lambda: not timers(), 2)
    assert run(["apply", path]) == 0


def test_rolling_back_what_came_first_unloads(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["apply", source(node, WEB), "--confirm-within", FAR]) == 0
    assert run(["rollback"]) == 0
    assert "generation 1 is no longer in force" in capsys.readouterr().out
    assert not node.paths.state.exists()
    eventually(lambda: not timers(), 2)


def test_unload_ends_the_wait(node: NodeUnderTest) -> None:
    node.apply(node.compile(WEB))
    assert run(["apply", source(node, CART), "--confirm-within", FAR]) == 0
    assert run(["unload"]) == 0
    eventually(lambda: not timers(), 2)
    # numbers begin anew: a timer that was left would take this one for its own
    node.apply(node.compile(WEB))
    node.apply(node.compile(CART))
    assert generation(node) == 2


def test_rollback_can_be_confirmed_too(node: NodeUnderTest) -> None:
    node.apply(node.compile(WEB))
    node.apply(node.compile(CART))
    assert run(["rollback", "--confirm-within", "300ms"]) == 0
    assert contents(node)[3] == contents(node)[1]
    eventually(lambda: generation(node) == 4, 10)
    assert contents(node)[4] == contents(node)[2]


def test_after_the_timer_was_killed_confirm_goes_back(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    overdue(node, CART)
    assert generation(node) == 2
    assert history(capsys)[0]["confirmation"] == "pending"
    assert run(["status"]) == 0
    assert "not confirmed in time: generation 1 comes back" in capsys.readouterr().out
    assert run(["confirm"]) == 3
    assert "generation 2 has been taken back" in capsys.readouterr().err
    assert contents(node)[generation(node)] == contents(node)[1]


def test_after_the_timer_was_killed_apply_goes_back_first(
    node: NodeUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    node.apply(node.compile(WEB))
    overdue(node, CART)
    other = source(node, allow_ingress("db", "db"))
    assert run(["apply", other, "--dry-run"]) == 3
    assert generation(node) == 2
    capsys.readouterr()
    assert run(["apply", other, "-o", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["generation"], report["before"]) == (4, 3)
    assert any("generation 2 was not confirmed in time" in line for line in report["warnings"])
    assert contents(node)[3] == contents(node)[1]


def test_an_apply_that_fails_says_what_it_has_taken_back(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node.apply(node.compile(WEB))
    overdue(node, CART)
    path = source(node, allow_ingress("db", "db"))
    proofs = iter((transaction.prove, no_proof))
    monkeypatch.setattr(transaction, "prove", lambda *arguments: next(proofs)(*arguments))
    capsys.readouterr()
    assert run(["apply", path]) == 3
    said = capsys.readouterr().err
    assert "the proof failed" in said
    assert "generation 2 was not confirmed in time and has been taken back" in said
    assert generation(node) == 3
    assert contents(node)[3] == contents(node)[1]


def no_proof(*_: object) -> NoReturn:
    raise OSError(5, "the proof failed")


def test_after_the_timer_was_killed_rollback_goes_back_once(node: NodeUnderTest) -> None:
    node.apply(node.compile(allow_ingress("db", "db")))
    node.apply(node.compile(WEB))
    overdue(node, CART)
    assert run(["rollback"]) == 0
    assert contents(node)[generation(node)] == contents(node)[2]


def test_overdue_from_nothing_apply_starts_anew(node: NodeUnderTest) -> None:
    overdue(node, CART)
    assert run(["apply", source(node, WEB)]) == 0
    assert generation(node) == 1
    answers(node, (True, False))


def test_a_timer_that_cannot_be_armed_stops_the_apply(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node.apply(node.compile(WEB))
    path = source(node, CART)
    before = node.snapshot()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert run(["apply", path, "--confirm-within", FAR]) == 3
    assert "could not be armed" in capsys.readouterr().err
    assert node.snapshot() == before
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert run(["apply", path, "--confirm-within", FAR]) == 3
    assert node.snapshot() == before


def test_nothing_to_go_back_to_stops_the_apply(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB))
    path = source(node, CART)
    (node.paths.folder.generation(1) / "tables" / "cells.bin").write_bytes(b"damaged")
    before = node.snapshot()
    assert run(["apply", path, "--confirm-within", FAR]) == 3
    assert "damaged" in capsys.readouterr().err
    assert node.snapshot() == before
    eventually(lambda: not timers(), 2)


def test_a_failed_apply_leaves_no_timer(node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    node.apply(node.compile(WEB))
    path = source(node, CART)
    before = node.snapshot()
    with monkeypatch.context() as patch:
        patch.setattr(Node, "set_active", lambda *_: (_ for _ in ()).throw(OSError("no")))
        assert run(["apply", path, "--confirm-within", FAR]) != 0
    assert node.snapshot() == before
    eventually(lambda: not timers(), 5)


def test_a_kill_before_the_commit_leaves_nothing_pending(node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    node.apply(node.compile(WEB))
    path = source(node, CART)
    with monkeypatch.context() as patch:
        patch.setattr(Node, "set_active", die)
        assert killed_during(lambda: run(["apply", path, "--confirm-within", FAR])) == 9
    assert generation(node) == 1
    eventually(lambda: not timers(), 5)
    assert run(["confirm"]) == 3
    assert run(["apply", path]) == 0
    assert node.paths.folder.read().pending is None


def test_a_kill_after_the_commit_goes_back(node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    node.apply(node.compile(WEB))
    path = source(node, CART)
    with monkeypatch.context() as patch:
        patch.setattr(transaction, "_tidy", die)
        assert killed_during(lambda: run(["apply", path, "--confirm-within", "700ms"])) == 9
    assert generation(node) == 2
    eventually(lambda: generation(node) == 3, 10)
    assert contents(node)[3] == contents(node)[1]


def test_what_goes_wrong_is_shown_and_tried_again(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node.apply(node.compile(WEB))
    overdue(node, CART)
    table = node.paths.folder.generation(1) / "tables" / "cells.bin"
    kept = table.read_bytes()
    table.write_bytes(b"damaged")
    assert run(["confirm"]) == 3
    assert generation(node) == 2
    pending = history(capsys)[0]["pending"]
    assert isinstance(pending, dict)
    assert "damaged" in pending["failure"]
    table.write_bytes(kept)
    assert run(["confirm"]) == 3
    assert generation(node) == 3


def test_a_kill_while_going_back_loses_nothing(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node.apply(node.compile(WEB))
    overdue(node, CART)
    for command in (["confirm"], ["rollback"]):
        with monkeypatch.context() as patch:
            patch.setattr(Node, "set_active", die)
            assert killed_during(lambda command=command: run(command)) == 9  # type: ignore[misc]
        assert generation(node) == 2
        assert history(capsys)[0]["confirmation"] == "pending"
    assert run(["confirm"]) == 3
    assert contents(node)[generation(node)] == contents(node)[1]
    assert node.paths.folder.read().pending is None


@pytest.mark.parametrize("text", ["", "5", "0s", "-1s", "1s1m", "25h", "1.5s", "ms", "5 s"])
def test_a_length_of_time_has_units(node: NodeUnderTest, text: str) -> None:
    assert run(["apply", source(node, WEB), "--confirm-within", text]) == 2
    assert not node.paths.state.exists()


def test_a_dry_run_has_nothing_to_confirm(node: NodeUnderTest) -> None:
    assert run(["apply", source(node, WEB), "--dry-run", "--confirm-within", "5s"]) == 2
    assert run(["rollback", "--dry-run", "--confirm-within", "5s"]) == 2
    assert not node.paths.state.exists()


def test_a_second_command_waits_for_the_timer_and_not_the_other_way(node: NodeUnderTest) -> None:
    """The timer comes while somebody holds the lock: it waits, and goes back then."""
    node.apply(node.compile(WEB))
    assert run(["apply", source(node, CART), "--confirm-within", "300ms"]) == 0
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys, time\nf = open(sys.argv[1], 'r+')\nfcntl.flock(f, fcntl.LOCK_EX)\n"
         "print('held', flush=True)\ntime.sleep(1.5)", str(node.paths.state / "lock")], stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    seen = generation(node)
    time.sleep(0.8)
    assert generation(node) == seen
    assert holder.wait() == 0
    holder.stdout.close()
    eventually(lambda: generation(node) == 3, 5)
