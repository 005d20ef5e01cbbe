"""Which pods of the inventory an expression selects: for messages about rules, not for verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import assert_never

from bpfence.dialects.cilium.prefixes import is_inside
from bpfence.identity.inventory import Inventory, Pod
from bpfence.ir import expressions as ir

PodSet = frozenset[int]
"""Positions in `Pods.all`."""


class Pods:
    """The pods on the pod network, by port name and by label. All indexes are made when asked for, then kept."""

    def __init__(self, inventory: Inventory) -> None:
        self.all = tuple(pod for pod in inventory.pods if not pod.host_network)
        self._cluster = inventory.cluster
        self._namespaces = {item.name: item.labels for item in inventory.namespaces}
        self._by_port: dict[str, dict[int, None]] = {}
        for position, pod in enumerate(self.all):
            for port in pod.ports:
                self._by_port.setdefault(port.name, {})[position] = None
        self._labels: list[dict[str, str]] = []
        self._by_label: dict[tuple[str, str], set[int]] = {}
        self._selected: dict[ir.LabelExpr, PodSet] = {}
        self._meant: dict[ir.PeerExpr, PodSet] = {}

    def with_port(self, name: str, among: PodSet) -> tuple[int, ...]:
        """Those of the pods that give some port this name, in order."""
        named = self._by_port.get(name, {})
        if len(among) < len(named):
            return tuple(position for position in sorted(among) if position in named)
        return tuple(position for position in named if position in among)

    def selected(self, expression: ir.LabelExpr) -> PodSet:
        """The pods that satisfy a label expression."""
        found = self._selected.get(expression)
        if found is None:
            self._index()
            candidates = self._candidates(expression)
            places = range(len(self.all)) if candidates is None else candidates
            found = frozenset(place for place in places if label_holds(expression, self._labels[place]))
            self._selected[expression] = found
        return found

    def meant(self, peer: ir.PeerExpr) -> PodSet:
        """The pods that a peer expression matches at one of their addresses."""
        found = self._meant.get(peer)
        if found is None:
            found = self._meant[peer] = self._find_meant(peer)
        return found

    def _find_meant(self, peer: ir.PeerExpr) -> PodSet:
        match peer:
            case ir.HasObject(expression):
                return self.selected(expression)
            case ir.InPrefixes(networks):
                return frozenset(place for place, pod in enumerate(self.all) if _is_in(pod, networks))
            case ir.OnOwnNode() | ir.LearntName():
                return frozenset()
            case ir.PeerAll(items):
                return frozenset(range(len(self.all))).intersection(*map(self.meant, items))
            case ir.PeerAny(items):
                return frozenset().union(*map(self.meant, items))
            case ir.PeerNot(item):
                return frozenset(range(len(self.all))) - self.meant(item)
            case _:
                assert_never(peer)

    def _candidates(self, expression: ir.LabelExpr) -> set[int] | None:
        """Pods among which are all that satisfy the expression; None: any pod may."""
        match expression:
            case ir.LabelTest(keys, ir.LabelOperator.IN, values):
                return {place for key in keys for value in values for place in self._by_label.get((key, value), ())}
            case ir.LabelAll(items):
                known = [found for item in items if (found := self._candidates(item)) is not None]
                return min(known, key=len) if known else None
            case _:
                return None

    def _index(self) -> None:
        if self._labels:
            return
        self._labels = [self._make_labels(pod) for pod in self.all]
        for place, labels in enumerate(self._labels):
            for item in labels.items():
                self._by_label.setdefault(item, set()).add(place)

    def _make_labels(self, pod: Pod) -> dict[str, str]:
        """The qualified labels that Cilium selectors can name."""
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


def _is_in(pod: Pod, networks: Iterable[ir.Network]) -> bool:
    return any(is_inside(ip_network(address), item) for address in pod.addresses for item in networks)


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
