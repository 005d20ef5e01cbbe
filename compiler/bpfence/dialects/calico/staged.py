"""Checks of what only staged policies have. They are drafts: validated, never enforced."""

from __future__ import annotations

from bpfence.dialects.calico import codes
from bpfence.dialects.calico.model import StagedGlobalNetworkPolicySpec, StagedNetworkPolicySpec
from bpfence.dialects.calico.report import Report

ACTIONS = ("Set", "Delete", "Learn", "Ignore")
_DELETE_FIELDS = ("staged_action", "tier")


def check_staged(report: Report, spec: StagedNetworkPolicySpec | StagedGlobalNetworkPolicySpec) -> None:
    """The staged action, and that a deletion says nothing else."""
    if spec.staged_action and spec.staged_action not in ACTIONS:
        message = f"{spec.staged_action!r} is no staged action"
        report.error(codes.STAGED_ACTION, ("spec", "stagedAction"), message, f"write one of {', '.join(ACTIONS)}")
    if spec.staged_action == "Delete":
        for name in sorted(spec.model_fields_set - set(_DELETE_FIELDS)):
            field = type(spec).model_fields[name].alias or name
            message = f"a staged policy that deletes can't have {field}"
            report.error(codes.STAGED_DELETE, ("spec", field), message, "remove the field")
    report.note(codes.STAGED, ("kind",), "staged policies are checked, but not evaluated: nothing is enforced by them")
