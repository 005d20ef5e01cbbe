"""Hypothesis strategies for clusters: namespaces, nodes, pods, service accounts, services, as objects of `kubectl
get`.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from support.pools import (
    ACCOUNT_LABELS,
    ACCOUNTS,
    LABELS,
    NAMESPACE_LABELS,
    NAMESPACES,
    NODE_LABELS,
    NODES,
    PODS,
    TRANSPORTS,
    labels_of,
    rarely,
)

Object = dict[str, Any]


@st.composite
def inventories(draw: st.DrawFn, families: tuple[int, ...] = (4, 6)) -> list[Object]:
    """A small cluster: two nodes, two or three namespaces, three to eight neighbouring pods, services."""
    namespaces = NAMESPACES[: draw(st.integers(2, 3))]
    objects = [_namespace(name, draw(labels_of(NAMESPACE_LABELS))) for name in namespaces]
    objects += [_account(space, name, draw(labels_of(ACCOUNT_LABELS))) for space in namespaces for name in ACCOUNTS]
    objects += [_node(index, draw(labels_of(NODE_LABELS)), families) for index in range(len(NODES))]
    objects += [draw(_pods(index, namespaces, families)) for index in range(draw(st.integers(3, PODS)))]
    objects += draw(st.lists(_host_pods(namespaces, families), max_size=1))
    objects += draw(_services(namespaces, families, [item for item in objects if item["kind"] == "Pod"]))
    return [*objects, _api_server(families)]


def _namespace(name: str, labels: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _account(namespace: str, name: str, labels: dict[str, str]) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def node_addresses(index: int, families: tuple[int, ...]) -> list[str]:
    """The first node is 10.0.0.1, the second 10.0.0.2, and their IPv6 twins."""
    return [{4: f"10.0.0.{index + 1}", 6: f"fd00:10::{index + 1}"}[family] for family in families]


def _node(index: int, labels: dict[str, str], families: tuple[int, ...]) -> Object:
    addresses = [{"type": "InternalIP", "address": text} for text in node_addresses(index, families)]
    metadata = {"name": NODES[index], "labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": {"addresses": addresses}}


def _api_server(families: tuple[int, ...]) -> Object:
    """On the second node, and outside the cluster."""
    outside = [{4: "203.0.113.128", 6: "2001:db8::7fff"}[family] for family in families]
    addresses = [{"ip": text} for text in (*node_addresses(1, families), *outside)]
    ports = [{"name": "https", "port": 6443, "protocol": "TCP"}]
    metadata = {"name": "kubernetes", "namespace": "default"}
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": metadata,
        "subsets": [{"addresses": addresses, "ports": ports}],
    }


_pod_labels = st.fixed_dictionaries(
    {"app": st.sampled_from(LABELS["app"])}, optional={key: st.sampled_from(LABELS[key]) for key in ("tier", "role")}
)


@st.composite
def _pods(draw: st.DrawFn, index: int, namespaces: tuple[str, ...], families: tuple[int, ...]) -> Object:
    """Pod p0, p1, ...: 10.1.0.6 and so on. Most are on both families of the cluster."""
    used = draw(st.sampled_from((families, families, families[:1], families[-1:])))
    addresses = [{4: f"10.1.0.{6 + index}", 6: f"fd00:10:1::{6 + index:x}"}[family] for family in used]
    containers = [{"name": "main", "image": "example/main", "ports": draw(_container_ports())}]
    spec: Object = {"nodeName": draw(st.sampled_from(NODES)), "containers": containers}
    if draw(rarely):
        spec["initContainers"] = [_init_container(draw(_container_ports()), draw(st.booleans()))]
    if account := draw(st.sampled_from(("", *ACCOUNTS))):
        spec["serviceAccountName"] = account
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"p{index}",
            "namespace": draw(st.sampled_from(namespaces)),
            "labels": draw(_pod_labels),
        },
        "spec": spec,
        "status": {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": text} for text in addresses]},
    }


def _init_container(ports: list[Object], restartable: bool) -> Object:
    renamed = [{**port, "name": "init"} for port in ports[:1]]
    container = {"name": "first", "image": "example/first", "ports": renamed}
    return {**container, "restartPolicy": "Always"} if restartable else container


@st.composite
def _container_ports(draw: st.DrawFn) -> list[Object]:
    """Named ports; pods differ in the number that a name has, and in which names they have. One name, one number."""
    names = draw(st.sampled_from((("http",), ("http", "dns"), ("dns", "admin"), ("http", "admin"), ())))
    return [
        {
            "name": name,
            "containerPort": draw(st.sampled_from((53, 80, 81, 8080))),
            "protocol": draw(st.sampled_from(TRANSPORTS[:2])),
        }
        for name in names
    ]


@st.composite
def _host_pods(draw: st.DrawFn, namespaces: tuple[str, ...], families: tuple[int, ...]) -> Object:
    index = draw(st.integers(0, len(NODES) - 1))
    addresses = node_addresses(index, families)
    ports = draw(_container_ports())
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "agent",
            "namespace": draw(st.sampled_from(namespaces)),
            "labels": draw(labels_of(LABELS)),
        },
        "spec": {
            "nodeName": NODES[index],
            "hostNetwork": True,
            "containers": [{"name": "main", "image": "example/agent", "ports": ports}],
        },
        "status": {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": text} for text in addresses]},
    }


@st.composite
def _services(
    draw: st.DrawFn, namespaces: tuple[str, ...], families: tuple[int, ...], pods: list[Object]
) -> list[Object]:
    """Service ``front`` chooses pods by a label, ``ext`` has addresses of its own and no selector."""
    namespace = draw(st.sampled_from(namespaces))
    chosen = draw(labels_of({"app": LABELS["app"]}).filter(bool))
    members = [
        pod
        for pod in pods
        if pod["metadata"]["namespace"] == namespace
        and not pod["spec"].get("hostNetwork")
        and chosen.items() <= pod["metadata"]["labels"].items()
    ]
    addresses = [{4: "10.96.0.1", 6: "fd00:96::1"}[family] for family in families]
    outside = [{4: "203.0.113.127", 6: "2001:db8::1"}[family] for family in families]
    behind = [entry["ip"] for pod in members for entry in pod["status"]["podIPs"]]
    return [
        _service(namespace, "front", addresses, chosen),
        _service(namespace, "ext", [], {}),
        *_slices(namespace, "front", behind),
        *_slices(namespace, "ext", outside),
    ]


def _service(namespace: str, name: str, addresses: list[str], selector: dict[str, str]) -> Object:
    spec: Object = {"ports": [{"name": "web", "port": 80, "protocol": "TCP", "targetPort": 8080}]}
    if addresses:
        spec |= {"clusterIP": addresses[0], "clusterIPs": addresses}
    else:
        spec |= {"clusterIP": "None"}
    if selector:
        spec["selector"] = selector
    metadata = {"name": name, "namespace": namespace, "labels": {"svc": name}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _slices(namespace: str, service: str, addresses: list[str]) -> list[Object]:
    """One EndpointSlice for each family in use; the first endpoint of each is not ready."""
    found = []
    for word, mark in (("IPv4", "."), ("IPv6", ":")):
        members = [text for text in addresses if mark in text]
        endpoints = [{"addresses": [text], "conditions": {"ready": text != members[0]}} for text in members]
        found.append(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"{service}-{word.lower()}",
                    "namespace": namespace,
                    "labels": {"kubernetes.io/service-name": service},
                },
                "addressType": word,
                "endpoints": endpoints,
                "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
            }
        )
    return found
