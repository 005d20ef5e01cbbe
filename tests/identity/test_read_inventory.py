import json
import time
from ipaddress import ip_address, ip_network
from typing import Any

from bpfence.diagnostics import Diagnostics
from bpfence.identity.inventory import ContainerPort, Inventory, Pod
from bpfence.identity.read_inventory import read_inventory
from bpfence.source.read import read_text
from bpfence.source.spans import Span


def read(*objects: dict[str, Any], mentioned: dict[str, Span] | None = None) -> tuple[Inventory, list[str]]:
    diagnostics = Diagnostics()
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=1)
    documents = read_text("i.json", text, diagnostics)
    inventory = read_inventory(documents, diagnostics, mentioned or {})
    return inventory, [item.code for item in diagnostics.sorted() if item.code != "INV010"]


def obj(kind: str, name: str, version: str = "v1", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, **fields.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def pod(name: str, ip: str = "", *, owner: tuple[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    metadata = {"namespace": "shop", **fields.pop("metadata", {})}
    if owner:
        metadata["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "controller": True}]
    status = {"podIP": ip, "phase": "Running", **fields.pop("status", {})}
    return obj("Pod", name, metadata=metadata, status=status, **fields)


def only_pod(inventory: Inventory) -> Pod:
    (found,) = inventory.pods
    return found


def test_facts_of_a_pod() -> None:
    containers = [{"ports": [{"name": "http", "containerPort": 80}, {"containerPort": 81}]}]
    init = [
        {"ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}], "restartPolicy": "Always"},
        {"ports": [{"name": "once", "containerPort": 9}]},
    ]
    spec = {"nodeName": "n1", "serviceAccountName": "web", "containers": containers, "initContainers": init}
    metadata = {"labels": {"app": "web"}, "annotations": {"bpfence.io/interface": "veth0"}}
    addresses = {"podIPs": [{"ip": "10.1.0.10"}, {"ip": "fd00::a"}]}
    inventory, codes = read(pod("web", "10.1.0.10", metadata=metadata, spec=spec, status=addresses))
    found = only_pod(inventory)
    assert not codes
    assert (found.namespace, found.name, found.node, found.service_account) == ("shop", "web", "n1", "web")
    assert found.labels == {"app": "web"}
    assert found.interface == "veth0"
    assert found.addresses == (ip_address("10.1.0.10"), ip_address("fd00::a"))
    assert found.ports == (
        ContainerPort("http", 6, 80),
        ContainerPort("dns", 17, 53, init=True, restartable=True),
        ContainerPort("once", 6, 9, init=True),
    )
    assert found.owner == ("Pod", "web")
    assert found.span.line == 5


def test_ended_pods_are_no_endpoints() -> None:
    objects = [pod(phase, "10.0.0.1", status={"phase": phase}) for phase in ("Succeeded", "Failed")]
    inventory, codes = read(*objects, pod("new", "10.0.0.1"))
    assert only_pod(inventory).name == "new"
    assert not codes


def test_owners_are_collapsed() -> None:
    controller = {"ownerReferences": [{"kind": "CronJob", "name": "nightly", "controller": True}], "namespace": "shop"}
    template = {"spec": {"template": {}}}
    cases = {
        "hash": (pod("a", owner=("ReplicaSet", "web-7f9c"), metadata={"labels": {"pod-template-hash": "7f9c"}})),
        "object": (pod("b", owner=("Job", "nightly-1"))),
        "none": (pod("c", owner=("ReplicaSet", "bare"))),
        "node": (pod("d", owner=("Node", "n1"))),
        "direct": (pod("e", owner=("StatefulSet", "db"))),
    }
    inventory, codes = read(*cases.values(), obj("Job", "nightly-1", "batch/v1", metadata=controller, **template))
    assert not codes
    assert [found.owner for found in inventory.pods] == [
        ("Deployment", "web"),
        ("CronJob", "nightly"),
        ("ReplicaSet", "bare"),
        ("Pod", "d"),
        ("StatefulSet", "db"),
    ]


def workload(kind: str, name: str, version: str = "apps/v1", **metadata: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"serviceAccountName": "robot"}}
    spec: dict[str, Any] = {"template": template}
    if kind == "CronJob":
        spec = {"jobTemplate": {"spec": spec}}
    return obj(kind, name, version, metadata={"namespace": "shop", **metadata}, spec=spec)


def test_a_workload_without_pods_stands_for_its_template() -> None:
    inventory, codes = read(
        workload("Deployment", "web"),
        workload("StatefulSet", "db"),
        workload("CronJob", "nightly", "batch/v1"),
        pod("db-0", "10.0.0.1", owner=("StatefulSet", "db")),
    )
    assert not codes
    templates = [found for found in inventory.pods if found.template]
    assert [found.owner for found in templates] == [("CronJob", "nightly"), ("Deployment", "web")]
    assert templates[1].labels == {"app": "web"}
    assert templates[1].service_account == "robot"
    assert templates[1].addresses == ()


def test_old_revisions_and_finished_jobs_stand_for_nothing() -> None:
    owner = {"ownerReferences": [{"kind": "Deployment", "name": "web", "controller": True}]}
    old = workload("ReplicaSet", "web-1", **owner)
    old["spec"]["replicas"] = 0
    job = workload("Job", "once", "batch/v1")
    job["status"] = {"completionTime": "2024-01-01T00:00:00Z"}
    ended = pod("again-x", owner=("Job", "again"), status={"phase": "Succeeded"})
    inventory, _ = read(old, job, workload("Job", "again", "batch/v1"), ended)
    assert inventory.pods == ()


def test_host_network_addresses_are_the_nodes() -> None:
    node = obj("Node", "n1", status={"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]})
    agents = [
        pod("agent", "10.0.0.1", spec={"hostNetwork": True, "nodeName": "n1"}),
        pod("more", "fd00::1", spec={"hostNetwork": True, "nodeName": "n1"}),
        pod("other", "10.0.0.2", spec={"hostNetwork": True, "nodeName": "n2"}),
    ]
    inventory, codes = read(node, *agents)
    assert not codes
    assert {found.name: found.addresses for found in inventory.nodes} == {
        "n1": (ip_address("10.0.0.1"), ip_address("fd00::1")),
        "n2": (ip_address("10.0.0.2"),),
    }
    assert all(found.addresses == () and found.host_network for found in inventory.pods)


def test_nodes() -> None:
    addresses = [
        {"type": "Hostname", "address": "n1"},
        {"type": "ExternalIP", "address": "198.51.100.1"},
        {"type": "InternalIP", "address": "10.0.0.1"},
    ]
    spec = {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00:1::/64"]}
    inventory, codes = read(obj("Node", "n1", spec=spec, status={"addresses": addresses}))
    assert not codes
    assert inventory.nodes[0].addresses == (ip_address("198.51.100.1"), ip_address("10.0.0.1"))
    assert inventory.nodes[0].pod_cidrs == (ip_network("10.1.0.0/24"), ip_network("fd00:1::/64"))


def test_namespaces_have_their_name_as_a_label() -> None:
    mentioned = {"ops": Span("p.yaml", 3, 1, 3, 4)}
    diagnostics = Diagnostics()
    text = json.dumps([obj("Namespace", "shop", metadata={"labels": {"team": "a"}}), pod("x")])
    documents = read_text("i.json", f'{{"kind": "List", "items": {text}}}', diagnostics)
    inventory = read_inventory(documents, diagnostics, mentioned)
    assert [(found.name, found.made_up) for found in inventory.namespaces] == [("ops", True), ("shop", False)]
    assert inventory.namespace_labels("shop") == {"team": "a", "kubernetes.io/metadata.name": "shop"}
    assert inventory.namespace_labels("ops") == {"kubernetes.io/metadata.name": "ops"}
    assert [(item.code, str(item.span)) for item in diagnostics.items] == [("INV010", "p.yaml:3:1")]


def test_services() -> None:
    spec = {
        "clusterIP": "10.96.0.1",
        "clusterIPs": ["10.96.0.1", "fd00:96::1"],
        "externalIPs": ["198.51.100.9"],
        "selector": {"app": "web"},
        "ports": [
            {"port": 80, "targetPort": "http", "nodePort": 30080, "name": "web"},
            {"port": 53, "protocol": "UDP"},
            {"port": 81, "targetPort": 8081},
        ],
    }
    status = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"hostname": "lb.example"}]}}
    inventory, codes = read(
        obj("Service", "web", metadata={"namespace": "shop"}, spec=spec, status=status),
        obj("Service", "headless", metadata={"namespace": "shop"}, spec={"clusterIP": "None"}),
    )
    assert not codes
    headless, web = inventory.services
    assert [str(address) for address in web.addresses] == ["10.96.0.1", "fd00:96::1", "198.51.100.9", "203.0.113.1"]
    assert [(port.protocol, port.port, port.target, port.node_port) for port in web.ports] == [
        (6, 80, "http", 30080),
        (17, 53, 53, 0),
        (6, 81, 8081, 0),
    ]
    assert web.selector == {"app": "web"}
    assert headless.addresses == ()
    assert headless.selector is None


def test_endpoint_slices_replace_endpoints() -> None:
    metadata = {"namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}}
    ports = [{"name": "http", "port": 80}]
    endpoints = [
        {"addresses": ["10.1.0.1"], "conditions": {"ready": False}},
        {"addresses": ["10.1.0.2"], "conditions": {}},
    ]
    subsets = [{"addresses": [{"ip": "10.1.0.9"}], "notReadyAddresses": [{"ip": "10.1.0.8"}], "ports": ports}]
    inventory, codes = read(
        obj("EndpointSlice", "web-1", "discovery.k8s.io/v1", metadata=metadata, endpoints=endpoints, ports=ports),
        obj("Endpoints", "web", metadata={"namespace": "shop"}, subsets=subsets),
        obj("Endpoints", "db", metadata={"namespace": "shop"}, subsets=subsets),
    )
    assert not codes
    assert [(entry.service, str(entry.address), entry.ready, entry.ports) for entry in inventory.endpoints] == [
        ("db", "10.1.0.8", False, (("http", 6, 80),)),
        ("db", "10.1.0.9", True, (("http", 6, 80),)),
        ("web", "10.1.0.1", False, (("http", 6, 80),)),
        ("web", "10.1.0.2", True, (("http", 6, 80),)),
    ]


def test_addresses_must_be_plain() -> None:
    for wrong in ("fe80::1%eth0", "::ffff:10.0.0.1", "10.0.0.01", "1", "web"):
        assert read(pod("a", wrong))[1] == ["INV005"], wrong


def test_an_address_belongs_to_one() -> None:
    node = obj("Node", "n1", status={"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]})
    assert read(pod("a", "10.0.0.5"), pod("b", "10.0.0.5"))[1] == ["INV007"]
    assert read(node, pod("a", "10.0.0.1"))[1] == ["INV007"]


def test_wrong_shapes_are_told_and_never_raise() -> None:
    wrong: list[Any] = [5, "text", True, [1], {"a": 1}, 1.5]
    template = {"metadata": {"namespace": "shop"}}
    for value in wrong:
        objects = [
            obj("Pod", "a", **template, spec=value, status=value),
            obj("Pod", "b", **template, spec={"containers": value, "hostNetwork": value, "nodeName": value}),
            obj("Pod", "c", metadata={"namespace": "shop", "labels": value, "ownerReferences": value}),
            obj("Node", "n", spec={"podCIDRs": value}, status={"addresses": value}),
            obj("Service", "s", spec={"ports": value, "clusterIPs": value, "selector": value}),
            obj("Endpoints", "e", subsets=value),
            obj("EndpointSlice", "e", "discovery.k8s.io/v1", endpoints=value, ports=value, addressType=value),
            workload("Deployment", "d", annotations=value),
            obj("CronJob", "c", "batch/v1", spec={"jobTemplate": {"spec": {"template": value}}}),
        ]
        for thing in objects:
            _, codes = read(thing)
            assert all(code.startswith("INV") for code in codes)


def test_declared_kinds() -> None:
    inventory, _ = read(pod("a"), obj("Tier", "x", "projectcalico.org/v3"), obj("ConfigMap", "c"))
    assert inventory.declared_kinds == {"Pod", "Tier"}


def test_ten_thousand_pods_are_read_quickly() -> None:
    objects = [pod(f"p{number}", f"10.0.{number >> 8}.{number & 255}") for number in range(10_000)]
    diagnostics = Diagnostics()
    documents = read_text("i.json", json.dumps({"kind": "List", "apiVersion": "v1", "items": objects}), diagnostics)
    start = time.perf_counter()
    inventory = read_inventory(documents, diagnostics)
    assert time.perf_counter() - start < 5
    assert len(inventory.pods) == 10_000
