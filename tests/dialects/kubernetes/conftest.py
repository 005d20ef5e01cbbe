"""Text to checked objects, as the compiler's front end does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpfence.diagnostics import Diagnostics, Severity
from bpfence.dialects import kubernetes
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory
from bpfence.identity.read_inventory import read_inventory
from bpfence.ir.nodes import Policy
from bpfence.options import Options
from bpfence.source.read import read_sources


@dataclass(frozen=True)
class Loaded:
    objects: tuple[PolicyObject, ...]
    inventory: Inventory
    options: Options
    diagnostics: Diagnostics

    def network_policies(self, engine: str = "kubernetes") -> tuple[Policy, ...]:
        return kubernetes.lower_network_policies(self.objects, engine, self.options, self.inventory, self.diagnostics)

    def cluster_policies(self) -> tuple[tuple[Policy, ...], tuple[Policy, ...]]:
        return kubernetes.lower_cluster_policies(self.objects, self.options, self.inventory, self.diagnostics)

    def lint(self) -> None:
        kubernetes.lint(self.objects, self.inventory, self.options, self.diagnostics)

    def found(self, severity: Severity) -> list[tuple[str, int]]:
        """(code, line) of every message of the severity."""
        return sorted((d.code, d.span.line) for d in self.diagnostics.items if d.severity is severity)

    @property
    def errors(self) -> list[tuple[str, int]]:
        return self.found(Severity.ERROR)

    @property
    def codes(self) -> set[str]:
        return {d.code for d in self.diagnostics.items}


Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def read(text: str | Path, **options: object) -> Loaded:
        path = text if isinstance(text, Path) else tmp_path / "input.yaml"
        if isinstance(text, str):
            path.write_text(text)
        diagnostics = Diagnostics()
        chosen = Options.model_validate(options)
        documents = read_sources([str(path)], diagnostics).documents
        policies = [item for item in documents if (item.api_version, item.kind) in kubernetes.MODELS]
        inventory = read_inventory([item for item in documents if item not in policies], diagnostics)
        objects = (kubernetes.read_object(item, chosen, diagnostics) for item in policies)
        return Loaded(tuple(item for item in objects if item is not None), inventory, chosen, diagnostics)

    return read


WORLD = """
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
apiVersion: v1
kind: Namespace
metadata: {name: ops}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.1.0.0/24}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDR: 10.1.1.0/24}
status: {addresses: [{type: InternalIP, address: 10.0.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: a, ports: [{name: http, containerPort: 8080}]}]}
status: {podIP: 10.1.0.10}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: n1, containers: [{name: a, ports: [{name: sql, containerPort: 5432}]}]}
status: {podIP: 10.1.0.11}
---
apiVersion: v1
kind: Pod
metadata: {name: job, namespace: shop, labels: {app: job}}
spec: {nodeName: n2, containers: [{name: a}]}
status: {podIP: 10.1.1.10}
---
apiVersion: v1
kind: Pod
metadata: {name: scan, namespace: ops, labels: {app: web}}
spec: {nodeName: n2, containers: [{name: a}]}
status: {podIP: 10.1.1.11}
---
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: ops, labels: {app: agent}}
spec: {nodeName: n2, hostNetwork: true, containers: [{name: a}]}
status: {podIP: 10.0.0.2}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80, targetPort: 8080}]}
"""


@pytest.fixture
def world() -> str:
    """Inventory documents: two nodes, two namespaces, four pods, a host-network pod, a Service."""
    return WORLD
