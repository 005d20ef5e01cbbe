"""Cilium's labels with a source: what an identity carries, and how selectors of policies are scoped and read.

Follows ``pkg/labels``, ``pkg/policy/api/selector.go`` and ``pkg/k8s/apis/cilium.io/utils/utils.go`` of cilium/cilium.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bpfence.dialects.cilium.model import Requirement, Selector
from bpfence.identity.inventory import Address, Pod
from bpfence.semantics.label_selector import Lookup, selector_matches
from bpfence.semantics.world import Party, ReferenceWorld, is_node

POD_NAMESPACE = "io.kubernetes.pod.namespace"
NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
SERVICE_ACCOUNT = "io.cilium.k8s.policy.serviceaccount"
CLUSTER = "io.cilium.k8s.policy.cluster"
SPECIAL = ("health", "ingress")
UNMANAGED = "unmanaged"

Labels = Mapping[tuple[str, str], str]
"""(source, key) -> value."""


def pod_labels(world: ReferenceWorld, pod: Pod) -> Labels:
    """A pod's own labels and those Cilium derives from its namespace, service account and cluster. An endpoint for
    health checks or ingress has its reserved label instead; one in state init has it besides, so that policy still
    selects it.
    """
    special = {("reserved", name): "" for name in pod.reserved if name in SPECIAL}
    if special:
        return special
    namespace = world.namespace_labels(pod.namespace).items()
    own = {key: value for key, value in pod.labels.items() if not key.startswith(NAMESPACE_LABELS)}
    labels = own | {NAMESPACE_LABELS + key: value for key, value in namespace}
    cluster = pod.cluster or world.inventory.cluster
    derived = {POD_NAMESPACE: pod.namespace, SERVICE_ACCOUNT: pod.service_account, CLUSTER: cluster}
    reserved = {("reserved", name): "" for name in pod.reserved if name != UNMANAGED}
    return {("k8s", key): value for key, value in (labels | derived).items()} | reserved


def host_labels(world: ReferenceWorld, node: str) -> Labels:
    """The labels of a node's host endpoint, as subject of host policies."""
    return {("k8s", key): value for key, value in world.node_labels(node).items()} | {("reserved", "host"): ""}


def identity_labels(world: ReferenceWorld, node: str, party: Party) -> Labels | None:
    """Labels of the identity that owns the address, seen from ``node``. None: no identity that
    selectors see (service addresses, pods that Cilium does not manage).
    """
    if party.service or (party.pod is not None and UNMANAGED in party.pod.reserved):
        return None
    if party.pod is not None:
        return pod_labels(world, party.pod)
    if party.node is not None:
        names = ["host" if is_node(party, node) else "remote-node"]
        labels = {("node", key): value for key, value in world.node_labels(party.node).items()}
    else:
        names = ["world"] + ([f"world-ipv{party.address.version}"] if party.address else [])
        labels = {}
    if is_api_server(world, node, party):
        names.append("kube-apiserver")
    return labels | {("reserved", name): "" for name in names}


def is_api_server(world: ReferenceWorld, node: str, party: Party) -> bool:
    """Addresses in the endpoints of default/kubernetes; on the local node the label spreads to all of the
    node's addresses.
    """
    servers = api_server_addresses(world)
    if party.pod is not None or party.service:
        return False
    if party.node is not None and is_node(party, node):
        return any(address in servers for address in world.node_addresses[party.node])
    return party.address in servers


def api_server_addresses(world: ReferenceWorld) -> frozenset[Address]:
    entries = world.inventory.endpoints
    return frozenset(item.address for item in entries if (item.namespace, item.service) == ("default", "kubernetes"))


def split_key(key: str) -> tuple[str, str]:
    """``source:key``; a bare key has source ``any``; ``$host`` and ``reserved.host`` are spellings of
    ``reserved:host``.
    """
    for prefix in ("$", "reserved."):
        if key.startswith(prefix):
            return "reserved", key.removeprefix(prefix)
    source, colon, rest = key.partition(":")
    return (source, rest) if colon else ("any", key)


def lookup_in(labels: Labels) -> Lookup:
    """Values by selector key; source ``any`` finds a label of every source."""

    def lookup(key: str) -> str | None:
        source, name = split_key(key)
        if source != "any":
            return labels.get((source, name))
        return next((value for (_, label), value in labels.items() if label == name), None)

    return lookup


def names_init(selector: Selector | None) -> bool:
    """Whether a subject speaks of endpoints in state init, which have no namespace yet."""
    return selector is not None and ("reserved", "init") in _keys(selector)


def scoped_matches(
    selector: Selector, namespace: str, labels: Labels, own_cluster: str = "", *, for_init: bool = False
) -> bool:
    """A peer selector of a policy in ``namespace`` (empty: clusterwide), scoped to that namespace or to pods,
    then matched. ``own_cluster``: whose pods a selector means that names no cluster; empty: those of every cluster.
    ``for_init``: the subject speaks of endpoints in state init, and so a clusterwide policy is not scoped.
    """
    lookup = lookup_in(labels)
    if not selector_matches(selector, lookup):
        return False
    keys = list(_keys(selector))
    cluster = labels.get(("k8s", CLUSTER), own_cluster)
    names_cluster = any(source == "reserved" or _is_key((source, key), CLUSTER) for source, key in keys)
    if own_cluster and cluster != own_cluster and not names_cluster:
        return False
    if any(source == "reserved" for source, _ in keys) or any(_is_key(item, POD_NAMESPACE) for item in keys):
        return True
    pod_namespace = labels.get(("k8s", POD_NAMESPACE))
    if not namespace:
        return for_init or pod_namespace is not None
    if any(source in ("any", "k8s") and key.startswith(NAMESPACE_LABELS) for source, key in keys):
        return True
    return pod_namespace == namespace


def _is_key(item: tuple[str, str], wanted: str) -> bool:
    return item[0] in ("any", "k8s") and item[1] == wanted


def _keys(selector: Selector) -> Iterable[tuple[str, str]]:
    requirements: list[Requirement] = selector.match_expressions or []
    names = [*(selector.match_labels or {}), *(item.key for item in requirements)]
    return [split_key(name) for name in names]
