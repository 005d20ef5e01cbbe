"""Checks that every kind shares: metadata and explicit nulls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bpfence.dialects.kubernetes import codes
from bpfence.dialects.kubernetes.report import Path, Report
from bpfence.dialects.label_syntax import dns_label_problem, dns_subdomain_problem

MAY_BE_NULL = frozenset(("port", "endPort", "protocol", "name"))
"""Scalars for which the API reads null as missing. A null list, selector or peer would silently mean "everybody"."""


def check_metadata(report: Report, namespaced: bool) -> None:
    """The object's name and namespace."""
    document = report.document
    if not document.name:
        report.error(codes.OBJECT_NAME, ("metadata",), "metadata.name is missing", "give the policy a name")
    elif problem := dns_subdomain_problem(document.name):
        report.error(codes.OBJECT_NAME, ("metadata", "name"), f"the name {document.name!r} {problem}")
    if not namespaced and document.namespace:
        message = f"{document.kind} is cluster-scoped and has no namespace"
        report.error(codes.CLUSTER_SCOPED, ("metadata", "namespace"), message, "remove metadata.namespace")
    elif namespaced and not document.namespace:
        note = "no namespace given; namespace default is taken"
        report.note(codes.DEFAULT_NAMESPACE, ("metadata",), note, "write metadata.namespace")
    elif namespaced and (problem := dns_label_problem(document.namespace)):
        message = f"the namespace {document.namespace!r} {problem}"
        report.error(codes.OBJECT_NAME, ("metadata", "namespace"), message)


def check_nulls(report: Report) -> None:
    """Refuse explicit nulls in the spec."""
    data = report.document.data
    if "spec" in data:
        for path in null_paths(data["spec"], ("spec",)):
            message = f"{path[-1]} is null, which readers take for missing and thus for everybody"
            report.error(codes.NULL, path, message, "remove the field, or write [] or {} for what is meant")


def null_paths(value: Any, path: Path) -> Iterator[Path]:
    """Paths of all nulls below a value of the document, but for scalars that may be null."""
    if value is None and path[-1] not in MAY_BE_NULL:
        yield path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from null_paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from null_paths(item, (*path, index))
