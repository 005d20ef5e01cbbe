"""Whom policies select, as label expressions over pods. Host-network pods are no pods of the IR but their node's."""

from __future__ import annotations

from bpfence.dialects.kubernetes.cluster_model import NamespacedPods, Subject
from bpfence.dialects.kubernetes.model import LabelSelector, NetworkPolicy
from bpfence.dialects.kubernetes.selectors import label_expression
from bpfence.dialects.objects import PolicyObject
from bpfence.ir.expressions import POD, LabelExpr, LabelOperator, LabelTest, all_labels


def in_namespace(namespace: str) -> LabelTest:
    """The object's namespace has this name."""
    return LabelTest(("meta:namespace",), LabelOperator.IN, (namespace,))


def network_policy_subject(source: PolicyObject, policy: NetworkPolicy) -> LabelExpr:
    """Pods of the policy's namespace that ``podSelector`` matches; all of them without one."""
    selector = policy.spec.pod_selector or LabelSelector()
    return all_labels(POD, in_namespace(source.namespace), label_expression(selector, "label"))


def pods_of_namespaces(selector: LabelSelector) -> LabelExpr:
    """All pods of the namespaces that the selector matches."""
    return all_labels(POD, label_expression(selector, "namespace"))


def chosen_pods(pods: NamespacedPods) -> LabelExpr:
    """Pods by their own and their namespace's labels; every namespace without a namespace selector."""
    namespaces = pods.namespace_selector or LabelSelector()
    return all_labels(POD, label_expression(namespaces, "namespace"), label_expression(pods.pod_selector, "label"))


def cluster_subject(subject: Subject) -> LabelExpr:
    """The subject of a checked cluster policy."""
    if subject.namespaces is not None:
        return pods_of_namespaces(subject.namespaces)
    if subject.pods is not None:
        return chosen_pods(subject.pods)
    raise ValueError("a subject has exactly one member")
