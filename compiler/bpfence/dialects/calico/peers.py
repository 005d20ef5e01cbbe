"""One side of a rule without its ports: networks and selectors in, a peer expression out."""

from __future__ import annotations

from collections.abc import Iterable

from bpfence.dialects.calico.context import Context
from bpfence.dialects.calico.labels import label_expression
from bpfence.dialects.calico.model import EntityRule
from bpfence.dialects.calico.selectors import side_selectors
from bpfence.dialects.calico.values import read_cidr
from bpfence.ir.expressions import (
    HasObject,
    InPrefixes,
    LabelExpr,
    Network,
    PeerExpr,
    PeerNot,
    all_labels,
    all_peers,
    any_peer,
    kind_is,
)
from bpfence.selectors import AllOf, Negation, Selector, matches

LABELLED = kind_is("pod", "hostendpoint", "networkset", "globalnetworkset")


def side_expression(entity: EntityRule, namespace: str, context: Context) -> PeerExpr:
    """Every address the side's nets, notNets and selectors admit; its ports and services are left to others."""
    terms: list[PeerExpr] = []
    if entity.nets:
        terms.append(_by_address(entity.nets, context))
    if entity.not_nets:
        terms.append(PeerNot(_by_address(entity.not_nets, context)))
    chosen = side_selectors(entity, namespace)
    if chosen.positive is not None and chosen.negative is not None:
        terms.append(address_set(AllOf((chosen.positive, Negation(chosen.negative))), context))
    elif chosen.positive is not None:
        terms.append(address_set(chosen.positive, context))
    elif chosen.negative is not None:
        terms.append(PeerNot(address_set(chosen.negative, context)))
    return all_peers(*terms)


def port_holders(entity: EntityRule, namespace: str, context: Context) -> LabelExpr | None:
    """Whose port names count on this side: of objects that its positive selector matches. None: the side's address is
    always one of theirs, as no set that matches lists it and no other object has it.
    """
    positive = side_selectors(entity, namespace).positive
    if positive is None:
        return None
    if not context.shared_addresses and not any(matches(positive, item.labels) for item in context.sets):
        return None
    return label_expression(positive, context.exceptions)


def _by_address(texts: Iterable[str], context: Context) -> PeerExpr:
    """Addresses in the networks; never a service's, because policy speaks of its backends."""
    return all_peers(in_networks(read_cidr(text) for text in texts), context.by_address)


def address_set(selector: Selector, context: Context) -> PeerExpr:
    """The addresses of all objects that the selector matches: endpoints by label, network sets by their networks."""
    endpoints = HasObject(all_labels(LABELLED, label_expression(selector, context.exceptions)))
    networks = [net for item in context.sets if matches(selector, item.labels) for net in item.networks]
    if not networks:
        return endpoints
    return any_peer(endpoints, all_peers(in_networks(networks), context.of_sets))


def in_networks(networks: Iterable[Network]) -> InPrefixes:
    """The networks in their fixed order, each once."""
    return InPrefixes(tuple(sorted(set(networks), key=lambda net: (net.version, net.network_address, net.prefixlen))))
