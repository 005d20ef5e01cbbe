"""Text to policy objects and tiers, as the compiler's front end does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpfence.diagnostics import Diagnostics, Severity
from bpfence.dialects import calico
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory
from bpfence.identity.read_inventory import read_inventory
from bpfence.ir.nodes import Rule, Tier
from bpfence.options import Options
from bpfence.source.read import read_sources


@dataclass(frozen=True)
class Loaded:
    objects: tuple[PolicyObject, ...]
    inventory: Inventory
    options: Options
    diagnostics: Diagnostics

    def lower(self) -> tuple[Tier, ...]:
        return self.lowered().endpoint

    def lowered(self) -> calico.Lowered:
        return calico.lower(self.objects, self.options, self.inventory, self.diagnostics)

    def rules(self, direction: str = "ingress") -> tuple[Rule, ...]:
        """The lowered rules of the only policy."""
        (policy,) = [policy for tier in self.lower() for policy in tier.policies]
        assert self.errors == []
        return getattr(policy, direction).rules

    def lint(self) -> set[str]:
        calico.lint(self.objects, self.inventory, self.options, self.diagnostics)
        return {item.code for item in self.diagnostics.items}

    @property
    def errors(self) -> list[tuple[str, int]]:
        """(code, line) of every error."""
        return sorted((d.code, d.span.line) for d in self.diagnostics.items if d.severity is Severity.ERROR)


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
        policies = [item for item in documents if (item.api_version, item.kind) in calico.MODELS]
        inventory = read_inventory([item for item in documents if item not in policies], diagnostics)
        objects = (calico.read_object(item, chosen, diagnostics) for item in policies)
        kept = tuple(item for item in objects if item is not None)
        return Loaded(kept, calico.replace_pods(kept, inventory, diagnostics), chosen, diagnostics)

    return read


WORLD = """
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {env: prod}}
---
apiVersion: v1
kind: Namespace
metadata: {name: lab, labels: {env: dev}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: bot, namespace: shop, labels: {level: low}}
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: shop, labels: {app: api}}
spec:
  nodeName: n1
  initContainers: [{name: early, ports: [{name: http, containerPort: 8081}]}]
  containers: [{name: main, ports: [{name: http, containerPort: 8080}]}]
status: {podIP: 10.1.0.11}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: api-1, namespace: shop, labels: {kubernetes.io/service-name: api}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.11], conditions: {ready: false}}]
ports: [{name: http, protocol: TCP, port: 8080}]
"""


@pytest.fixture
def policy(load: Load) -> Callable[..., Loaded]:
    """One policy by its spec in flow style, with a small world beside it."""

    def read(spec: str, kind: str = "NetworkPolicy", **options: object) -> Loaded:
        metadata = "{name: p, namespace: shop}" if kind == "NetworkPolicy" else "{name: p}"
        text = f"apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {metadata}\nspec: {spec}\n{WORLD}"
        return load(text, **options)

    return read
