"""`check` says nothing about what a comment hides, and tells comments that hide nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bpfence.cli import run

POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: web, namespace: shop}}
spec:
  podSelector: {{}}
  policyTypes: [Ingress]{same}
  {above}
  egress: [{{}}]
---
{{apiVersion: v1, kind: Namespace, metadata: {{name: shop}}}}
"""
SILENT = "# bpfence: ignore K8S074 the rules wait for the next release"


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def run_check(text: str) -> tuple[int, dict]:
        (tmp_path / "p.yaml").write_text(text)
        code = run(["check", str(tmp_path), "-o", "json"])
        return code, json.loads(capsys.readouterr().out)

    return run_check


def codes(document: dict) -> list[str]:
    return [item["code"] for item in document["diagnostics"]]


def test_hidden(check):
    code, document = check(POLICY.format(same="", above=""))
    assert (code, codes(document)) == (0, ["K8S074"])
    code, document = check(POLICY.format(same="", above=SILENT))
    assert (code, codes(document)) == (0, [])
    assert document["summary"]["warnings"] == 0
    assert document["summary"]["suppressed"] == 1


def test_idle(check):
    code, document = check(POLICY.format(same=f" {SILENT}", above=""))
    assert (code, codes(document)) == (0, ["SRC031", "K8S074"])
    assert document["diagnostics"][0]["line"] == 6
    assert document["summary"]["suppressed"] == 0


def test_errors_stay(check):
    text = POLICY.format(same="", above="# bpfence: ignore K8S001 soon").replace("egress", "egres")
    code, document = check(text)
    assert code == 2
    assert sorted(codes(document)) == ["K8S001", "SRC031"]
    assert "errors can't be hidden" in next(d["message"] for d in document["diagnostics"] if d["code"] == "SRC031")


def test_without_a_reason(check):
    _, document = check(POLICY.format(same="", above="# bpfence: ignore K8S074"))
    assert codes(document) == ["SRC030", "K8S074"]


def test_other_commands_hide_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A note of the lowering, and a comment about lint that these commands do not run."""
    policy = (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p} # bpfence: ignore K8S070 meant\n"
    )
    (tmp_path / "p.yaml").write_text(policy + "spec: {podSelector: {}} # bpfence: ignore K8S092 none yet\n")
    run(["list", str(tmp_path)])
    said = capsys.readouterr().err
    assert "INV010" in said
    assert "note[K8S070]" not in said
    assert "SRC031" not in said
