"""The evaluator's independence: it shares the models and the inventory with the compiler, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bpfence.semantics

FILES = sorted(Path(bpfence.semantics.__file__).parent.glob("*.py"))
ALLOWED = (
    "bpfence.diagnostics",
    "bpfence.dialects.calico.model",
    "bpfence.dialects.cilium.model",
    "bpfence.dialects.kubernetes.admin_model",
    "bpfence.dialects.kubernetes.cluster_model",
    "bpfence.dialects.kubernetes.model",
    "bpfence.dialects.objects",
    "bpfence.errors",
    "bpfence.flows",
    "bpfence.identity.inventory",
    "bpfence.options",
    "bpfence.semantics",
    "bpfence.source",
)


def imported_modules(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}: relative import"
            yield node.module or ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_only_independent_modules_are_imported(file: Path) -> None:
    own = [name for name in imported_modules(file) if name.partition(".")[0] == "bpfence"]
    foreign = [name for name in own if not any(name == item or name.startswith(f"{item}.") for item in ALLOWED)]
    assert foreign == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_parser_library(file: Path) -> None:
    assert not {"lark", "numpy", "networkx"} & {name.partition(".")[0] for name in imported_modules(file)}
