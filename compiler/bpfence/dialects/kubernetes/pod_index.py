"""Inventory in, quick answers to "which pods does this selector mean" out; for the checks that look at the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from bpfence.dialects.kubernetes.cluster_model import ClusterIngressPeer, NamespacedPods, Subject
from bpfence.dialects.kubernetes.model import LabelSelector, NetworkPolicy, Peer
from bpfence.dialects.kubernetes.selectors import selector_matches
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory, Namespace, Pod

Key = TypeVar("Key")
EVERYTHING = LabelSelector()


@dataclass(frozen=True, slots=True)
class Scope:
    """Pods by two selectors. ``namespaces`` None = the one namespace called ``namespace``."""

    pods: LabelSelector
    namespaces: LabelSelector | None = None
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class PodIndex:
    """Pods by namespace and by label: all those on the pod network, or all those on the host network.

    ``kinds``: one pod for each distinct namespace, labels and ports, which is all that selectors and port names see.
    """

    inventory: Inventory
    pods: tuple[Pod, ...]
    kinds: tuple[Pod, ...]
    by_namespace: dict[str, tuple[Pod, ...]]
    by_label: dict[tuple[str, str], tuple[Pod, ...]]
    namespaces: dict[str, Namespace]
    pod_keys: frozenset[str]
    namespace_keys: frozenset[str]

    def matching(self, scope: Scope) -> Iterator[Pod]:
        """The index's pods in the scope."""
        known: dict[str, bool] = {}
        for pod in self._candidates(scope):
            if pod.namespace not in known:
                known[pod.namespace] = self.in_scope(scope, pod.namespace)
            if known[pod.namespace] and selector_matches(scope.pods, pod.labels):
                yield pod

    def contains(self, scope: Scope, pod: Pod) -> bool:
        """Whether policies mean this pod by the scope."""
        if pod.host_network or not self.in_scope(scope, pod.namespace):
            return False
        return selector_matches(scope.pods, pod.labels)

    def in_scope(self, scope: Scope, namespace: str) -> bool:
        """Whether pods of the namespace can be in the scope."""
        if scope.namespaces is None:
            return namespace == scope.namespace
        labels = {"kubernetes.io/metadata.name": namespace}
        if namespace in self.namespaces:
            labels = dict(self.namespaces[namespace].labels)
        return selector_matches(scope.namespaces, labels)

    def _candidates(self, scope: Scope) -> Iterable[Pod]:
        """A short list that holds the scope's pods: those of one label, or those of its namespaces."""
        lists = [self.by_label.get(label, ()) for label in scope.pods.match_labels.items()]
        if scope.namespaces is None:
            lists.append(self.by_namespace.get(scope.namespace, ()))
        if lists:
            return min(lists, key=len)
        spaces = (name for name in self.by_namespace if self.in_scope(scope, name))
        return chain.from_iterable(self.by_namespace[name] for name in spaces)


def index_pods(inventory: Inventory, host_network: bool = False) -> PodIndex:
    """Index the pods that policies can select, or those on the host network; linear in the inventory."""
    pods = [pod for pod in inventory.pods if pod.host_network is host_network]
    kinds = {(pod.namespace, frozenset(pod.labels.items()), pod.ports): pod for pod in pods}
    return PodIndex(
        inventory,
        tuple(pods),
        tuple(kinds.values()),
        _grouped((pod.namespace, pod) for pod in pods),
        _grouped((label, pod) for pod in pods for label in pod.labels.items()),
        {namespace.name: namespace for namespace in inventory.namespaces},
        frozenset(key for pod in inventory.pods for key in pod.labels),
        frozenset(key for namespace in inventory.namespaces for key in namespace.labels),
    )


def _grouped(pairs: Iterable[tuple[Key, Pod]]) -> dict[Key, tuple[Pod, ...]]:
    groups: dict[Key, list[Pod]] = {}
    for key, pod in pairs:
        groups.setdefault(key, []).append(pod)
    return {key: tuple(group) for key, group in groups.items()}


def policy_scope(source: PolicyObject, policy: NetworkPolicy) -> Scope:
    """Whom a NetworkPolicy selects."""
    return Scope(policy.spec.pod_selector or EVERYTHING, namespace=source.namespace)


def peer_scope(source: PolicyObject, peer: Peer) -> Scope | None:
    """The pods that a NetworkPolicy peer means; None for an ``ipBlock``."""
    if peer.ip_block is not None:
        return None
    return Scope(peer.pod_selector or EVERYTHING, peer.namespace_selector, source.namespace)


def choice_scope(choice: Subject | ClusterIngressPeer) -> Scope | None:
    """The pods that a cluster policy's subject or peer means; None for a peer of addresses."""
    if choice.namespaces is not None:
        return Scope(EVERYTHING, choice.namespaces)
    return pods_scope(choice.pods) if choice.pods is not None else None


def pods_scope(pods: NamespacedPods) -> Scope:
    """Pods by both selectors; a missing namespace selector means all namespaces."""
    return Scope(pods.pod_selector, pods.namespace_selector or EVERYTHING)
