"""Policies beside a small cluster, checked as `bpfence check` does; only the program's own lint is looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bpfence.diagnostics import Diagnostic
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import check_program

CLUSTER = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}
- {apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}}
- {apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 10.0.0.2}]}}
"""
PODS = {
    "web": ("shop", "{app: web}", "10.1.0.10", "n1", 8080),
    "db": ("shop", "{app: db}", "10.1.0.11", "n1", 5432),
    "db-1": ("shop", "{app: db}", "10.1.1.11", "n2", 5433),
    "job": ("shop", "{app: job}", "10.1.1.10", "n2", 9000),
    "dns": ("kube-system", "{k8s-app: kube-dns}", "10.1.1.53", "n2", 53),
}
POD = """---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}
spec: {{nodeName: {node}, containers: [{{name: a, ports: [{{name: main, containerPort: {port}}}]}}]}}
status: {{phase: Running, podIP: {address}}}
"""


def cluster() -> str:
    """The inventory as YAML."""
    pods = (
        POD.format(name=name, namespace=namespace, labels=labels, address=address, node=node, port=port)
        for name, (namespace, labels, address, node, port) in PODS.items()
    )
    return CLUSTER + "".join(pods)


Lint = Callable[..., list[Diagnostic]]


@pytest.fixture
def lint(tmp_path: Path) -> Lint:
    """Policies in; the program's lint out. Anything wrong with the policies is a failure."""

    def run(policies: str, **options: object) -> list[Diagnostic]:
        (tmp_path / "cluster.yaml").write_text(cluster())
        (tmp_path / "policies.yaml").write_text(policies)
        chosen = Options.model_validate(options)
        loaded = load_input([str(tmp_path)], chosen)
        check_program(loaded, chosen)
        assert not loaded.diagnostics.has_errors, loaded.diagnostics.sorted()
        return [item for item in loaded.diagnostics.sorted() if item.code.startswith("LNT")]

    return run
