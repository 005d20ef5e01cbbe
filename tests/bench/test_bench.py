"""The benchmarks run, in their smallest size, and say what they promise."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bpfence.bench.machine import pinned
from bpfence.bench.place import bench_place
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
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["compile", "apply", "memory", "verdict", "path", "flood", "connect"]


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
    cells = {row["params"]["fixture"]: row["value"] for row in results if row["metric"] == "cells"}
    assert cells["cidr"] < 2_000 < cells["cidr-ports"]
    assert not Path(f"/sys/fs/bpf/bpfence-bench-{os.getpid()}").exists()


def test_memory_reports_sizes_of_tables(capsys: pytest.CaptureFixture[str]) -> None:
    results = bench(capsys, "memory")
    sizes = {(row["params"]["fixture"], row["metric"]): row["value"] for row in results}
    assert 0 < sizes["prefixes", "address-bytes"] < sizes["prefixes", "bytes"]
    assert sizes["rows", "cells"] >= 16 * sizes["rows", "peer-classes"] > 16


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel_trial")
def test_whole_programs_cost_more_than_empty_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """A packet with the wrong verdict would have ended the run."""
    results = bench(capsys, "path")
    assert {(row["metric"], row["unit"]) for row in results} == {("program", "ns")}
    cost = {(row["subject"], row["params"]["flow"], row["params"]["family"]): row["value"] for row in results}
    flows = {flow for _, flow, _ in cost}
    assert flows >= {"established", "established-dispatcher", "new", "notrack"}
    assert cost.keys() == {(who, flow, family) for who in ("none", "bpfence") for flow in flows for family in (4, 6)}
    assert all(cost["bpfence", flow, family] > cost["none", flow, family] for flow in flows for family in (4, 6))
    assert not Path(f"/sys/fs/bpf/bpfence-bench-{os.getpid()}").exists()


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel_trial")
def test_connections_and_round_trips_come_about(capsys: pytest.CaptureFixture[str]) -> None:
    results = bench(capsys, "connect")
    found = {(row["subject"], row["metric"], row["unit"]) for row in results}
    for subject in ("none", "bpfence"):
        assert {(subject, "connections", "1/s"), (subject, "roundtrip", "us")} <= found
    assert all(0 < sample < 1e6 for row in results for sample in row["samples"])


def test_a_plot_needs_a_folder_before_anything_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "compile", "--quick", "--plot", str(tmp_path / "missing" / "plot.svg")]) == 2
    assert "no folder" in capsys.readouterr().err


def test_the_plot_is_written_beside_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "plot.svg"
    assert run(["bench", "memory", "--quick", "--plot", str(target)]) == 0
    assert "memory: bytes" in capsys.readouterr().out
    assert "memory: bytes [bytes]" in target.read_text()


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel_trial")
def test_what_a_killed_benchmark_left_goes_with_the_next_one() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    left = Path(f"/sys/fs/bpf/bpfence-bench-{process.pid}")
    left.mkdir()
    with bench_place() as place:
        assert not left.exists()
        assert place.folder.exists()
    assert not place.folder.exists()


def test_pinning_ends_with_its_block() -> None:
    before = os.sched_getaffinity(0)
    with pinned() as cpu:
        assert os.sched_getaffinity(0) == {cpu}
    assert os.sched_getaffinity(0) == before
