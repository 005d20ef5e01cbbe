"""Hypothesis strategies for CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and CiliumCIDRGroup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from support.kubernetes_strategies import cidr_blocks, label_selectors, subjects_of
from support.pools import (
    ACCOUNTS,
    EXCEPTIONS,
    ICMP_TYPES,
    LABELS,
    NAMESPACE_LABELS,
    NAMESPACES,
    NODE_LABELS,
    PORT_NAMES,
    PORTS,
    networks,
    port_pairs,
    rarely,
    some,
)

Object = dict[str, Any]
GROUPS = ("inner", "outer")
ENTITIES = (
    "all",
    "cluster",
    "health",
    "host",
    "ingress",
    "init",
    "kube-apiserver",
    "none",
    "remote-node",
    "unmanaged",
    "world",
    "world-ipv4",
    "world-ipv6",
)
ICMP_NAMES = {
    "IPv4": ("EchoReply", "EchoRequest", "TimeExceeded"),
    "IPv6": ("EchoRequest", "EchoReply", "TimeExceeded"),
}
EXTENDED = ("VRRP", "IGMP", "GRE", "IPIP", "ESP", "AH")

_pod_keys = {f"{source}{key}": values for source in ("", "k8s:", "any:") for key, values in LABELS.items()}
_namespace_keys = {
    f"{source}io.cilium.k8s.namespace.labels.{key}": values
    for source in ("", "k8s:")
    for key, values in NAMESPACE_LABELS.items()
}
_scoping_keys = {
    "io.kubernetes.pod.namespace": NAMESPACES,
    "k8s:io.kubernetes.pod.namespace": NAMESPACES,
    "io.cilium.k8s.policy.serviceaccount": ACCOUNTS,
    "k8s:io.cilium.k8s.policy.cluster": ("default",),
}
_reserved_keys = {
    f"reserved:{name}": ("",) for name in ("host", "world", "remote-node", "kube-apiserver", "world-ipv6", "none")
}
subjects = label_selectors(_pod_keys)
clusterwide_subjects = label_selectors({**_pod_keys, **_namespace_keys, **_scoping_keys})
endpoint_peers = st.one_of(
    subjects,
    label_selectors({**_pod_keys, **_namespace_keys, **_scoping_keys}),
    label_selectors({**LABELS, **_reserved_keys}),
)
node_peers = label_selectors(
    {f"{source}{key}": values for source in ("", "node:") for key, values in NODE_LABELS.items()}
)


def _cidr_rules(families: Sequence[int]) -> st.SearchStrategy[Object]:
    by_group = st.fixed_dictionaries(
        {"cidrGroupRef": st.sampled_from(GROUPS)},
        optional={"except": st.just([EXCEPTIONS["10.0.0.0/8"][1]]) if 4 in families else st.just([])},
    )
    selector = st.sampled_from(("a", "b")).map(lambda value: {"cidrGroupSelector": {"matchLabels": {"feed": value}}})
    return st.one_of(cidr_blocks(families), cidr_blocks(families), by_group, selector)


def _services(prefix: str) -> dict[str, st.SearchStrategy[list[Object]]]:
    if prefix == "from":
        return {}
    by_name = st.sampled_from(("front", "ext")).map(lambda name: {"k8sService": {"serviceName": name}})
    by_label = st.sampled_from(("front", "ext")).map(
        lambda name: {"k8sServiceSelector": {"selector": {"matchLabels": {"svc": name}}}}
    )
    return {"toServices": st.lists(by_name | by_label, min_size=1, max_size=2)}


def _peers(prefix: str, families: Sequence[int], *, old: bool) -> st.SearchStrategy[Object]:
    """At most one kind of peer, now and then an empty list of it, now and then none."""
    entities = ENTITIES if old else (*ENTITIES, "cluster-mesh")
    kinds = {
        f"{prefix}Endpoints": st.lists(endpoint_peers, max_size=3),
        f"{prefix}CIDR": st.lists(st.sampled_from(families).flatmap(networks), max_size=3),
        f"{prefix}CIDRSet": st.lists(_cidr_rules(families), max_size=3),
        f"{prefix}Entities": st.lists(st.sampled_from(entities), max_size=2),
        f"{prefix}Nodes": st.lists(node_peers, max_size=2),
        **_services(prefix),
    }
    one = st.sampled_from(sorted(kinds)).flatmap(lambda kind: st.fixed_dictionaries({kind: kinds[kind]}))
    return st.one_of(st.just({}), one, one, one)


_protocols = st.sampled_from(("TCP", "UDP", "SCTP", "ANY"))
_numbered = st.fixed_dictionaries({"port": st.sampled_from((*PORTS, 0)).map(str)}, optional={"protocol": _protocols})
_ranges = st.tuples(port_pairs, _protocols).map(
    lambda drawn: {"port": str(drawn[0][0]), "endPort": drawn[0][1], "protocol": drawn[1]}
)
_named = st.fixed_dictionaries({"port": st.sampled_from(PORT_NAMES)}, optional={"protocol": _protocols})
_extended = st.sampled_from(EXTENDED).map(lambda word: {"protocol": word})


def _ports(*, old: bool, deny: bool) -> st.SearchStrategy[Object]:
    """A name in a deny rule is refused when nobody has it, so names come rarely there."""
    choices = [_numbered, _ranges, _numbered, _ranges]
    if not old:
        choices.append(_extended)
    if not deny:
        choices.append(_named)
    return st.one_of(choices)


def _icmp_fields(families: Sequence[int]) -> st.SearchStrategy[Object]:
    words = [f"IPv{family}" for family in families]
    numbered = st.fixed_dictionaries(
        {"type": st.sampled_from((*ICMP_TYPES, 255))}, optional={"family": st.sampled_from(words)}
    )
    named = st.sampled_from(words).flatmap(
        lambda word: st.fixed_dictionaries({"family": st.just(word), "type": st.sampled_from(ICMP_NAMES[word])})
    )
    return numbered | named


@st.composite
def _statement(draw: st.DrawFn, prefix: str, families: Sequence[int], *, old: bool, deny: bool) -> Object:
    statement = dict(draw(_peers(prefix, families, old=old)))
    kind = draw(st.sampled_from(("none", "ports", "ports", "icmps")))
    if kind == "ports":
        items = st.lists(_ports(old=old, deny=deny), min_size=1, max_size=3)
        if deny and draw(rarely) and draw(rarely):
            items = st.lists(_named, min_size=1, max_size=1)
        statement["toPorts"] = [{"ports": ports} for ports in draw(st.lists(items, min_size=1, max_size=2))]
    if kind == "icmps":
        fields = st.lists(_icmp_fields(families), min_size=1, max_size=3)
        statement["icmps"] = [{"fields": draw(fields)}]
    return statement


@st.composite
def _rule(draw: st.DrawFn, subject: st.SearchStrategy[Object], families: Sequence[int], *, old: bool) -> Object:
    rule: Object = {"endpointSelector": draw(subject)}
    sections = draw(some(("ingress", "ingressDeny", "egress", "egressDeny"), 4))
    for section in sections:
        prefix = "from" if section.startswith("ingress") else "to"
        statement = _statement(prefix, families, old=old, deny=section.endswith("Deny"))
        rule[section] = draw(st.lists(statement, min_size=1, max_size=3))
    if draw(st.booleans()):
        rule["enableDefaultDeny"] = draw(
            st.fixed_dictionaries({}, optional={"ingress": st.booleans(), "egress": st.booleans()})
        )
    return rule


@st.composite
def cilium_policies(
    draw: st.DrawFn, name: str, namespaces: Sequence[str], families: Sequence[int], *, old: bool
) -> Object:
    """One CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy, with ``spec`` or ``specs``."""
    clusterwide = draw(st.booleans())
    rules = _rule(subjects_of(clusterwide_subjects if clusterwide else subjects), families, old=old)
    body: Object = {"spec": draw(rules)}
    if draw(rarely):
        body = {"specs": draw(st.lists(rules, min_size=1, max_size=2))}
    metadata: Object = {"name": name}
    if not clusterwide:
        metadata["namespace"] = draw(st.sampled_from(namespaces))
    kind = "CiliumClusterwideNetworkPolicy" if clusterwide else "CiliumNetworkPolicy"
    return {"apiVersion": "cilium.io/v2", "kind": kind, "metadata": metadata, **body}


@st.composite
def cidr_groups(draw: st.DrawFn, families: Sequence[int]) -> list[Object]:
    """Both groups that policies may name, one with each label value."""
    return [
        {
            "apiVersion": "cilium.io/v2",
            "kind": "CiliumCIDRGroup",
            "metadata": {"name": name, "labels": {"feed": feed}},
            "spec": {
                "externalCIDRs": draw(st.lists(st.sampled_from(families).flatmap(networks), max_size=3, unique=True))
            },
        }
        for name, feed in zip(GROUPS, ("a", "b"), strict=True)
    ]
