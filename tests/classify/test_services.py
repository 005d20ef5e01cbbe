"""A service never opens what one of its backends is denied."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact
from bpfence.simulate.simulator import Packet, Simulator

WORLD = """
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}, spec: {nodeName: n1},
 status: {podIP: 10.1.0.10}}
---
{apiVersion: v1, kind: Pod, metadata: {name: one, namespace: shop, labels: {app: one}}, spec: {nodeName: n1},
 status: {podIP: 10.1.0.11}}
---
{apiVersion: v1, kind: Pod, metadata: {name: two, namespace: shop, labels: {app: two}}, spec: {nodeName: n1},
 status: {podIP: 10.1.0.12}}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}, {name: empty, port: 81, targetPort: 9000}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: api-1, namespace: shop, labels: {kubernetes.io/service-name: api}}
addressType: IPv4
endpoints:
- {addresses: [10.1.0.11], conditions: {ready: true}}
- {addresses: [10.1.0.12], conditions: {ready: READY}}
ports: [{name: http, port: 8080, protocol: TCP}]
"""
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: egress, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress: RULES
"""
ONE = "[{to: [{podSelector: {matchLabels: {app: one}}}], ports: [{port: 8080}]}]"
BOTH = "[{to: [{podSelector: {}}], ports: [{port: 8080}]}]"
WORLD_80 = "[{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]"


def allowed(folder: Path, rules: str, ready: str, address: str, port: int) -> bool:
    (folder / "input.yaml").write_text(WORLD.replace("READY", ready) + "---" + POLICY.replace("RULES", rules))
    options = Options(node="n1")
    simulator = Simulator(compile_artefact(load_input([str(folder)], options), options))
    own, peer = ip_address("10.1.0.10"), ip_address(address)
    return simulator.decide(Packet("shop/web", "egress", own, peer, 6, 40000, port)).allowed


@pytest.mark.parametrize(
    ("rules", "ready", "address", "port", "expected"),
    [
        (BOTH, "true", "10.96.0.10", 80, True),
        (ONE, "true", "10.96.0.10", 80, False),
        (ONE, "false", "10.96.0.10", 80, True),
        (BOTH, "true", "10.96.0.10", 8080, False),
        (BOTH, "true", "10.96.0.10", 81, False),
        (WORLD_80, "true", "10.96.0.10", 80, False),
        (WORLD_80, "true", "10.96.0.10", 443, False),
        (BOTH, "true", "10.0.0.1", 30080, True),
        (ONE, "true", "10.0.0.1", 30080, False),
        ("[]", "true", "10.96.0.10", 80, False),
    ],
)
def test_a_service_address(tmp_path: Path, rules: str, ready: str, address: str, port: int, expected: bool) -> None:
    assert allowed(tmp_path, rules, ready, address, port) is expected
