"""Bench ``apply``: the real command, both changes, every stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bpfence.bench.apply import SMALL
from bpfence.bench.apply_cluster import inventory_text, local_addresses, policy_text, with_tier, write_apply_cluster
from bpfence.cli import run
from bpfence.loading import load_input
from bpfence.options import Options


@pytest.mark.kernel
def test_a_data_change_loads_no_program_and_another_shape_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "apply", "--quick", "-o", "json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert {(row["bench"], row["subject"]) for row in results} == {("apply", "bpfence")}
    loaded = {row["params"]["change"]: row["value"] for row in results if row["metric"] == "programs-loaded"}
    assert loaded["data"] == 0
    assert loaded["shape"] > 0
    for change in ("data", "shape"):
        stages = {
            row["params"]["stage"]: row["value"]
            for row in results
            if row["metric"] == "wall" and row["params"]["change"] == change
        }
        assert {"total", "committed", "start", "parse", "classify", "emit", "kernel"} <= stages.keys()
        assert 0 < stages["kernel"] < stages["committed"] < stages["total"]


def test_the_cluster_is_usable_and_the_same_every_time(tmp_path: Path) -> None:
    write_apply_cluster(tmp_path / "a", SMALL)
    loaded = load_input([str(tmp_path / "a")], Options())
    assert not loaded.diagnostics.has_errors
    assert len(loaded.inventory.pods) == SMALL.pods
    engines = [loaded.policies.kubernetes, loaded.policies.cilium, loaded.policies.calico]
    assert [len(items) for items in engines] == [SMALL.policies // 3] * 3
    local = [pod for pod in loaded.inventory.pods if pod.node == "worker-0"]
    wanted = sorted(address for addresses in local_addresses(SMALL) for address in addresses)
    assert sorted(str(address) for pod in local for address in pod.addresses) == wanted
    assert policy_text(4, SMALL) == (tmp_path / "a" / "policies" / "policy-00004.yaml").read_text()


def test_one_label_of_one_pod_is_all_that_changes() -> None:
    whole = inventory_text(SMALL)
    texts = [with_tier(whole, tier).splitlines() for tier in ("front", "data")]
    changed = [pair for pair in zip(*texts, strict=True) if len(set(pair)) > 1]
    assert [tuple(line.strip() for line in pair) for pair in changed] == [('"tier": "front",', '"tier": "data",')]
