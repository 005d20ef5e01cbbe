"""Spellings of early v1alpha1 releases: refused with the new one, because pruning them would select everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bpfence.dialects.kubernetes import codes
from bpfence.dialects.kubernetes.report import Path, Report

_NAMESPACES_HELP = {
    "namespaceSelector": "write the label selector itself: namespaces: {matchLabels: ...}",
    "sameLabels": "sameLabels is gone: name the labels in matchLabels or matchExpressions",
    "notSameLabels": "notSameLabels is gone: name the labels in matchLabels or matchExpressions",
}
_PODS_HELP = "write pods: {namespaceSelector: {...}, podSelector: {...}}"


def check_old_spelling(report: Report) -> None:
    """Look for the old fields wherever ``namespaces`` and ``pods`` may stand."""
    if not report.document.api_version.startswith("policy.networking.k8s.io/"):
        return
    for path, choice in _choices(report.document.data.get("spec")):
        namespaces, pods = choice.get("namespaces"), choice.get("pods")
        if isinstance(namespaces, Mapping):
            for word in _NAMESPACES_HELP.keys() & namespaces.keys():
                _refuse(report, (*path, "namespaces", word), _NAMESPACES_HELP[word])
        if isinstance(pods, Mapping) and "namespaces" in pods:
            _refuse(report, (*path, "pods", "namespaces"), _PODS_HELP)


def _refuse(report: Report, path: Path, hint: str) -> None:
    message = f"{path[-1]} is a spelling of an early v1alpha1 and would select everything if ignored"
    report.error(codes.OLD_SPELLING, path, message, hint, of_key=True)


def _choices(spec: Any) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The subject and every peer, as far as they have the expected shape."""
    if not isinstance(spec, Mapping):
        return
    if isinstance(spec.get("subject"), Mapping):
        yield ("spec", "subject"), spec["subject"]
    for direction, field in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(_list(spec.get(direction))):
            peers = _list(rule.get(field)) if isinstance(rule, Mapping) else []
            for number, peer in enumerate(peers):
                if isinstance(peer, Mapping):
                    yield ("spec", direction, index, field, number), peer


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
