"""Workload objects in; a template pod for each one that has no pods out, so that label rules see the pods to come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bpfence.diagnostics import Diagnostics
from bpfence.identity.inventory import Pod
from bpfence.identity.object_fields import ObjectFields
from bpfence.identity.read_pods import INTERFACE_ANNOTATION, Owner, PodObjects, controller_of, read_pod_spec
from bpfence.source.documents import Document, Path

WORKLOAD_KINDS = (
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "CronJob",
    "Job",
)
_TEMPLATE: Path = ("spec", "template")
_CRON_TEMPLATE: Path = ("spec", "jobTemplate", "spec", "template")


def read_controllers(
    documents: Sequence[Document], diagnostics: Diagnostics
) -> dict[tuple[str, str, str], Owner | None]:
    """What controls each ReplicaSet and Job of the input."""
    found: dict[tuple[str, str, str], Owner | None] = {}
    for document in documents:
        fields = ObjectFields(document, diagnostics)
        key = (document.kind, document.namespace or "default", document.name)
        found[key] = controller_of(fields, document.data["metadata"])
    return found


def read_templates(
    documents: Mapping[str, Sequence[Document]], pods: PodObjects, diagnostics: Diagnostics
) -> tuple[Pod, ...]:
    """Template pods of the workloads without pods; ``documents`` by kind.

    A workload that another one controls stands for that other one, unless it is in the input itself; controlled
    ReplicaSets without replicas are old revisions and finished Jobs make no more pods: they stand for nothing.
    """
    taken = {(pod.namespace, *pod.owner) for pod in pods.pods}
    templates: list[Pod] = []
    for kind in WORKLOAD_KINDS:
        for document in documents.get(kind, ()):
            fields = ObjectFields(document, diagnostics)
            template = _read_template(fields)
            key = (template.namespace, *template.owner)
            finished = kind == "Job" and (key in pods.ended_owners or _is_finished(document))
            if key not in taken and not finished and not _is_old_revision(fields):
                taken.add(key)
                templates.append(template)
    return tuple(templates)


def _read_template(fields: ObjectFields) -> Pod:
    document = fields.document
    at = _CRON_TEMPLATE if document.kind == "CronJob" else _TEMPLATE
    template = _inside(fields, at)
    metadata = fields.mapping(template, "metadata", at)
    labels = fields.labels(metadata, "labels", (*at, "metadata"))
    annotations = fields.mapping(metadata, "annotations", (*at, "metadata"))
    spec = read_pod_spec(fields, fields.mapping(template, "spec", at), (*at, "spec"))
    owner = controller_of(fields, document.data["metadata"]) or (document.kind, document.name)
    return Pod(
        namespace=document.namespace or "default",
        name=owner[1],
        span=document.span(),
        labels=labels,
        node=spec.node,
        host_network=spec.host_network,
        service_account=spec.service_account,
        ports=spec.ports,
        owner=owner,
        interface=fields.text(annotations, INTERFACE_ANNOTATION, (*at, "metadata", "annotations")),
        template=True,
    )


def _inside(fields: ObjectFields, path: Path) -> Mapping[str, Any]:
    data: Mapping[str, Any] = fields.document.data
    for depth, part in enumerate(_names(path)):
        data = fields.mapping(data, part, path[:depth])
    return data


def _names(path: Path) -> Iterator[str]:
    yield from (part for part in path if isinstance(part, str))


def _is_finished(document: Document) -> bool:
    status = document.data.get("status")
    return isinstance(status, dict) and bool(status.get("completionTime"))


def _is_old_revision(fields: ObjectFields) -> bool:
    document = fields.document
    if document.kind != "ReplicaSet" or controller_of(fields, document.data["metadata"]) is None:
        return False
    return _inside(fields, ("spec",)).get("replicas") == 0
