"""Rows kept by groups of equal peer classes are the rows they were: what is made of them has the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bpfence.classify import decide
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import Compiled, compile_with_classification

DEMO = Path(__file__).parents[2] / "policies" / "demo"
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.9, ports: [{port: 5432}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: db, namespace: shop}
subsets: [{addresses: [{ip: 10.77.2.10}], ports: [{port: 5432}]}]
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: front, labels: {role: front}}
spec: {node: demo-node, interfaceName: eth0, expectedIPs: [10.255.0.1]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: forwarded}
spec:
  selector: role == 'front'
  applyOnForward: true
  types: [Ingress]
  ingress: [{action: Allow, protocol: TCP, source: {nets: [198.51.100.0/24]}, destination: {ports: [5432]}}]
"""


def compiled(folder: Path) -> Compiled:
    (folder / "more.yaml").write_text(SERVICE)
    options = Options(node="demo-node")
    return compile_with_classification(load_input([str(DEMO), str(folder)], options), options)


def test_the_artefact_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = compiled(tmp_path)
    monkeypatch.setattr(decide, "MANY_PEERS", 1)
    few = compiled(tmp_path)
    assert few.artefact.tables == plain.artefact.tables
    assert few.artefact.manifest == plain.artefact.manifest
    rows = list(zip(few.classification.rows, plain.classification.rows, strict=True))
    assert all(row.group_of is not None for row, _ in rows)
    assert any(len(row.few) < len(before.few) for row, before in rows)
    assert all(np.array_equal(row.numbers, before.numbers) for row, before in rows)
