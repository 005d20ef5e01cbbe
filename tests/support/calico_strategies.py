"""Hypothesis strategies for Calico's NetworkPolicy, GlobalNetworkPolicy, their staged forms, Tier and network sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from support.calico_selectors import account_texts, namespace_texts, pod_texts
from support.pools import ACCOUNTS, ICMP_TYPES, PORT_NAMES, PORTS, labels_of, networks, port_pairs, rarely, some

Object = dict[str, Any]
VERSION = "projectcalico.org/v3"
TIERS = ("early", "late", "default")
ORDERS = (None, -1.5, 0, 10, 10, 1000, 1000, 1001)
"""few, so that ties are frequent; 1000 is where NetworkPolicy joins"""
WITH_PORTS = ("TCP", "UDP", "SCTP", 6, "17", 132)
ICMP = {4: ("ICMP", 1, "1"), 6: ("ICMPv6", 58, "58")}
OTHERS = ("UDPLite", 47, "2", 255)


_SIDES = (("source",), ("destination",), ("source", "destination"), ("source", "destination"), ())


@dataclass(frozen=True, slots=True)
class Frame:
    """What a rule's criteria must go with. ``family`` None: the rule has no CIDR and no ipVersion."""

    direction: str
    namespaced: bool
    family: int | None
    ports: str
    """numbers, names or none: what port lists may hold"""


_numbers = st.one_of(
    st.sampled_from(PORTS), st.sampled_from(PORTS).map(str), port_pairs.map(lambda pair: f"{pair[0]}:{pair[1]}")
)


def _port_list(kind: str) -> st.SearchStrategy[list[int | str]]:
    names = st.sampled_from(PORT_NAMES)
    return st.lists(names if kind == "names" else st.one_of(_numbers, _numbers, names), min_size=1, max_size=3)


@st.composite
def _entity(draw: st.DrawFn, frame: Frame, side: str) -> Object:
    """One side of a rule: some of the criteria that Calico lets stand together."""
    entity: Object = {}
    peer_side = {"ingress": "source", "egress": "destination"}[frame.direction]
    if side == peer_side and draw(rarely):
        entity["services"] = {"name": draw(st.sampled_from(("front", "ext"))), "namespace": "alpha"}
        if side == "source" and frame.ports != "none" and draw(st.booleans()):
            entity["ports"] = draw(_port_list(frame.ports))
        return entity
    if frame.family is not None:
        for field in draw(st.sampled_from((("nets",), ("nets",), ("notNets",), ("nets", "notNets"), ()))):
            entity[field] = draw(_nets(frame.family, negative=field == "notNets"))
    for field in draw(_fields_of_peer if side == peer_side else _fields_of_own):
        entity[field] = draw(_SELECTORS[field])
    if frame.ports != "none":
        for field in draw(st.lists(st.sampled_from(("ports", "ports", "notPorts")), max_size=2)):
            entity[field] = draw(_port_list(frame.ports))
    return entity


def _nets(family: int, *, negative: bool) -> st.SearchStrategy[list[str]]:
    return st.lists(
        networks(family).filter(lambda text: not (negative and text.endswith("/0"))),
        min_size=1,
        max_size=3,
        unique=True,
    )


_SELECTORS: dict[str, st.SearchStrategy[Any]] = {
    "selector": pod_texts,
    "notSelector": pod_texts,
    "namespaceSelector": st.one_of(namespace_texts, namespace_texts, st.sampled_from(("global()", " global( ) "))),
    "serviceAccounts": st.fixed_dictionaries({}, optional={"names": some(ACCOUNTS, 2), "selector": account_texts}),
}


_names = st.sampled_from(sorted(_SELECTORS))
_one = st.lists(_names, min_size=1, max_size=1)
_fields_of_peer = st.one_of(st.just([]), _one, _one, st.lists(_names, max_size=2, unique=True))
_fields_of_own = st.one_of(st.just([]), st.just([]), st.just([]), st.lists(_names, max_size=1))


@st.composite
def _rule(draw: st.DrawFn, direction: str, families: Sequence[int], *, namespaced: bool) -> Object:
    rule: Object = {"action": draw(st.sampled_from(("Allow", "Deny", "Pass", "Log")))}
    family = draw(st.sampled_from((None, *families)))
    kind = draw(st.sampled_from(("any", "any", "ports", "ports", "ports", "icmp", "other")))
    if kind == "ports":
        rule["protocol"] = draw(st.sampled_from(WITH_PORTS))
    elif kind == "icmp":
        rule["protocol"] = draw(st.sampled_from(ICMP[family or draw(st.sampled_from(families))]))
        if draw(st.booleans()):
            rule["icmp"] = draw(_icmp())
    elif kind == "other":
        rule["protocol"] = draw(st.sampled_from(OTHERS))
    if family is not None and draw(st.booleans()):
        rule["ipVersion"] = family
    if draw(rarely):
        rule["notProtocol"] = draw(st.sampled_from((*WITH_PORTS, *ICMP[family or families[0]], *OTHERS)))
    if draw(rarely):
        rule["notICMP"] = draw(_icmp())
    ports = {"ports": "numbers", "any": draw(st.sampled_from(("none", "none", "names")))}.get(kind, "none")
    frame = Frame(direction, namespaced, family, ports)
    for side in draw(st.sampled_from(_SIDES)):
        rule[side] = draw(_entity(frame, side))
    return rule


@st.composite
def _rules(draw: st.DrawFn, direction: str, families: Sequence[int], *, namespaced: bool) -> list[Object]:
    """Often with a last rule for everything else: what a tier denies at its end hides all later tiers."""
    rules = draw(st.lists(_rule(direction, families, namespaced=namespaced), max_size=4))
    last = draw(st.sampled_from((None, None, "Pass", "Pass", "Allow", "Deny")))
    return [*rules, {"action": last}] if last else rules


@st.composite
def _icmp(draw: st.DrawFn) -> Object:
    fields: Object = {"type": draw(st.sampled_from(ICMP_TYPES))}
    if draw(st.booleans()):
        fields["code"] = draw(st.sampled_from((0, 1, 4, 255)))
    return fields


@st.composite
def calico_policies(
    draw: st.DrawFn, name: str, namespaces: Sequence[str], families: Sequence[int], *, staged: bool = True
) -> Object:
    """One NetworkPolicy or GlobalNetworkPolicy; now and then a staged one."""
    namespaced = draw(st.booleans())
    spec: Object = {"tier": draw(st.sampled_from((*TIERS, "default", "")))}
    if (order := draw(st.sampled_from(ORDERS))) is not None:
        spec["order"] = order
    if draw(st.booleans()):
        spec["selector"] = draw(st.one_of(pod_texts, st.sampled_from(("", "all()", "has(app)", "has(app) || all()"))))
    if draw(rarely):
        spec["serviceAccountSelector"] = draw(account_texts)
    if not namespaced and draw(rarely):
        spec["namespaceSelector"] = draw(namespace_texts)
    types = draw(st.sampled_from((None, None, ["Ingress"], ["Egress"], ["Ingress", "Egress"])))
    if types is not None:
        spec["types"] = types
    for direction in draw(
        st.sampled_from((("ingress",), ("egress",), ("ingress", "egress"), ("ingress", "egress"), ()))
    ):
        spec[direction] = draw(_rules(direction, families, namespaced=namespaced))
    kind = "NetworkPolicy" if namespaced else "GlobalNetworkPolicy"
    metadata: Object = {"name": name, **({"namespace": draw(st.sampled_from(namespaces))} if namespaced else {})}
    if staged and draw(rarely):
        kind, spec["stagedAction"] = f"Staged{kind}", "Set"
    return {"apiVersion": VERSION, "kind": kind, "metadata": metadata, "spec": spec}


@st.composite
def tiers_and_sets(draw: st.DrawFn, namespaces: Sequence[str], families: Sequence[int]) -> list[Object]:
    """Both tiers that policies may name, in either order or tied, and three network sets."""
    feeds = labels_of({"feed": ("a", "b"), "app": ("web",)})
    nets = st.lists(st.sampled_from(families).flatmap(networks), max_size=3, unique=True)
    tiers = [
        {
            "apiVersion": VERSION,
            "kind": "Tier",
            "metadata": {"name": name},
            "spec": draw(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "order": st.sampled_from((5, 5, 2000000)),
                        "defaultAction": st.sampled_from(("Deny", "Pass", "Pass")),
                    },
                )
            ),
        }
        for name in ("early", "late")
    ]
    global_set = {
        "apiVersion": VERSION,
        "kind": "GlobalNetworkSet",
        "metadata": {"name": "feed", "labels": draw(feeds)},
        "spec": {"nets": draw(nets)},
    }
    own_set = {
        "apiVersion": VERSION,
        "kind": "NetworkSet",
        "metadata": {"name": "own", "namespace": draw(st.sampled_from(namespaces)), "labels": draw(feeds)},
        "spec": {"nets": draw(nets)},
    }
    return [*tiers, global_set, own_set]
