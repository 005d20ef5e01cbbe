"""Checks of ``metadata``, and the metadata that Calico hides in an annotation of its custom resources."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from bpfence.dialects.calico import codes
from bpfence.dialects.calico.model import DEFAULT_TIER, Policy, Resource, StagedPolicy
from bpfence.dialects.calico.report import Report
from bpfence.dialects.label_syntax import (
    dns_label_problem,
    dns_subdomain_problem,
    label_key_problem,
    label_value_problem,
)
from bpfence.dialects.model_base import ObjectMeta
from bpfence.source.documents import Path

CRD_VERSION = "crd.projectcalico.org/v1"
HIDDEN_METADATA = "projectcalico.org/metadata"
NAMESPACED = frozenset(
    ("NetworkPolicy", "NetworkSet", "StagedNetworkPolicy", "StagedKubernetesNetworkPolicy", "WorkloadEndpoint")
)
MAX_ANNOTATIONS = 262_144
_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_POLICY_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})?")
_NAMESPACED_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})?|(?:knp|ossg)\.default\.{_LABEL}(?:\.{_LABEL})*")
_MAX_NAME = 253


def effective_metadata(resource: Resource, report: Report) -> ObjectMeta:
    """The metadata as Calico reads it: in its custom resources the hidden annotation is merged over the visible."""
    metadata = resource.metadata
    hidden_text = metadata.annotations.get(HIDDEN_METADATA)
    if resource.api_version != CRD_VERSION or hidden_text is None:
        return metadata
    hidden = _read_hidden(hidden_text, report)
    visible = {key: value for key, value in metadata.annotations.items() if key != HIDDEN_METADATA}
    return metadata.model_copy(
        update={
            "name": hidden.name or _without_tier(resource),
            "labels": {**metadata.labels, **hidden.labels},
            "annotations": {**visible, **hidden.annotations},
        }
    )


def _read_hidden(text: str, report: Report) -> ObjectMeta:
    path = ("metadata", "annotations", HIDDEN_METADATA)
    try:
        return ObjectMeta.model_validate({"name": "", **json.loads(text)})
    except (ValueError, TypeError, RecursionError, ValidationError):
        report.error(
            codes.METADATA_ANNOTATION, path, f"the annotation {HIDDEN_METADATA} holds no object metadata in JSON"
        )
        return ObjectMeta.model_validate({"name": ""})


def _without_tier(resource: Resource) -> str:
    name = resource.metadata.name
    if isinstance(resource, Policy | StagedPolicy) and resource.spec.tier_name == DEFAULT_TIER:
        return name.removeprefix(f"{DEFAULT_TIER}.")
    return name


def check_metadata(report: Report, kind: str, metadata: ObjectMeta) -> None:
    """Name, namespace, labels and annotations of an object."""
    report.name_problem(codes.OBJECT_NAME, ("metadata", "name"), metadata.name, "name", _name_rule(kind))
    _check_namespace(report, kind, metadata.namespace)
    check_labels(report, ("metadata", "labels"), metadata.labels)
    check_annotations(report, ("metadata", "annotations"), metadata.annotations)


def _name_rule(kind: str) -> Callable[[str], str | None]:
    match kind:
        case "NetworkPolicy" | "StagedNetworkPolicy":
            return _namespaced_policy_problem
        case "GlobalNetworkPolicy" | "StagedGlobalNetworkPolicy":
            return _policy_problem
        case "Tier":
            return dns_label_problem
        case _:
            return dns_subdomain_problem


def _policy_problem(name: str) -> str | None:
    if _POLICY_NAME.fullmatch(name) and len(name) <= _MAX_NAME:
        return None
    return dns_subdomain_problem(name) or "has more than one dot: write NAME or TIER.NAME"


def _namespaced_policy_problem(name: str) -> str | None:
    if _NAMESPACED_NAME.fullmatch(name) and len(name) <= _MAX_NAME:
        return None
    return _policy_problem(name)


def _check_namespace(report: Report, kind: str, namespace: str) -> None:
    path = ("metadata", "namespace")
    if kind not in NAMESPACED:
        if namespace:
            report.error(
                codes.CLUSTER_SCOPED,
                path,
                f"{kind} is cluster-scoped and has no namespace",
                "remove metadata.namespace",
            )
    elif not namespace:
        report.note(
            codes.DEFAULT_NAMESPACE,
            ("metadata",),
            "no namespace given; namespace default is taken",
            "write metadata.namespace",
        )
    else:
        report.name_problem(codes.NAMESPACE_NAME, path, namespace, "namespace", dns_label_problem)


def check_labels(report: Report, path: Path, labels: Mapping[str, str]) -> None:
    """Keys and values as Kubernetes spells them."""
    for key, value in labels.items():
        if problem := label_key_problem(key):
            report.error_at_key(codes.LABEL, (*path, key), f"the label key {key!r} {problem}")
        report.name_problem(codes.LABEL, (*path, key), value, "label value", label_value_problem)


def check_annotations(report: Report, path: Path, annotations: Mapping[str, str]) -> None:
    """Keys as Kubernetes spells them, and their total size."""
    for key in annotations:
        if problem := label_key_problem(key.lower()):
            report.error_at_key(codes.ANNOTATION, (*path, key), f"the annotation key {key!r} {problem}")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > MAX_ANNOTATIONS:
        report.error(codes.ANNOTATION, path, f"the annotations have {size} bytes, the limit is {MAX_ANNOTATIONS}")
