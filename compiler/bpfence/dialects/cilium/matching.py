"""Which pods of the inventory an expression selects: for messages about rules, not for verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import assert_never

from bpfence.dialects.cilium.prefixes import is_inside
from bpfence.identity.inventory import Inventory, Pod
from bpfence.ir import expressions as ir


class Pods:
    """The pods on the pod network, by port name, with their qualified labels (made when asked for, then kept)."""

    def __init__(self, inventory: Inventory) -> None:
        self.all = tuple(pod for pod in inventory.pods if not pod.host_network)
        self._cluster = inventory.cluster
        self._namespaces = {item.name: item.labels for item in inventory.namespaces}
        self._labels: dict[tuple[str, str], dict[str, str]] = {}
        self._by_port: dict[str, dict[tuple[str, str], Pod]] = {}
        for pod in self.all:
            for port in pod.ports:
                self._by_port.setdefault(port.name, {})[pod.namespace, pod.name] = pod

    def with_port(self, name: str) -> tuple[Pod, ...]:
        """Pods that give some port this name."""
        return tuple(self._by_port.get(name, {}).values())

    def labels(self, pod: Pod) -> Mapping[str, str]:
        """The qualified labels that Cilium selectors can name."""
        key = (pod.namespace, pod.name)
        if key not in self._labels:
            self._labels[key] = self._make_labels(pod)
        return self._labels[key]

    def _make_labels(self, pod: Pod) -> dict[str, str]:
        space = self._namespaces.get(pod.namespace, {"kubernetes.io/metadata.name": pod.namespace})
        labels = {f"label:{key}": value for key, value in pod.labels.items()}
        labels.update((f"namespace:{key}", value) for key, value in space.items())
        labels["meta:kind"] = "pod"
        labels["meta:name"] = pod.name
        labels["meta:namespace"] = pod.namespace
        labels["meta:serviceaccount"] = pod.service_account
        labels["meta:cluster"] = pod.cluster or self._cluster
        labels.update((f"reserved:{name}", "") for name in pod.reserved)
        return labels

    def selects(self, expression: ir.LabelExpr, pod: Pod) -> bool:
        """Whether the pod satisfies a label expression."""
        return label_holds(expression, self.labels(pod))

    def means(self, peer: ir.PeerExpr, pod: Pod) -> bool:
        """Whether a peer expression matches the pod at one of its addresses."""
        match peer:
            case ir.HasObject(expression):
                return self.selects(expression, pod)
            case ir.InPrefixes(networks):
                return any(is_inside(ip_network(address), item) for address in pod.addresses for item in networks)
            case ir.OnOwnNode() | ir.LearntName():
                return False
            case ir.PeerAll(items):
                return all(self.means(item, pod) for item in items)
            case ir.PeerAny(items):
                return any(self.means(item, pod) for item in items)
            case ir.PeerNot(item):
                return not self.means(item, pod)
            case _:
                assert_never(peer)


def label_holds(expression: ir.LabelExpr, labels: Mapping[str, str]) -> bool:
    """Whether an object with these qualified labels satisfies a label expression."""
    match expression:
        case ir.LabelTest():
            return _testlabel_holds(expression, labels)
        case ir.LabelAll(items):
            return all(label_holds(item, labels) for item in items)
        case ir.LabelAny(items):
            return any(label_holds(item, labels) for item in items)
        case ir.LabelNot(item):
            return not label_holds(item, labels)
        case _:
            assert_never(expression)


def _testlabel_holds(test: ir.LabelTest, labels: Mapping[str, str]) -> bool:
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
