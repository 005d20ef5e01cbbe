"""Which pods of the inventory an expression selects: for messages about rules, not for verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import assert_never

from bpfence.dialects.cilium.groups import networks_overlap
from bpfence.identity.inventory import Inventory, Pod
from bpfence.ir import expressions as ir

DEFAULT_CLUSTER = "default"


def pod_labels(pod: Pod, inventory: Inventory) -> dict[str, str]:
    """The qualified labels of a pod that Cilium selectors can name."""
    labels = {f"label:{key}": value for key, value in pod.labels.items()}
    labels.update((f"namespace:{key}", value) for key, value in inventory.namespace_labels(pod.namespace).items())
    labels["meta:kind"] = "pod"
    labels["meta:name"] = pod.name
    labels["meta:namespace"] = pod.namespace
    labels["meta:serviceaccount"] = pod.service_account
    labels["meta:cluster"] = DEFAULT_CLUSTER
    return labels


def holds(expression: ir.LabelExpr, labels: Mapping[str, str]) -> bool:
    """Whether an object with these labels satisfies the expression."""
    match expression:
        case ir.LabelTest():
            return _test_holds(expression, labels)
        case ir.LabelAll(items):
            return all(holds(item, labels) for item in items)
        case ir.LabelAny(items):
            return any(holds(item, labels) for item in items)
        case ir.LabelNot(item):
            return not holds(item, labels)
        case _:
            assert_never(expression)


def _test_holds(test: ir.LabelTest, labels: Mapping[str, str]) -> bool:
    value = next((labels[key] for key in test.keys if key in labels), None)
    match test.operator:
        case ir.LabelOperator.IN:
            return value in test.values
        case ir.LabelOperator.NOT_IN:
            return value not in test.values
        case ir.LabelOperator.EXISTS:
            return value is not None
        case ir.LabelOperator.ABSENT:
            return value is None
        case _:
            raise ValueError(f"Cilium selectors have no operator {test.operator}")


def means_pod(peer: ir.PeerExpr, pod: Pod, labels: Mapping[str, str]) -> bool:
    """Whether a peer expression matches the pod at one of its addresses."""
    match peer:
        case ir.HasObject(expression):
            return holds(expression, labels)
        case ir.InPrefixes(networks):
            return any(networks_overlap(ip_network(address), item) for address in pod.addresses for item in networks)
        case ir.OnOwnNode():
            return False
        case ir.PeerAll(items):
            return all(means_pod(item, pod, labels) for item in items)
        case ir.PeerAny(items):
            return any(means_pod(item, pod, labels) for item in items)
        case ir.PeerNot(item):
            return not means_pod(item, pod, labels)
        case _:
            assert_never(peer)
