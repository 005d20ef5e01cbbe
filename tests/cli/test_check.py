import io
import json
import sys
from pathlib import Path

import pytest

from bpfence.cli import run

GOOD = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: db}}}]
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
"""
BAD = GOOD.replace("podSelector: {matchLabels: {app: web}}", "podSelektor: {}")


@pytest.fixture
def good(tmp_path: Path) -> str:
    (tmp_path / "good.yaml").write_text(GOOD)
    return str(tmp_path / "good.yaml")


@pytest.fixture
def bad(tmp_path: Path) -> str:
    (tmp_path / "bad.yaml").write_text(BAD)
    return str(tmp_path / "bad.yaml")


def test_good_input(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", good]) == 0
    assert "ok: 1 file, 1 policy, 0 pods" in capsys.readouterr().out


def test_bad_input_as_text(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", bad]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{bad}:5:3: error[K8S001]: unknown field spec.podSelektor\n  5 |   podSelektor: {{}}\n" in captured.err
    assert "help: did you mean podSelector?" in captured.err
    assert "\x1b" not in captured.err
    assert captured.err.rstrip().endswith("found 1 error in 1 file")


def test_bad_input_as_json(bad: str, good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", bad, "-o", "json"]) == 2
    document = json.loads(capsys.readouterr().out)
    (item,) = [item for item in document["diagnostics"] if item["severity"] == "error"]
    assert (item["code"], item["path"], item["line"], item["column"]) == ("K8S001", bad, 5, 3)
    assert (item["end_line"], item["end_column"], item["policy"]) == (5, 14, "NetworkPolicy shop/web")
    assert document["summary"]["errors"] == 1
    assert run(["check", good, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["errors"] == 0


@pytest.mark.parametrize("form", ["github", "markdown", "sarif"])
def test_other_formats_keep_the_exit_code(form: str, bad: str, good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", bad, "-o", form]) == 2
    assert "K8S001" in capsys.readouterr().out
    assert run(["check", good, "-o", form]) == 0


def test_nothing_to_analyse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n")
    assert run(["check", str(tmp_path)]) == 2
    assert "SRC021" in capsys.readouterr().err
    assert run(["check", str(tmp_path / "missing")]) == 2
    assert "SRC001" in capsys.readouterr().err


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    assert run(["check", "-"]) == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BAD.encode())))
    assert run(["check", "-"]) == 2
    assert "<stdin>:5:3: error[K8S001]" in capsys.readouterr().err


DOUBTFUL = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: group, namespace: shop}
spec:
  endpointSelector: {}
  ingress:
  - fromCIDRSet: [{cidrGroupRef: elsewhere}]
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: early}
spec: {selector: all(), doNotTrack: true, preDNAT: true, applyOnForward: true}
"""


def test_one_run_tells_the_errors_of_all_files_but_no_doubtful_references(
    bad: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.yaml").write_text("kind: [")
    (tmp_path / "doubtful.yaml").write_text(DOUBTFUL)
    assert run(["check", str(tmp_path), "-o", "json"]) == 2
    found = json.loads(capsys.readouterr().out)["diagnostics"]
    files = {Path(item["path"]).name for item in found if item["severity"] == "error"}
    assert files == {"bad.yaml", "broken.yaml", "doubtful.yaml"}
    assert not [item for item in found if "elsewhere" in item["message"]]
