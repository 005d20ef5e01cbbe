"""`diff OLD NEW` without a node: two states of one node, compared by their tables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bpfence.cli import run

INVENTORY = "\n---\n".join(
    [
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}",
        *(
            f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\n"
            f"spec: {{nodeName: here}}\nstatus: {{phase: Running, podIP: 10.9.0.{number}}}"
            for number, name in enumerate(("web", "db", "cart"), 1)
        ),
    ]
)


def policy(peer: str, port: int = 80) -> str:
    return (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: db, namespace: shop}\n"
        "spec:\n  podSelector: {matchLabels: {app: db}}\n  ingress:\n"
        f"  - from: [{{podSelector: {{matchLabels: {{app: {peer}}}}}}}]\n    ports: [{{port: {port}}}]\n"
    )


@pytest.fixture
def old(tmp_path: Path) -> str:
    return written(tmp_path / "old", policy("web"))


def written(folder: Path, *policies: str) -> str:
    folder.mkdir()
    (folder / "all.yaml").write_text("\n---\n".join((INVENTORY, *policies)))
    return str(folder)


def diff(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run(["diff", *arguments, "-o", "json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_same_is_empty(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = diff(capsys, old, old)
    assert code == 0
    assert found["changes"] == []
    assert found["summary"]["added"] == found["summary"]["removed"] == 0


def test_rows_have_both_rules(old: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = written(tmp_path / "new", policy("cart"))
    code, found = diff(capsys, old, new)
    assert code == 1
    kinds = {row["kind"]: row for row in found["changes"]}
    assert set(kinds) == {"added", "removed"}
    assert (kinds["added"]["src"], kinds["added"]["dst"]) == ("shop/cart[Pod]", "shop/db[Pod]")
    assert (kinds["removed"]["src"], kinds["removed"]["protocol"]) == ("shop/web[Pod]", "TCP")
    assert kinds["removed"]["ports"] == [[80, 80]]
    for row in found["changes"]:
        for side in ("before", "after"):
            assert row[side]["policy"] == "NetworkPolicy shop/db"
            assert row[side]["path"].endswith("all.yaml")
            assert row[side]["line"] > 1
    assert found["summary"] == {
        "added": 1, "removed": 1, "exposes_world": 0, "within_workloads": 0, "listed": 2, "truncated": False
    }  # fmt: skip


def test_without_policy_the_world_is_let_in(old: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = written(tmp_path / "new")
    code, found = diff(capsys, old, new)
    assert code == 1
    exposing = [row for row in found["changes"] if row["exposes_world"]]
    assert {row["dst"] for row in exposing} == {"shop/db[Pod]"}
    assert all(row["src"].endswith("[External]") and row["kind"] == "added" for row in exposing)
    assert any(row["protocol"] == "ANY" and row["all"] for row in exposing)
    code, found = diff(capsys, old, new, "--limit", "1")
    assert found["summary"]["listed"] == 1
    assert found["summary"]["truncated"]


def test_artefacts_and_texts(old: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = written(tmp_path / "new", policy("web", 81))
    artefact = str(tmp_path / "artefact")
    assert run(["compile", new, "-o", artefact]) == 0
    capsys.readouterr()
    assert run(["diff", old, artefact]) == 1
    text = capsys.readouterr().out
    assert "+ shop/web[Pod] -> shop/db[Pod]: TCP 81" in text
    assert "- shop/web[Pod] -> shop/db[Pod]: TCP 80" in text
    assert "for example: TCP 10.9.0.1:40000 -> 10.9.0.2:81" in text
    assert run(["diff", old, artefact, "-o", "markdown"]) == 1
    assert "| added | shop/web\\[Pod\\] | shop/db\\[Pod\\] | TCP 81 |" in capsys.readouterr().out


def test_bad_input_is_2(old: str, tmp_path: Path) -> None:
    bad = written(tmp_path / "bad", policy("web", 80000))
    assert run(["diff", old, bad]) == 2


def test_no_kernel_is_asked(old: str) -> None:
    """What talks to the kernel is not even imported."""
    program = (
        "import sys; from bpfence.cli import run; code = run(sys.argv[1:]); "
        "sys.exit(code or any(name in sys.modules for name in ('bcc', 'pyroute2')))"
    )
    done = subprocess.run([sys.executable, "-c", program, "diff", old, old], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
