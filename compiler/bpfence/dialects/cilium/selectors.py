"""Selectors to expressions: the subject of a rule, and the endpoints and nodes a statement names.

A peer selector is asked of every class of identity: pods, the own node, other nodes, the world. Most selectors are tied
to a namespace, which only pods have, and so mean pods alone.

Upstream: ``pkg/k8s/apis/cilium.io/utils/utils.go`` (scoping), ``pkg/policy/api/selector.go``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from bpfence.dialects.cilium.labels import (
    ANY,
    CLUSTER_KEY,
    DERIVED_KEYS,
    K8S,
    NAMESPACE_KEY,
    NAMESPACE_LABELS_PREFIX,
    NODE,
    RESERVED,
    Key,
    Test,
)
from bpfence.ir import expressions as ir

V4_WORLD = ir.InPrefixes((IPv4Network("0.0.0.0/0"),))
V6_WORLD = ir.InPrefixes((IPv6Network("::/0"),))
OTHER_NODES = ir.all_peers(ir.HasObject(ir.NODE), ir.PeerNot(ir.OnOwnNode()))

_POD_RESERVED = frozenset(("health", "ingress", "init", "unmanaged", "kube-apiserver"))
NAMESPACE_EXISTS = ir.LabelTest(("meta:namespace",), ir.LabelOperator.EXISTS)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the inventory says that selectors and entities need. ``pod``: the pods that label selectors see.

    ``special``: reserved labels that some endpoints have in place of labels (health, ingress). A pod in state ``init``
    has its own labels besides: for Cilium it has none and is closed, here policies select it as always.
    ``mesh_of``: the own cluster's name when there are pods of other clusters, else empty. ``own_peers``: whether a peer
    selector that names no cluster means the own one.
    """

    pod: ir.LabelExpr
    api_server: ir.PeerExpr
    special: tuple[str, ...] = ()
    mesh_of: str = ""
    own_peers: bool = False

    @property
    def own(self) -> tuple[ir.LabelExpr, ...]:
        """The test that an object is of the own cluster, where that makes a difference."""
        return (ir.LabelTest(("meta:cluster",), ir.LabelOperator.IN, (self.mesh_of,)),) if self.mesh_of else ()


def special_endpoints(name: str) -> ir.LabelExpr:
    """Endpoints with the reserved label in place of labels."""
    return ir.all_labels(ir.POD, ir.LabelTest((f"reserved:{name}",), ir.LabelOperator.EXISTS))


def in_namespace(namespace: str) -> ir.LabelTest:
    """The object lies in this namespace."""
    return ir.LabelTest(("meta:namespace",), ir.LabelOperator.IN, (namespace,))


def lower_subject(tests: Sequence[Test], namespace: str, cluster: Cluster) -> ir.LabelExpr:
    """``endpointSelector``: pods, of one namespace unless the policy is clusterwide (empty).

    Endpoints with a reserved label in place of labels have no namespace.
    """
    scope = [in_namespace(namespace)] if namespace else []
    expressions = [_pod_test(test) for test in tests]
    classes: list[ir.LabelExpr] = []
    if ir.NO_LABELS not in expressions:
        classes.append(ir.all_labels(cluster.pod, *cluster.own, *scope, *expressions))
    if not namespace:
        classes += [special_endpoints(name) for name in cluster.special if accepts_special(tests, name)]
    return classes[0] if len(classes) == 1 else ir.LabelAny(tuple(classes))


def accepts_special(tests: Sequence[Test], name: str) -> bool:
    """Whether a selector without a namespace matches an endpoint whose only label is this reserved one."""
    return all(test.accepts("" if test.key.names(name, RESERVED) else None) for test in tests)


def lower_hosts(tests: Sequence[Test]) -> ir.LabelExpr:
    """``nodeSelector``: nodes by their own labels, whose source is ``k8s`` here."""
    expressions = [_host_test(test) for test in tests]
    return ir.NO_LABELS if ir.NO_LABELS in expressions else ir.all_labels(ir.NODE, *expressions)


def peer_scope(tests: Sequence[Test], namespace: str, subject: Sequence[Test]) -> ir.LabelTest | None:
    """The namespace test that Cilium adds to a peer selector, if it does."""
    if any(test.key.source == RESERVED for test in tests) or any(t.key.names(NAMESPACE_KEY) for t in tests):
        return None
    keys = (test.key for test in tests if test.key.source in (ANY, K8S))
    by_namespace_labels = any(key.name.startswith(NAMESPACE_LABELS_PREFIX) for key in keys)
    if namespace:
        return None if by_namespace_labels else in_namespace(namespace)
    for_init = any(test.key == Key(RESERVED, "init") for test in subject)
    return None if for_init else NAMESPACE_EXISTS


def lower_endpoints(tests: Sequence[Test], scope: ir.LabelTest | None, cluster: Cluster) -> ir.PeerExpr:
    """One item of ``fromEndpoints`` or ``toEndpoints``. ``scope``: the answer of `peer_scope`."""
    expressions = [_pod_test(test) for test in tests]
    classes: list[ir.PeerExpr] = []
    if ir.NO_LABELS not in expressions:
        scopes: tuple[ir.LabelExpr, ...] = () if scope is None else (scope,)
        if cluster.own_peers and not any(_names_cluster(test) for test in tests):
            scopes = (*scopes, *cluster.own)
        classes.append(ir.HasObject(ir.all_labels(cluster.pod, *scopes, *expressions)))
    if scope is None:
        classes += _beyond_pods(tests, cluster)
    return ir.any_peer(*classes)


def _names_cluster(test: Test) -> bool:
    return test.key.source == RESERVED or test.key.names(CLUSTER_KEY)


def lower_nodes(tests: Sequence[Test]) -> ir.PeerExpr:
    """One item of ``fromNodes`` or ``toNodes``: other nodes by their labels."""
    fixed = [_remote_node_test(test) for test in tests if _is_of_every_node(test)]
    labels = [_label_test(test, f"label:{test.key.name}") for test in tests if not _is_of_every_node(test)]
    if ir.NOBODY in fixed:
        return ir.NOBODY
    return ir.all_peers(ir.HasObject(ir.all_labels(ir.NODE, *labels)), ir.PeerNot(ir.OnOwnNode()))


def _beyond_pods(tests: Sequence[Test], cluster: Cluster) -> list[ir.PeerExpr]:
    """What an untied selector means among the identities that are no pods."""
    own = [_node_test(test, "host", cluster) for test in tests]
    other = [_node_test(test, "remote-node", cluster) for test in tests]
    world = [_world_test(test, cluster) for test in tests]
    candidates: list[tuple[ir.PeerExpr, list[ir.PeerExpr]]] = [(ir.OUTSIDE, world)]
    if own == other:
        candidates.append((ir.HasObject(ir.NODE), own))
    else:
        candidates += [(ir.OnOwnNode(), own), (OTHER_NODES, other)]
    found = [ir.all_peers(base, *conditions) for base, conditions in candidates if ir.NOBODY not in conditions]
    special = (name for name in cluster.special if accepts_special(tests, name))
    return [*found, *(ir.HasObject(special_endpoints(name)) for name in special)]


def _pod_test(test: Test) -> ir.LabelExpr:
    key = test.key
    if key.source == RESERVED:
        return _label_test(test, f"reserved:{key.name}") if key.name in _POD_RESERVED else _absent_label(test)
    if key.source not in (ANY, K8S):
        return _absent_label(test)
    if key.name in DERIVED_KEYS:
        return _label_test(test, DERIVED_KEYS[key.name])
    if key.name.startswith(NAMESPACE_LABELS_PREFIX):
        return _label_test(test, f"namespace:{key.name.removeprefix(NAMESPACE_LABELS_PREFIX)}")
    if key.source == K8S:
        return _label_test(test, f"label:{key.name}")
    return _label_test(test, f"label:{key.name}", f"reserved:{key.name}")


def _host_test(test: Test) -> ir.LabelExpr:
    key = test.key
    if key.names("host", RESERVED):
        return ir.ANY_LABELS if test.accepts("") else ir.NO_LABELS
    if _is_derived(key) or key.source not in (ANY, K8S):
        return _absent_label(test)
    return _label_test(test, f"label:{key.name}")


def _label_test(test: Test, *keys: str) -> ir.LabelTest:
    return ir.LabelTest(keys, test.operator, test.values)


def _absent_label(test: Test) -> ir.LabelExpr:
    return ir.ANY_LABELS if test.is_negative else ir.NO_LABELS


def _node_test(test: Test, reserved: str, cluster: Cluster) -> ir.PeerExpr:
    """The test on a node's identity: its reserved labels, and the node's own under the source ``node``."""
    key = test.key
    if key.names(reserved, RESERVED):
        return _constant(test.accepts(""))
    if key.names("kube-apiserver", RESERVED):
        return _where_present(test, cluster.api_server)
    if _is_derived(key) or key.source not in (ANY, NODE):
        return _constant(test.is_negative)
    return ir.HasObject(ir.all_labels(ir.NODE, _label_test(test, f"label:{key.name}")))


def _world_test(test: Test, cluster: Cluster) -> ir.PeerExpr:
    presence: dict[str, ir.PeerExpr] = {
        "world": ir.ANYONE,
        "world-ipv4": V4_WORLD,
        "world-ipv6": V6_WORLD,
        "kube-apiserver": cluster.api_server,
    }
    if test.key.source in (ANY, RESERVED) and test.key.name in presence:
        return _where_present(test, presence[test.key.name])
    return _constant(test.is_negative)


def _is_of_every_node(test: Test) -> bool:
    """Whether the test is about a reserved label; other nodes have one."""
    return test.key.source == RESERVED or test.key.names("remote-node", RESERVED)


def _remote_node_test(test: Test) -> ir.PeerExpr:
    return _constant(test.accepts("") if test.key.name == "remote-node" else test.is_negative)


def _where_present(test: Test, presence: ir.PeerExpr) -> ir.PeerExpr:
    """The test of a reserved label (value ``""``) that the addresses of ``presence`` have and no others."""
    with_label, without = test.accepts(""), test.is_negative
    if with_label == without:
        return _constant(with_label)
    if presence == ir.ANYONE:
        return _constant(with_label)
    return presence if with_label else ir.PeerNot(presence)


def _is_derived(key: Key) -> bool:
    return key.name in DERIVED_KEYS or key.name.startswith(NAMESPACE_LABELS_PREFIX)


def _constant(truth: bool) -> ir.PeerExpr:
    return ir.ANYONE if truth else ir.NOBODY
