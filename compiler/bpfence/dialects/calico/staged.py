"""Staged policies: their checks, and the set of policies as it would be if they were set in force.

Staged policies are drafts: validated, never enforced. The *pending* set is evaluated beside the enforced one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.calico import codes
from bpfence.dialects.calico.model import (
    GlobalNetworkPolicy,
    NetworkPolicy,
    Policy,
    StagedGlobalNetworkPolicySpec,
    StagedKubernetesNetworkPolicy,
    StagedKubernetesNetworkPolicySpec,
    StagedNetworkPolicy,
    StagedNetworkPolicySpec,
    StagedPolicy,
)
from bpfence.dialects.calico.report import Report
from bpfence.dialects.objects import PolicyObject
from bpfence.source.documents import Document

ACTIONS = ("Set", "Delete", "Learn", "Ignore")
PREFIX = "Staged"
_DELETE_FIELDS = ("staged_action", "tier")

StagedSpec = StagedNetworkPolicySpec | StagedGlobalNetworkPolicySpec | StagedKubernetesNetworkPolicySpec
Staged = StagedPolicy | StagedKubernetesNetworkPolicy


def check_staged(report: Report, spec: StagedSpec) -> None:
    """The staged action, and that a deletion says nothing else."""
    action = spec.staged_action
    if action and action not in ACTIONS:
        message = f"{action!r} is no staged action"
        report.error(codes.STAGED_ACTION, ("spec", "stagedAction"), message, f"write one of {', '.join(ACTIONS)}")
    if action == "Delete":
        for field in _beside_deletion(report, spec):
            message = f"a staged policy that deletes can't have {field}"
            report.error(codes.STAGED_DELETE, ("spec", field), message, "remove the field")
    if action == "Learn":
        report.note(codes.STAGED, ("spec", "stagedAction"), "the staged action Learn is read as Set")
    if action == "Ignore":
        message = "the staged action Ignore: the policy is checked, and evaluated nowhere"
        report.note(codes.STAGED, ("spec", "stagedAction"), message)


def _beside_deletion(report: Report, spec: StagedSpec) -> Iterator[str]:
    if isinstance(spec, StagedKubernetesNetworkPolicySpec):
        written = report.document.data.get("spec") or {}
        yield from sorted(field for field, value in written.items() if field != "stagedAction" and value)
        return
    for name in sorted(spec.model_fields_set - set(_DELETE_FIELDS)):
        yield type(spec).model_fields[name].alias or name


def enforced_kind(item: PolicyObject) -> str:
    """The kind that the object has, or would have in force."""
    return item.kind.removeprefix(PREFIX)


def is_policy(item: PolicyObject) -> bool:
    """Whether it is a policy that acts."""
    return isinstance(item.model, Policy)


def pending_objects(objects: Sequence[PolicyObject]) -> tuple[PolicyObject, ...]:
    """The objects as they would be with the staged policies in force; each of those keeps its name and its document.

    Drafts for Kubernetes' NetworkPolicies are left out: those are no policies of this language.
    """
    pending = {_identity(item): item for item in objects if not isinstance(item.model, Staged)}
    for item in objects:
        if not isinstance(item.model, StagedPolicy):
            continue
        match item.model.spec.staged_action:
            case "Delete":
                pending.pop(_identity(item), None)
            case "Ignore":
                pass
            case _:
                pending[_identity(item)] = replace(item, model=_in_force(item.model))
    return tuple(pending.values())


def _in_force(model: StagedPolicy) -> NetworkPolicy | GlobalNetworkPolicy:
    kind = NetworkPolicy if isinstance(model, StagedNetworkPolicy) else GlobalNetworkPolicy
    return kind.model_construct(
        api_version=model.api_version, kind=kind.__name__, metadata=model.metadata, spec=model.spec
    )


def staged_objects(objects: Sequence[PolicyObject]) -> tuple[PolicyObject, ...]:
    """The drafts, those for Kubernetes' NetworkPolicies included."""
    return tuple(item for item in objects if isinstance(item.model, Staged))


def lint_staged(
    objects: Sequence[PolicyObject], network_policies: Collection[tuple[str, str]], diagnostics: Diagnostics
) -> None:
    """Warn of deletions of what is not there. ``network_policies``: (namespace, name) of those of Kubernetes."""
    known = {_identity(item) for item in objects if is_policy(item)}
    known |= {("KubernetesNetworkPolicy", namespace, name) for namespace, name in network_policies}
    for item in staged_objects(objects):
        assert isinstance(item.model, Staged)
        if item.model.spec.staged_action == "Delete" and _identity(item) not in known:
            message = f"the staged deletion has no counterpart: there is no {enforced_kind(item)} of this name"
            place = item.span("metadata", "name")
            diagnostics.warning(codes.NOTHING_TO_DELETE, place, message, "correct the name", item.title)


def staged_kubernetes_policies(objects: Sequence[PolicyObject]) -> tuple[StagedKubernetes, ...]:
    """The drafts for Kubernetes' NetworkPolicies."""
    return tuple(
        StagedKubernetes(item, item.model.spec.staged_action or "Set", _kubernetes_document(item))
        for item in objects
        if isinstance(item.model, StagedKubernetesNetworkPolicy)
    )


@dataclass(frozen=True, slots=True)
class StagedKubernetes:
    """A draft with the NetworkPolicy that it stands for, as a document for the dialect of that language."""

    item: PolicyObject
    action: str
    document: Document


def _kubernetes_document(item: PolicyObject) -> Document:
    written = item.document.data.get("spec") or {}
    spec = {field: value for field, value in written.items() if field != "stagedAction"}
    data = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": item.document.metadata}
    return replace(item.document, data={**data, "spec": spec})


def _identity(item: PolicyObject) -> tuple[str, str, str]:
    return enforced_kind(item), item.namespace, item.name
