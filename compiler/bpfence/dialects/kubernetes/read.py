"""Located document in, checked policy object out."""

from __future__ import annotations

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.kubernetes import codes
from bpfence.dialects.kubernetes.admin_model import AdminNetworkPolicy, BaselineAdminNetworkPolicy
from bpfence.dialects.kubernetes.check import check_network_policy
from bpfence.dialects.kubernetes.check_common import check_metadata, check_nulls
from bpfence.dialects.kubernetes.cluster_check import (
    check_admin_policy,
    check_baseline_policy,
    check_cluster_policy,
)
from bpfence.dialects.kubernetes.cluster_model import ClusterNetworkPolicy
from bpfence.dialects.kubernetes.model import NetworkPolicy
from bpfence.dialects.kubernetes.old_spelling import check_old_spelling
from bpfence.dialects.kubernetes.report import Report
from bpfence.dialects.kubernetes.unknown import is_of_item, is_of_subject, unknown_paths, without, without_rules
from bpfence.dialects.model_base import Model
from bpfence.dialects.objects import PolicyObject
from bpfence.dialects.validation import parse_model
from bpfence.options import Options
from bpfence.source.documents import Document

DEFAULT_NAMESPACE = "default"


def read_policy(
    document: Document, model: type[Model], options: Options, diagnostics: Diagnostics
) -> PolicyObject | None:
    """Validate one policy; None when it is refused. The namespace of a namespaced kind is defaulted."""
    namespaced = model is NetworkPolicy
    namespace = (document.namespace or DEFAULT_NAMESPACE) if namespaced else ""
    title = f"{document.kind} {namespace}/{document.name}" if namespaced else f"{document.kind} {document.name}"
    report = Report(document, title, Diagnostics(), options.allow_unsupported)
    parsed = _parse(model, report)
    diagnostics.extend(report.diagnostics.items)
    if parsed is None or report.diagnostics.has_errors:
        return None
    return PolicyObject("kubernetes", document.kind, namespace, document.name, parsed, document)


def _parse(model: type[Model], report: Report) -> Model | None:
    check_old_spelling(report)
    if report.diagnostics.has_errors:
        return None
    parsed = parse_model(_known_part(report.document, model, report), model, "K8S", report.diagnostics)
    if parsed is not None:
        check_metadata(report, model is NetworkPolicy)
        check_nulls(report)
        _check_model(parsed, report)
    return parsed


def _check_model(model: Model, report: Report) -> None:
    match model:
        case NetworkPolicy():
            check_network_policy(model, report)
        case ClusterNetworkPolicy():
            check_cluster_policy(model, report)
        case AdminNetworkPolicy():
            check_admin_policy(model, report)
        case BaselineAdminNetworkPolicy():
            check_baseline_policy(model, report)
        case _:
            raise TypeError(f"no checks for {type(model).__name__}")


def _known_part(document: Document, model: type[Model], report: Report) -> Document:
    """The document as the schema shall see it: under --allow-unsupported without unknown fields that can be denied."""
    if not report.lenient:
        return document
    paths = [path for path in unknown_paths(document.data, model) if not is_of_subject(path)]
    cluster = model is not NetworkPolicy
    for path in paths:
        message = f"unknown field {path[-1]!r}"
        closes = "its rule fails closed" if cluster and is_of_item(path) else "the policy will deny what it selects"
        report.refuse(codes.UNKNOWN_FIELD, path, message, closes, of_key=True)
    if not paths:
        return document
    return without(document, paths) if cluster else without_rules(document)
