"""Checked policies and the inventory in; warnings and notes about what their author may not have meant, out."""

from __future__ import annotations

from collections.abc import Sequence

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.kubernetes.cluster_form import cluster_form
from bpfence.dialects.kubernetes.cluster_lint import lint_cluster_policy
from bpfence.dialects.kubernetes.cluster_lower import CLUSTER_MODELS
from bpfence.dialects.kubernetes.lint_dns import lint_dns
from bpfence.dialects.kubernetes.lint_policy import lint_network_policy
from bpfence.dialects.kubernetes.lint_selection import lint_cluster_selection, lint_policy_selection
from bpfence.dialects.kubernetes.model import NetworkPolicy
from bpfence.dialects.kubernetes.pod_index import index_pods
from bpfence.dialects.kubernetes.report import Report
from bpfence.dialects.kubernetes.unsupported import denies_all
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory
from bpfence.options import Options


def lint(objects: Sequence[PolicyObject], inventory: Inventory, options: Options, diagnostics: Diagnostics) -> None:
    """Report traps in all objects of this dialect; nothing here changes what is enforced."""
    index, hosts = index_pods(inventory), index_pods(inventory, host_network=True)
    policies = [(item, item.model) for item in objects if isinstance(item.model, NetworkPolicy)]
    for source in objects:
        report = Report(source.document, source.title, diagnostics, options.allow_unsupported)
        if isinstance(source.model, NetworkPolicy):
            lint_network_policy(source.model, report)
            lint_policy_selection(source, source.model, index, hosts, report)
        elif isinstance(source.model, CLUSTER_MODELS) and not (options.allow_unsupported and denies_all(source)):
            form = cluster_form(source)
            lint_cluster_policy(form, policies, index, report)
            lint_cluster_selection(form, index, hosts, report)
    lint_dns(policies, index, diagnostics)
