"""Pod objects in; pod records out, with their owners collapsed over ReplicaSets and Jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bpfence.diagnostics import Diagnostics
from bpfence.identity.inventory import Address, ContainerPort, Pod
from bpfence.identity.object_fields import ObjectFields
from bpfence.source.documents import Document, Path

INTERFACE_ANNOTATION = "bpfence.io/interface"
_HASH_LABEL = "pod-template-hash"
_ENDED = ("Succeeded", "Failed")

Owner = tuple[str, str]
Controllers = Mapping[tuple[str, str, str], Owner | None]
"""(kind, namespace, name) of a ReplicaSet or Job of the input -> its own controller."""


@dataclass(frozen=True, slots=True)
class PodSpec:
    """What a pod's spec, or a workload's template, says about its pods."""

    node: str
    host_network: bool
    service_account: str
    ports: tuple[ContainerPort, ...]


@dataclass(frozen=True, slots=True)
class PodObjects:
    """``pods``: those that have not ended, with the addresses of their status also when they use the host network.

    ``ended_owners``: (namespace, kind, name) of the owners of pods that have ended.
    """

    pods: tuple[Pod, ...]
    ended_owners: frozenset[tuple[str, str, str]]


def read_pods(documents: Sequence[Document], controllers: Controllers, diagnostics: Diagnostics) -> PodObjects:
    """Records of the pods; a pod in phase Succeeded or Failed is no endpoint any more."""
    pods: list[Pod] = []
    ended: set[tuple[str, str, str]] = set()
    for document in documents:
        fields = ObjectFields(document, diagnostics)
        status = fields.mapping(document.data, "status", ())
        pod = _read_pod(fields, status, controllers)
        if status.get("phase") in _ENDED:
            ended.add((pod.namespace, *pod.owner))
        else:
            pods.append(pod)
    return PodObjects(tuple(pods), frozenset(ended))


def _read_pod(fields: ObjectFields, status: Mapping[str, Any], controllers: Controllers) -> Pod:
    document = fields.document
    metadata = document.data["metadata"]
    namespace = document.namespace or "default"
    labels = fields.labels(metadata, "labels", ("metadata",))
    spec = read_pod_spec(fields, fields.mapping(document.data, "spec", ()), ("spec",))
    annotations = fields.mapping(metadata, "annotations", ("metadata",))
    controller = controller_of(fields, metadata)
    return Pod(
        namespace=namespace,
        name=document.name,
        span=document.span(),
        labels=labels,
        node=spec.node,
        addresses=_addresses(fields, status),
        host_network=spec.host_network,
        service_account=spec.service_account,
        ports=spec.ports,
        owner=_collapse(namespace, controller, labels, controllers) if controller else ("Pod", document.name),
        interface=fields.text(annotations, INTERFACE_ANNOTATION, ("metadata", "annotations")),
    )


def read_pod_spec(fields: ObjectFields, spec: Mapping[str, Any], at: Path) -> PodSpec:
    """The facts of a PodSpec at the path ``at``."""
    ports = [
        *_container_ports(fields, spec, "containers", at),
        *_container_ports(fields, spec, "initContainers", at),
    ]
    account = fields.text(spec, "serviceAccountName", at) or fields.text(spec, "serviceAccount", at)
    return PodSpec(
        node=fields.text(spec, "nodeName", at),
        host_network=fields.flag(spec, "hostNetwork", at),
        service_account=account or "default",
        ports=tuple(ports),
    )


def _container_ports(fields: ObjectFields, spec: Mapping[str, Any], key: str, at: Path) -> list[ContainerPort]:
    """The named ports of one kind of containers, in their order."""
    found: list[ContainerPort] = []
    is_init = key == "initContainers"
    for index, container in enumerate(fields.mappings(spec, key, at)):
        if not container.get("ports"):
            continue
        inside = (*at, key, index)
        restartable = is_init and container.get("restartPolicy") == "Always"
        for position, port in enumerate(fields.mappings(container, "ports", inside)):
            place = (*inside, "ports", position)
            name = fields.text(port, "name", place)
            if not name:
                continue
            protocol, number = fields.protocol(port, place), fields.port(port, "containerPort", place)
            if protocol and number:
                found.append(ContainerPort(name, protocol, number, is_init, restartable))
    return found


def _addresses(fields: ObjectFields, status: Mapping[str, Any]) -> tuple[Address, ...]:
    """All of ``podIPs``, else ``podIP``; each once, in the order of the status."""
    entries = fields.mappings(status, "podIPs", ("status",))
    found = [fields.address(entry.get("ip"), ("status", "podIPs", index, "ip")) for index, entry in enumerate(entries)]
    if not entries and status.get("podIP"):
        found.append(fields.address(status["podIP"], ("status", "podIP")))
    return tuple(dict.fromkeys(address for address in found if address is not None))


def controller_of(fields: ObjectFields, metadata: Mapping[str, Any]) -> Owner | None:
    """Kind and name of the owner that controls the object. A Node owns its static pods, but is no workload."""
    for index, owner in enumerate(fields.mappings(metadata, "ownerReferences", ("metadata",))):
        if owner.get("controller") is not True:
            continue
        at = ("metadata", "ownerReferences", index)
        kind, name = fields.text(owner, "kind", at), fields.text(owner, "name", at)
        if kind and name and kind != "Node":
            return kind, name
    return None


def _collapse(namespace: str, owner: Owner, labels: Mapping[str, str], controllers: Controllers) -> Owner:
    """The owner's own controller, for owners that come and go with every roll-out or run."""
    kind, name = owner
    if kind not in ("ReplicaSet", "Job"):
        return owner
    if (kind, namespace, name) in controllers:
        return controllers[kind, namespace, name] or owner
    suffix = f"-{labels.get(_HASH_LABEL, '')}"
    if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix) and len(name) > len(suffix):
        return "Deployment", name.removesuffix(suffix)
    return owner
