"""Hypothesis strategies for NetworkPolicy, ClusterNetworkPolicy, AdminNetworkPolicy and BaselineAdminNetworkPolicy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from support.pools import (
    EXCEPTIONS,
    LABELS,
    NAMESPACE_LABELS,
    NODE_LABELS,
    PORT_NAMES,
    PORTS,
    TRANSPORTS,
    networks,
    port_pairs,
    rarely,
    some,
)

Object = dict[str, Any]


def label_selectors(pool: dict[str, tuple[str, ...]]) -> st.SearchStrategy[Object]:
    """matchLabels, matchExpressions, both or neither; mostly one entry, so that something is selected."""
    pairs = st.sampled_from([(key, value) for key, values in pool.items() for value in values])
    labels = pairs.map(lambda pair: dict((pair,)))
    requirement = st.sampled_from(sorted(pool)).flatmap(lambda key: _requirement(key, pool[key]))
    expressions = st.lists(requirement, min_size=1, max_size=2)
    single = requirement.map(lambda item: [item])
    return st.one_of(
        st.just({}),
        st.fixed_dictionaries({"matchLabels": labels}),
        st.fixed_dictionaries({"matchLabels": labels}),
        st.fixed_dictionaries({"matchExpressions": single}),
        st.fixed_dictionaries({"matchExpressions": expressions}),
        st.fixed_dictionaries({"matchLabels": labels, "matchExpressions": single}),
    )


def subjects_of(selectors: st.SearchStrategy[Object]) -> st.SearchStrategy[Object]:
    """Whom a policy selects: often everybody, so that policies meet at the same pods."""
    return st.one_of(st.just({}), st.just({}), selectors)


def _requirement(key: str, values: tuple[str, ...]) -> st.SearchStrategy[Object]:
    with_values = st.fixed_dictionaries(
        {"key": st.just(key), "operator": st.sampled_from(("In", "NotIn")), "values": some(values, 2)}
    )
    without = st.fixed_dictionaries({"key": st.just(key), "operator": st.sampled_from(("Exists", "DoesNotExist"))})
    return with_values | without


pod_selectors = label_selectors(LABELS)
namespace_selectors = label_selectors({**NAMESPACE_LABELS, "kubernetes.io/metadata.name": ("alpha", "beta")})


def cidr_blocks(families: Sequence[int]) -> st.SearchStrategy[Object]:
    """``cidr`` with some ``except``."""
    chosen = st.sampled_from(families).flatmap(networks)
    return chosen.flatmap(
        lambda cidr: st.fixed_dictionaries(
            {"cidr": st.just(cidr)}, optional={"except": some(EXCEPTIONS[cidr], 2)} if cidr in EXCEPTIONS else {}
        )
    )


def _peers(families: Sequence[int]) -> st.SearchStrategy[Object]:
    return st.one_of(
        st.fixed_dictionaries({"podSelector": pod_selectors}),
        st.fixed_dictionaries({"namespaceSelector": namespace_selectors}),
        st.fixed_dictionaries({"podSelector": pod_selectors, "namespaceSelector": namespace_selectors}),
        st.fixed_dictionaries({"ipBlock": cidr_blocks(families)}),
    )


protocols = st.sampled_from(TRANSPORTS)
_ports = st.one_of(
    st.fixed_dictionaries({"port": st.sampled_from(PORTS)}, optional={"protocol": protocols}),
    st.tuples(port_pairs, protocols).map(
        lambda drawn: {"port": drawn[0][0], "endPort": drawn[0][1], "protocol": drawn[1]}
    ),
    st.fixed_dictionaries({"port": st.sampled_from(PORT_NAMES)}, optional={"protocol": protocols}),
    st.fixed_dictionaries({}, optional={"protocol": protocols}),
)


def _rules(word: str, families: Sequence[int]) -> st.SearchStrategy[list[Object]]:
    rule = st.fixed_dictionaries(
        {}, optional={word: st.lists(_peers(families), max_size=3), "ports": st.lists(_ports, max_size=3)}
    )
    both = st.fixed_dictionaries(
        {word: st.lists(_peers(families), min_size=1, max_size=3), "ports": st.lists(_ports, min_size=1, max_size=3)}
    )
    several = st.lists(st.one_of(both, both, rule), min_size=1, max_size=4)
    return st.one_of(st.just([]), several, several, several, several)


@st.composite
def network_policies(
    draw: st.DrawFn, name: str, namespaces: Sequence[str], families: Sequence[int], *, ignored_rules: bool = True
) -> Object:
    """``ignored_rules``: rules may stand outside ``policyTypes`` (the cilium engine refuses that)."""
    spec: Object = {"podSelector": draw(subjects_of(pod_selectors))}
    types = draw(st.sampled_from((None, ["Ingress"], ["Egress"], ["Ingress", "Egress"])))
    if types is not None:
        spec["policyTypes"] = types
    for direction, word in (("Ingress", "from"), ("Egress", "to")):
        if ignored_rules or types is None or direction in types:
            spec[direction.lower()] = draw(_rules(word, families))
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": draw(st.sampled_from(namespaces))},
        "spec": spec,
    }


def _chosen_pods() -> st.SearchStrategy[Object]:
    return st.fixed_dictionaries({"podSelector": pod_selectors, "namespaceSelector": namespace_selectors})


def _cluster_peers(direction: str, families: Sequence[int], *, addresses: bool) -> st.SearchStrategy[Object]:
    """Ingress names pods only; egress also prefixes and nodes when ``addresses``."""
    members = [
        st.fixed_dictionaries({"namespaces": namespace_selectors}),
        st.fixed_dictionaries({"pods": _chosen_pods()}),
    ]
    if direction == "egress" and addresses:
        several = st.lists(st.sampled_from(families).flatmap(networks), min_size=1, max_size=3, unique=True)
        members += [
            st.fixed_dictionaries({"networks": several}),
            st.fixed_dictionaries({"nodes": label_selectors(NODE_LABELS)}),
        ]
    return st.one_of(members)


def _port_span(pair: tuple[int, int]) -> Object:
    low, high = pair
    return {"number": low} if low == high else {"range": {"start": low, "end": high}}


_protocol_items = st.tuples(st.sampled_from(("tcp", "udp", "sctp")), port_pairs).map(
    lambda drawn: {drawn[0]: {"destinationPort": _port_span(drawn[1])}}
)
_named_items = st.sampled_from(PORT_NAMES).map(lambda name: {"destinationNamedPort": name})


def _admin_span(drawn: tuple[str | None, tuple[int, int]]) -> Object:
    protocol, (low, high) = drawn
    word = {} if protocol is None else {"protocol": protocol}
    if low == high:
        return {"portNumber": {**word, "port": low}}
    return {"portRange": {**word, "start": low, "end": high}}


_admin_items = st.tuples(st.none() | protocols, port_pairs).map(_admin_span)
_admin_named_items = st.sampled_from(PORT_NAMES).map(lambda name: {"namedPort": name})


@st.composite
def _cluster_rule(
    draw: st.DrawFn, direction: str, families: Sequence[int], actions: tuple[str, ...], *, admin_kind: bool
) -> Object:
    named = draw(rarely)
    peers = draw(st.lists(_cluster_peers(direction, families, addresses=not named), min_size=1, max_size=3))
    rule: Object = {"action": draw(st.sampled_from(actions)), {"ingress": "from", "egress": "to"}[direction]: peers}
    numbers, names = (_admin_items, _admin_named_items) if admin_kind else (_protocol_items, _named_items)
    if named or not draw(rarely):
        items = numbers | names if named else numbers
        rule["ports" if admin_kind else "protocols"] = draw(st.lists(items, min_size=1, max_size=3))
    return rule


@st.composite
def _cluster_spec(draw: st.DrawFn, families: Sequence[int], actions: tuple[str, ...], *, admin_kind: bool) -> Object:
    subject = draw(
        st.fixed_dictionaries({"namespaces": subjects_of(namespace_selectors)})
        | st.fixed_dictionaries({"pods": _chosen_pods()})
    )
    first = draw(st.sampled_from(("ingress", "egress")))
    return {
        "subject": subject,
        **{
            direction: draw(
                st.lists(
                    _cluster_rule(direction, families, actions, admin_kind=admin_kind),
                    min_size=int(direction == first),
                    max_size=4,
                )
            )
            for direction in ("ingress", "egress")
        },
    }


@st.composite
def cluster_policies(draw: st.DrawFn, count: int, families: Sequence[int]) -> list[Object]:
    """Up to ``count`` cluster policies of all kinds; priorities are far apart and never equal."""
    kinds = draw(st.lists(st.sampled_from(("Admin", "Baseline", "ANP", "BANP")), min_size=2, max_size=count + 1))
    priorities = draw(st.permutations([10 * step for step in range(len(kinds))]))
    found: list[Object] = []
    for index, (kind, priority) in enumerate(zip(kinds, priorities, strict=True)):
        if kind == "BANP" and any(item["kind"] == "BaselineAdminNetworkPolicy" for item in found):
            continue
        found.append(_cluster_object(draw, kind, f"c{index}", priority, families))
    return found


def _cluster_object(draw: st.DrawFn, kind: str, name: str, priority: int, families: Sequence[int]) -> Object:
    if kind in ("Admin", "Baseline"):
        spec = draw(_cluster_spec(families, ("Accept", "Deny", "Pass"), admin_kind=False))
        full = {"tier": kind, "priority": priority, **spec}
        return _cluster_head("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", name, full)
    if kind == "ANP":
        spec = draw(_cluster_spec(families, ("Allow", "Deny", "Pass"), admin_kind=True))
        full = {"priority": priority, **spec}
        return _cluster_head("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", name, full)
    spec = draw(_cluster_spec(families, ("Allow", "Deny"), admin_kind=True))
    return _cluster_head("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy", "default", spec)


def _cluster_head(version: str, kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}
