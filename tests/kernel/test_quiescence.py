"""A thread that has been on every CPU has seen every program end that ran before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bpfence.loader import quiescence
from bpfence.loader.quiescence import crossed_every_cpu


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> list[frozenset[int]]:
    """The CPUs that the thread is sent to, in turn."""
    found: list[frozenset[int]] = []
    choose = os.sched_setaffinity

    def noted(pid: int, cpus: set[int]) -> None:
        found.append(frozenset(cpus))
        choose(pid, cpus)

    monkeypatch.setattr(os, "sched_setaffinity", noted)
    return found


def test_it_runs_on_each_cpu_and_keeps_its_own_choice(visited: list[frozenset[int]]) -> None:
    before = os.sched_getaffinity(0)
    assert crossed_every_cpu()
    assert visited == [*(frozenset({cpu}) for cpu in sorted(before)), frozenset(before)]
    assert os.sched_getaffinity(0) == before


def test_a_cpu_that_may_not_be_used_is_no_proof(visited: list[frozenset[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    if len(quiescence._numbers("online")) > 1:
        assert not crossed_every_cpu()
        assert not visited


def test_a_real_time_kernel_lets_programs_wait(
    visited: list[frozenset[int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "realtime").write_text("1\n")
    monkeypatch.setattr(quiescence, "_REAL_TIME", tmp_path / "realtime")
    assert not crossed_every_cpu()
    assert not visited


@pytest.mark.parametrize(
    ("text", "wanted"), [("0", {0}), ("0-3", {0, 1, 2, 3}), ("0,2-3,8", {0, 2, 3, 8}), ("", set())]
)
def test_lists_of_cpus(text: str, wanted: set[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "some").write_text(f"{text}\n")
    monkeypatch.setattr(quiescence, "_CPUS", tmp_path)
    assert quiescence._numbers("some") == wanted
    assert not quiescence._numbers("missing")


@pytest.mark.parametrize("name", ["isolated", "nohz_full"])
def test_cpus_that_are_set_apart_are_not_visited(
    name: str, visited: list[frozenset[int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "online").write_text((Path("/sys/devices/system/cpu/online")).read_text())
    (tmp_path / name).write_text("1\n")
    monkeypatch.setattr(quiescence, "_CPUS", tmp_path)
    assert not crossed_every_cpu()
    assert not visited
    (tmp_path / name).write_text("\n")
    assert crossed_every_cpu()
