"""A node in front of hundreds of services, each with ports of its own: the rows for their addresses stay small, and say
of each service what its backends' rows say.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest

from bpfence.emit.artefact import Artefact, HostEntry
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact
from bpfence.simulate.host_hooks import HostHooks
from bpfence.simulate.simulator import Packet, Simulator

SERVICES = 500
OPEN_BACKEND, CLIENT = 7, "203.0.113.9"
POLICIES = """
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: front, labels: {role: front}}
spec: {node: n1, interfaceName: eth0, expectedIPs: [192.0.2.1]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: forwarded}
spec:
  selector: role == 'front'
  applyOnForward: true
  types: [Ingress]
  ingress:
  - {action: Allow, protocol: TCP, destination: {nets: [10.1.0.7/32]}}
  - {action: Allow, protocol: TCP, source: {nets: [198.51.100.0/24]}, destination: {ports: [8013]}}
"""
WORKLOAD_POLICY = """---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: p{n}, namespace: shop}}
spec:
  podSelector: {{matchLabels: {{app: a0}}}}
  ingress: [{{from: [{{podSelector: {{matchLabels: {{app: a{n}}}}}}}]}}]
"""


def inventory() -> dict[str, Any]:
    items: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "n1"},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
        }
    ]
    for n in range(SERVICES):
        name, backend = f"s{n}", f"10.1.{n >> 8}.{n & 255}"
        meta = {"name": name, "namespace": "shop", "labels": {"app": f"a{n}"}}
        items += [
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": meta,
                "spec": {"nodeName": "n1" if n == 0 else "n2"},
                "status": {"podIP": backend},
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": meta,
                "spec": {"clusterIP": f"10.96.{n >> 8}.{n & 255}", "ports": [{"port": 2000 + n, "protocol": "TCP"}]},
            },
            {
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": meta,
                "subsets": [{"addresses": [{"ip": backend}], "ports": [{"port": 8000 + n, "protocol": "TCP"}]}],
            },
        ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    folder = tmp_path_factory.mktemp("services")
    (folder / "inventory.json").write_text(json.dumps(inventory()))
    (folder / "policies.yaml").write_text(POLICIES + "".join(WORKLOAD_POLICY.format(n=n) for n in range(1, 400)))
    options = Options(node="n1")
    return compile_artefact(load_input([str(folder)], options), options)


def passes(artefact: Artefact, number: int, client: str = CLIENT, port: int | None = None) -> bool:
    """Whether a connection from outside to a service's address passes the host endpoint."""
    host: HostEntry = artefact.manifest.hosts[0]
    own = ip_address(f"10.96.{number >> 8}.{number & 255}")
    packet = Packet("", "ingress", own, ip_address(client), 6, 40000, 2000 + number if port is None else port)
    return HostHooks(Simulator(artefact)).at_interface(host, packet, party=False).passes


def test_each_service_is_what_its_backend_is(artefact: Artefact) -> None:
    assert passes(artefact, OPEN_BACKEND)
    assert not passes(artefact, OPEN_BACKEND + 1)
    assert not passes(artefact, 13)
    assert passes(artefact, 13, client="198.51.100.4")
    assert not passes(artefact, 14, client="198.51.100.4")


def test_another_port_of_the_address_is_no_service(artefact: Artefact) -> None:
    assert not passes(artefact, OPEN_BACKEND, port=2000)
    assert passes(artefact, 3, client="198.51.100.4", port=8013)


def test_the_tables_stay_small(artefact: Artefact) -> None:
    assert sum(len(table) for table in artefact.tables.values()) < 16 << 20
