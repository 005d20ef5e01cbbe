"""`apply`, `status` and `unload` as users call them: output, JSON and exit codes."""

from __future__ import annotations

import json
import os
from importlib import import_module
from pkgutil import walk_packages

import pytest

import bpfence
from bpfence.cli import run
from bpfence.emit.folder import write_artefact
from support.netns import NodeUnderTest, allow_ingress, hooks

pytestmark = pytest.mark.kernel

WEB_TO_DB = allow_ingress("db", "db", "web")


def test_from_policies_to_unload(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    before = hooks()
    node.compile(WEB_TO_DB)
    assert run(["status"]) == 0
    assert "nothing is in force" in capsys.readouterr().out
    assert run(["apply", str(node.folder / "input.yaml")]) == 0
    text = capsys.readouterr().out
    assert "+ policy NetworkPolicy shop/db" in text
    assert "+ interface pod2 (shop/db)" in text
    assert "brought generation 1 into force (the first one)" in text
    assert run(["status"]) == 0
    text = capsys.readouterr().out
    assert "generation 1 in force since" in text
    assert "kernel and artefact agree" in text
    assert run(["unload"]) == 0
    assert "generation 1 is no longer in force" in capsys.readouterr().out
    assert hooks() == before
    assert not node.paths.state.exists()
    assert not node.paths.bpffs.exists()


def test_artefact_folder_and_json(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    write_artefact(node.compile(WEB_TO_DB), node.folder / "artefact")
    assert run(["apply", str(node.folder / "artefact"), "--dry-run", "-o", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["dry_run"] is True
    assert report["attached"] == ["pod1 (shop/web)", "pod2 (shop/db)", "pod3 (shop/cart)"]
    assert not node.paths.state.exists()
    assert run(["apply", str(node.folder / "artefact")]) == 0
    capsys.readouterr()
    assert run(["status", "-o", "json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["generation"] == 1
    assert [(item["name"], item["interface"], item["hooks"]) for item in status["endpoints"]] == [
        ("shop/cart", "pod3", ["egress", "ingress"]),
        ("shop/db", "pod2", ["egress", "ingress"]),
        ("shop/web", "pod1", ["egress", "ingress"]),
    ]
    assert {table["name"] for table in status["tables"]} >= {"header", "interfaces", "cells"}
    assert status["drift"] == []


def test_bad_policy_touches_nothing(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    node.apply(node.compile(WEB_TO_DB))
    before = node.snapshot()
    (node.folder / "bad.yaml").write_text(WEB_TO_DB.replace("port: 80", "port: 80000"))
    assert run(["apply", str(node.folder / "input.yaml"), str(node.folder / "bad.yaml")]) == 2
    assert "bad.yaml" in capsys.readouterr().err
    assert node.snapshot() == before


@pytest.mark.parametrize("command", [["status"], ["unload"], ["apply", "."], ["demo"]])
def test_without_root_the_exit_code_is_3(node: NodeUnderTest, command: list[str]) -> None:
    for module in walk_packages(bpfence.__path__, "bpfence."):  # nobody may not read this interpreter's own files
        if not module.name.endswith("__main__"):
            import_module(module.name)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        os._exit(run(command))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
