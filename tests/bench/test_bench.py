"""The benchmarks run, in their smallest size, and say what they promise."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bpfence.bench.machine import pinned
from bpfence.cli import run
from bpfence.errors import PermissionMissing


def bench(capsys: pytest.CaptureFixture[str], *names: str) -> list[dict[str, Any]]:
    assert run(["bench", *names, "--quick", "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"kernel", "cpu", "jit", "jit_harden", "mitigations", "clock"} <= document["machine"].keys()
    results: list[dict[str, Any]] = document["results"]
    assert all(row["samples"] and row["bench"] in names for row in results)
    return results


def test_compile_reports_every_stage_and_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    results = bench(capsys, "compile")
    wall = {row["params"]["stage"]: row["value"] for row in results if row["metric"] == "wall"}
    assert {"total", "start", "parse", "lower", "identity", "classify", "plan", "emit", "write"} <= wall.keys()
    assert wall["total"] == max(wall.values())
    assert [row["unit"] for row in results if row["metric"] == "peak-memory"] == ["MB"]


def test_the_list_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["compile", "verdict"]


def test_an_unknown_benchmark_is_a_usage_error() -> None:
    assert run(["bench", "speed"]) == 2


def test_without_the_kernel_the_verdict_bench_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise PermissionMissing("loading BPF programs needs root")

    monkeypatch.setattr("bpfence.loader.kernel.require_kernel", refuse)
    assert run(["bench", "verdict", "--quick"]) == 3
    assert "needs root" in capsys.readouterr().err


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel_trial")
def test_both_layouts_decide_alike_and_leave_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong verdict, before or while timing, would have ended the run."""
    results = bench(capsys, "verdict")
    decisions = [row for row in results if row["metric"] == "decision"]
    places = {(r["subject"], r["params"]["rules"], r["params"]["keys"], r["params"]["family"]) for r in decisions}
    assert len(places) == len(decisions) == 2 * 2 * 4 * 2
    assert {subject for subject, *_ in places} == {"bpfence", "cilium-layout"}
    assert all(row["unit"] == "ns" and len(row["samples"]) == 2 for row in decisions)
    assert not Path(f"/sys/fs/bpf/bpfence-bench-{os.getpid()}").exists()


def test_pinning_ends_with_its_block() -> None:
    before = os.sched_getaffinity(0)
    with pinned() as cpu:
        assert os.sched_getaffinity(0) == {cpu}
    assert os.sched_getaffinity(0) == before
