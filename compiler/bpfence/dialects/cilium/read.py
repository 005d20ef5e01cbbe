"""A located document in, a checked policy object (or diagnostics) out."""

from __future__ import annotations

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.cilium import codes
from bpfence.dialects.cilium.check import check_group, check_metadata, check_policy, find_nulls
from bpfence.dialects.cilium.model import CidrGroup, ClusterwideNetworkPolicy, NetworkPolicy, Policy
from bpfence.dialects.cilium.report import Report
from bpfence.dialects.model_base import Model
from bpfence.dialects.model_problems import field_text
from bpfence.dialects.objects import PolicyObject
from bpfence.dialects.validation import parse_model
from bpfence.options import Options
from bpfence.source.documents import Document

MODELS: dict[tuple[str, str], type[Model]] = {
    ("cilium.io/v2", "CiliumNetworkPolicy"): NetworkPolicy,
    ("cilium.io/v2", "CiliumClusterwideNetworkPolicy"): ClusterwideNetworkPolicy,
    ("cilium.io/v2", "CiliumCIDRGroup"): CidrGroup,
    ("cilium.io/v2alpha1", "CiliumCIDRGroup"): CidrGroup,
}

DEFAULT_NAMESPACE = "default"


def read_object(document: Document, options: Options, diagnostics: Diagnostics) -> PolicyObject | None:
    """Validate one object of a kind in `MODELS`; None when something in it was refused.

    Warnings and notes that need nothing but the object are given here as well.
    """
    before = len(diagnostics.items)
    model = parse_model(document, MODELS[document.api_version, document.kind], "CIL", diagnostics)
    _refuse_nulls(document, diagnostics)
    if model is None or _has_errors(diagnostics, before):
        return None
    namespace = document.namespace or DEFAULT_NAMESPACE if isinstance(model, NetworkPolicy) else ""
    found = PolicyObject("cilium", document.kind, namespace, document.name, model, document)
    report = Report(document, found.title, namespace, diagnostics, options)
    match model:
        case CidrGroup():
            check_metadata(model.metadata, report)
            check_group(model, report)
        case Policy():
            check_metadata(model.metadata, report)
            check_policy(model, report)
        case _:
            raise TypeError(f"{document.kind} has no checks")
    return None if _has_errors(diagnostics, before) else found


def _has_errors(diagnostics: Diagnostics, before: int) -> bool:
    return any(item.is_error for item in diagnostics.items[before:])


def _refuse_nulls(document: Document, diagnostics: Diagnostics) -> None:
    """Cilium reads a null list as absent and a null selector as everything; nobody means that."""
    reported = {item.span for item in diagnostics.items if item.code == codes.NULL}
    for section in ("spec", "specs"):
        if section not in document.data:
            continue
        for path in find_nulls(document.data[section], (section,)):
            span = document.key_span(*path) if isinstance(path[-1], str) else document.span(*path)
            if span not in reported:
                help_text = "remove the line, or give it a value ({}, [] or text)"
                diagnostics.error(codes.NULL, span, f"{field_text(path)} is null", help_text, document.title)
