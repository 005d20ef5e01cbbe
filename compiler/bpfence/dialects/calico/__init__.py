"""Calico's policy language: policies, tiers, network sets, host endpoints and profiles to IR tiers."""

from __future__ import annotations

from bpfence.dialects.calico.hosts import host_endpoints, host_settings, overruled_host_endpoints
from bpfence.dialects.calico.lint import lint
from bpfence.dialects.calico.lower import Lowered, lower
from bpfence.dialects.calico.read import MODELS, read_object
from bpfence.dialects.calico.staged import (
    is_policy,
    lint_staged,
    pending_objects,
    staged_kubernetes_policies,
    staged_objects,
)
from bpfence.dialects.calico.workloads import makes_layer, replace_pods

__all__ = [
    "MODELS",
    "Lowered",
    "host_endpoints",
    "host_settings",
    "is_policy",
    "lint",
    "lint_staged",
    "lower",
    "makes_layer",
    "overruled_host_endpoints",
    "pending_objects",
    "read_object",
    "replace_pods",
    "staged_kubernetes_policies",
    "staged_objects",
]
