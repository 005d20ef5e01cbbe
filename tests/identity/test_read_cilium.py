"""CiliumEndpoints and CiliumIdentities as facts about pods."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from bpfence.diagnostics import Diagnostics
from bpfence.identity.inventory import Inventory
from bpfence.identity.read_inventory import read_inventory
from bpfence.identity.world import build_world
from bpfence.source.read import read_text

NODE = """
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
"""


def pod(name: str, address: str, more: str = "") -> str:
    return (
        f"---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\n"
        f"spec: {{nodeName: n1, containers: [{{name: c}}]{more}}}\n"
        f"status: {{phase: Running, podIP: {address}, podIPs: [{{ip: {address}}}]}}\n"
    )


def endpoint(name: str, labels: str, address: str = "", node: str = "10.0.0.1", identity: str = "") -> str:
    pair = f"{{ipv4: {address}}}" if address else ""
    return (
        f"---\napiVersion: cilium.io/v2\nkind: CiliumEndpoint\nmetadata: {{name: {name}, namespace: shop}}\n"
        f"status:\n  identity: {{id: {identity or 7}, labels: [{labels}]}}\n"
        f"  networking: {{addressing: [{pair}], node: {node}}}\n"
    )


def read(text: str) -> tuple[Inventory, Diagnostics]:
    diagnostics = Diagnostics()
    inventory = read_inventory(read_text("a.yaml", text, diagnostics), diagnostics)
    return inventory, diagnostics


def facts(text: str) -> dict[str, tuple[tuple[str, ...], str]]:
    inventory, diagnostics = read(text)
    assert not diagnostics.has_errors
    return {item.name: (item.reserved, item.cluster) for item in inventory.pods}


def test_without_endpoints_every_pod_is_managed() -> None:
    assert facts(NODE + pod("web", "10.1.0.10")) == {"web": ((), "")}


def test_pods_without_an_endpoint_are_unmanaged() -> None:
    text = NODE + pod("web", "10.1.0.10") + pod("db", "10.1.0.11") + pod("agent", "10.0.0.1", ", hostNetwork: true")
    assert facts(text + endpoint("web", '"k8s:app=web"')) == {
        "web": ((), ""),
        "db": (("unmanaged",), ""),
        "agent": ((), ""),
    }


def test_workloads_without_pods_are_managed() -> None:
    workload = """---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: shop}
spec: {template: {metadata: {labels: {app: api}}, spec: {containers: [{name: c}]}}}
"""
    inventory, _ = read(workload + endpoint("web", '"k8s:app=web"'))
    assert [item.reserved for item in inventory.pods] == [()]


def test_reserved_labels() -> None:
    text = pod("web", "10.1.0.10") + endpoint("web", '"reserved:init"')
    text += endpoint("health", '"reserved:health"', "10.1.0.9")
    assert facts(text) == {"web": (("init",), ""), "health": (("health",), "")}


def test_an_endpoint_alone_is_a_pod_with_the_labels_of_its_identity() -> None:
    labels = (
        '"k8s:app=web", "k8s:io.kubernetes.pod.namespace=shop", "k8s:io.cilium.k8s.policy.serviceaccount=robot", '
        '"k8s:io.cilium.k8s.policy.cluster=default"'
    )
    inventory, _ = read(NODE + endpoint("web", labels, "10.1.0.10"))
    (found,) = inventory.pods
    assert (found.namespace, found.name, found.node) == ("shop", "web", "n1")
    assert (found.labels, found.service_account) == ({"app": "web"}, "robot")
    assert found.addresses == (ip_address("10.1.0.10"),)


def test_endpoints_of_nodes_and_without_addresses_are_no_pods() -> None:
    assert facts(endpoint("host", '"reserved:host"', "10.0.0.9") + endpoint("late", '"k8s:app=late"')) == {}


def test_labels_of_the_identity_object() -> None:
    identity = """---
apiVersion: cilium.io/v2
kind: CiliumIdentity
metadata: {name: "4711"}
security-labels: {"reserved:ingress": ""}
"""
    assert facts(identity + endpoint("ing", "", "10.1.0.8", identity="4711")) == {"ing": (("ingress",), "")}


def in_cluster(name: str) -> str:
    return f'"k8s:io.cilium.k8s.policy.cluster={name}"'


@pytest.mark.parametrize(
    ("here", "there", "own"),
    [("default", "west", "default"), ("east", "default", "default"), ("east", "west", "east")],
)
def test_clusters(here: str, there: str, own: str) -> None:
    text = (
        NODE
        + pod("web", "10.1.0.10")
        + endpoint("web", in_cluster(here), "10.1.0.10")
        + endpoint("far", in_cluster(there), "10.9.0.10", "10.8.0.1")
    )
    inventory, diagnostics = read(text)
    assert not diagnostics.has_errors
    assert inventory.cluster == own
    clusters = {item.name: item.labels["meta:cluster"] for item in build_world(inventory).pods}
    assert clusters == {"shop/web": here, "shop/far": there}


def test_one_cluster_of_any_name_is_the_own_one() -> None:
    inventory, _ = read(pod("web", "10.1.0.10") + endpoint("web", in_cluster("east")))
    assert inventory.cluster == "east"
    assert [item.cluster for item in inventory.pods] == [""]


def test_clusters_that_nothing_tells_apart() -> None:
    text = endpoint("a", in_cluster("east"), "10.1.0.1") + endpoint("b", in_cluster("west"), "10.2.0.1")
    _, diagnostics = read(text)
    assert [item.code for item in diagnostics.items if item.is_error] == ["INV012"]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("[{ipv4: 10.1.0.10}]", "[{ipv4: here}]", "INV005"),
        ("[{ipv4: 10.1.0.10}]", "10.1.0.10", "INV001"),
        ('["k8s:app=web"]', "[1]", "INV001"),
        ('labels: ["k8s:app=web"]', "labels: text", "INV001"),
        ("node: 10.0.0.1", "node: n1", "INV005"),
    ],
)
def test_malformed(old: str, new: str, code: str) -> None:
    text = endpoint("web", '"k8s:app=web"', "10.1.0.10")
    assert old in text
    _, diagnostics = read(text.replace(old, new))
    assert code in [item.code for item in diagnostics.items]


def test_reserved_labels_of_the_world() -> None:
    inventory, _ = read(pod("web", "10.1.0.10") + endpoint("ing", '"reserved:ingress"', "10.1.0.8"))
    labels = {item.name: item.labels for item in build_world(inventory).pods}
    assert "reserved:unmanaged" in labels["shop/web"]
    assert "reserved:ingress" in labels["shop/ing"]
