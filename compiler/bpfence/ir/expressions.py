"""Expressions over labels and over addresses: who a policy selects and whom a rule means. Pure data.

Two levels, because they answer different questions:

- a *label expression* is about one **object** (a pod, a node, a network set, a host endpoint);
- a *peer expression* is about one **address**: which objects have it, which prefixes it lies in.

Qualified label keys (the only namespace of keys the IR knows):

==================== =============================================================================
``label:KEY``         the object's own label KEY
``namespace:KEY``     label KEY of the object's Namespace (pods and namespaced sets)
``serviceaccount:KEY`` label KEY of the pod's ServiceAccount
``port:PROTO:NAME:N`` the pod (or host endpoint) has a port NAME, protocol PROTO (TCP UDP SCTP), number N; value ``""``
``meta:kind``         ``pod`` ``node`` ``service`` ``hostendpoint`` ``networkset`` ``globalnetworkset``
``meta:namespace``    name of its namespace (namespaced objects only)
``meta:name``         its name
``meta:serviceaccount`` name of the pod's service account (``default`` when unset)
``meta:node``         the node a pod runs on, a node's own name, a host endpoint's node
``meta:cluster``      the cluster's name (pods)
``meta:profiles``     ``own`` for pods whose Calico profiles are not those of their namespace and service account
``reserved:NAME``     Cilium's reserved labels that an object carries (``health``, ``ingress``, ``init``, ``unmanaged``,
                      ``kube-apiserver``); value ``""``
==================== =============================================================================

Addresses that belong to no object of kind pod, node or service are *outside* (`OUTSIDE`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

from bpfence.options import NameProfile

Network = IPv4Network | IPv6Network


class LabelOperator(StrEnum):
    """How a label test reads the value. A missing label makes every test false but NOT_IN and ABSENT."""

    IN = "in"
    NOT_IN = "not in"
    EXISTS = "exists"
    ABSENT = "absent"
    CONTAINS = "contains"
    STARTS_WITH = "starts with"
    ENDS_WITH = "ends with"


@dataclass(frozen=True, slots=True)
class LabelTest:
    """One test of one label. ``keys``: the first of these qualified keys that the object has gives the value.

    ``values``: sorted and unique for IN and NOT_IN, exactly one for CONTAINS, STARTS_WITH, ENDS_WITH, else empty.
    """

    keys: tuple[str, ...]
    operator: LabelOperator
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelAll:
    """Every item holds; no items: true."""

    items: tuple[LabelExpr, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelAny:
    """Some item holds; no items: false."""

    items: tuple[LabelExpr, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelNot:
    item: LabelExpr


LabelExpr = LabelTest | LabelAll | LabelAny | LabelNot


@dataclass(frozen=True, slots=True)
class HasObject:
    """Some object that has the address satisfies the label expression."""

    labels: LabelExpr


@dataclass(frozen=True, slots=True)
class InPrefixes:
    """The address lies in one of the networks (sorted, unique); IPv4 and IPv6 never match each other."""

    networks: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class OnOwnNode:
    """The address belongs to the node on which the *subject* of the policy runs (host-network pods included)."""


@dataclass(frozen=True, slots=True)
class LearntName:
    """The address was learnt for a name that matches one of the patterns (canonical, sorted, unique).

    ``profile``: whose pattern language it is (`bpfence.selectors.fqdn`). No table of this version knows learnt names:
    there it matches nothing.
    """

    patterns: tuple[str, ...]
    profile: NameProfile


@dataclass(frozen=True, slots=True)
class PeerAll:
    """Every item holds; no items: every address of both families."""

    items: tuple[PeerExpr, ...] = ()


@dataclass(frozen=True, slots=True)
class PeerAny:
    """Some item holds; no items: no address."""

    items: tuple[PeerExpr, ...] = ()


@dataclass(frozen=True, slots=True)
class PeerNot:
    item: PeerExpr


PeerExpr = HasObject | InPrefixes | OnOwnNode | LearntName | PeerAll | PeerAny | PeerNot

ANY_LABELS = LabelAll()
NO_LABELS = LabelAny()
ANYONE = PeerAll()
NOBODY = PeerAny()


def kind_is(*kinds: str) -> LabelTest:
    """The object is of one of these kinds (values of ``meta:kind``)."""
    return LabelTest(("meta:kind",), LabelOperator.IN, tuple(sorted(kinds)))


POD = kind_is("pod")
NODE = kind_is("node")
OUTSIDE = PeerNot(HasObject(kind_is("node", "pod", "service")))
"""Addresses of no pod, node or service: the world beyond the cluster."""


def all_labels(*items: LabelExpr) -> LabelExpr:
    """The conjunction, flattened; one item stands for itself."""
    flat: list[LabelExpr] = []
    for item in items:
        flat.extend(item.items if isinstance(item, LabelAll) else (item,))
    return flat[0] if len(flat) == 1 else LabelAll(tuple(flat))


def all_peers(*items: PeerExpr) -> PeerExpr:
    """The conjunction, flattened; one item stands for itself."""
    flat: list[PeerExpr] = []
    for item in items:
        flat.extend(item.items if isinstance(item, PeerAll) else (item,))
    return flat[0] if len(flat) == 1 else PeerAll(tuple(flat))


def any_peer(*items: PeerExpr) -> PeerExpr:
    """The union; one item stands for itself."""
    return items[0] if len(items) == 1 else PeerAny(tuple(items))
