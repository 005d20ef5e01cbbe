"""Kubernetes' policy languages: NetworkPolicy, ClusterNetworkPolicy and their predecessors to IR policies."""

from __future__ import annotations

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.kubernetes.admin_model import AdminNetworkPolicy, BaselineAdminNetworkPolicy
from bpfence.dialects.kubernetes.cluster_lower import lower_cluster_policies
from bpfence.dialects.kubernetes.cluster_model import ClusterNetworkPolicy
from bpfence.dialects.kubernetes.lint import lint
from bpfence.dialects.kubernetes.lower import exempt_rules, lower_network_policies
from bpfence.dialects.kubernetes.model import NetworkPolicy
from bpfence.dialects.kubernetes.read import read_policy
from bpfence.dialects.kubernetes.unsupported import denies_all, lower_unsupported
from bpfence.dialects.model_base import Model
from bpfence.dialects.objects import PolicyObject
from bpfence.options import Options
from bpfence.source.documents import Document

MODELS: dict[tuple[str, str], type[Model]] = {
    ("networking.k8s.io/v1", "NetworkPolicy"): NetworkPolicy,
    ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"): ClusterNetworkPolicy,
    ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"): AdminNetworkPolicy,
    ("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy"): BaselineAdminNetworkPolicy,
}


def read_object(document: Document, options: Options, diagnostics: Diagnostics) -> PolicyObject | None:
    """Validate a document whose (apiVersion, kind) is in `MODELS`; None when it is refused."""
    return read_policy(document, MODELS[document.api_version, document.kind], options, diagnostics)


__all__ = [
    "MODELS",
    "read_object",
    "lower_network_policies",
    "lower_cluster_policies",
    "lower_unsupported",
    "denies_all",
    "exempt_rules",
    "lint",
]
