"""A made-up cluster of any size, the same every time: pods as ``kubectl get -o json`` prints them,
CiliumNetworkPolicies as people write them.

Out: text. Selectors are distinct and select pods; every policy has a handful of rules over a few ports.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

PORTS = (80, 443, 3000, 5432, 6379, 8080, 8443, 9090, 9200, 11211)


@dataclass(frozen=True, slots=True)
class ClusterSize:
    """``local``: pods on the node that is compiled for, ``worker-0``."""

    pods: int = 5000
    policies: int = 1000
    local: int = 100
    namespaces: int = 40
    apps: int = 12
    seed: int = 1


def write_cluster(folder: Path, size: ClusterSize) -> None:
    """``inventory.json`` and ``policies.yaml`` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inventory.json").write_text(json.dumps(inventory(size)))
    (folder / "policies.yaml").write_text(
        "---\n".join(cilium_policy_text(number, size) for number in range(size.policies))
    )


def inventory(size: ClusterSize) -> dict[str, Any]:
    """A v1 List of Namespaces, Nodes and Pods."""
    choose = random.Random(size.seed)
    nodes = max(2, (size.pods + size.local - 1) // max(size.local, 1))
    items: list[dict[str, Any]] = [_namespace(number) for number in range(size.namespaces)]
    items += [_node(number) for number in range(nodes)]
    items += [_pod(number, _node_of(number, size, nodes), size, choose) for number in range(size.pods)]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _node_of(number: int, size: ClusterSize, nodes: int) -> int:
    return 0 if number < size.local else 1 + number % (nodes - 1)


def _namespace(number: int) -> dict[str, Any]:
    labels = {"kubernetes.io/metadata.name": f"team-{number}", "env": "prod" if number % 3 else "dev"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"team-{number}", "labels": labels}}


def _node(number: int) -> dict[str, Any]:
    addresses = [
        {"type": "InternalIP", "address": str(IPv4Address("10.0.0.1") + number)},
        {"type": "InternalIP", "address": str(IPv6Address("fd00::1") + number)},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"worker-{number}"},
        "status": {"addresses": addresses},
    }


def _pod(number: int, node: int, size: ClusterSize, choose: random.Random) -> dict[str, Any]:
    app = f"app-{choose.randrange(size.apps)}"
    labels = {"app": app, "tier": choose.choice(("front", "back", "data")), "version": f"v{choose.randrange(3)}"}
    port = {"name": "main", "containerPort": choose.choice(PORTS), "protocol": "TCP"}
    address = str(IPv4Address("10.64.0.0") + number + 2)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{app}-{number}",
            "namespace": f"team-{number % size.namespaces}",
            "labels": labels,
            "uid": f"00000000-0000-4000-8000-{number:012d}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "nodeName": f"worker-{node}",
            "serviceAccountName": "default",
            "containers": [{"name": "main", "image": f"registry.example/{app}:1", "ports": [port]}],
        },
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}, {"ip": str(IPv6Address("fd00:64::2") + number)}],
        },
    }


def cilium_policy_text(number: int, size: ClusterSize) -> str:
    """One CiliumNetworkPolicy."""
    choose = random.Random((size.seed << 20) + number)
    lines = [
        "apiVersion: cilium.io/v2",
        "kind: CiliumNetworkPolicy",
        f"metadata: {{name: policy-{number}, namespace: team-{number % size.namespaces}}}",
        "spec:",
        f"  endpointSelector: {{matchLabels: {{app: app-{choose.randrange(size.apps)}}}}}",
        "  ingress:",
    ]
    for _ in range(choose.randint(1, 3)):
        lines += _ingress_rule(choose, size)
    if number % 4 == 0:
        lines += ["  egress:", *_egress_rule(choose)]
    return "\n".join(lines) + "\n"


def _ingress_rule(choose: random.Random, size: ClusterSize) -> list[str]:
    app, tier = choose.randrange(size.apps), choose.choice(("front", "back", "data"))
    space = choose.randrange(size.namespaces)
    return [
        "  - fromEndpoints:",
        f"    - matchLabels: {{app: app-{app}, tier: {tier}, k8s:io.kubernetes.pod.namespace: team-{space}}}",
        "    toPorts:",
        f'    - ports: [{{port: "{choose.choice(PORTS)}", protocol: TCP}}]',
    ]


def _egress_rule(choose: random.Random) -> list[str]:
    second, third = choose.randrange(16, 20), choose.randrange(256)
    return [
        "  - toCIDRSet:",
        f"    - {{cidr: 198.{second}.0.0/16, except: [198.{second}.{third}.0/24]}}",
        "  - toEntities: [cluster]",
    ]
