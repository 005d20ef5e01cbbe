"""A statement's peers: the written members in, one peer expression out; unresolved references are refused."""

from __future__ import annotations

from bpfence.dialects.cilium import codes
from bpfence.dialects.cilium.context import Context
from bpfence.dialects.cilium.entities import lower_entity
from bpfence.dialects.cilium.labels import Test, selector_tests
from bpfence.dialects.cilium.model import CidrRule
from bpfence.dialects.cilium.names import learnt_name
from bpfence.dialects.cilium.prefixes import network_of, sort_networks
from bpfence.dialects.cilium.selectors import lower_endpoints, lower_nodes, peer_scope
from bpfence.dialects.cilium.services import lower_service
from bpfence.dialects.cilium.statements import Peers, Place
from bpfence.dialects.objects import PolicyObject
from bpfence.ir import expressions as ir
from bpfence.source.documents import Path


def lower_peers(
    peers: Peers, place: Place, subject: tuple[Test, ...], owner: PolicyObject, context: Context
) -> ir.PeerExpr:
    """The union of everything named; no member at all means every peer, members without items mean nobody."""
    if not peers.kinds(place.prefix):
        return ir.ANYONE
    items: list[ir.PeerExpr] = []
    for selector in peers.endpoints or ():
        tests = selector_tests(selector)
        items.append(lower_endpoints(tests, peer_scope(tests, owner.namespace, subject), context.cluster))
    if peers.cidrs:
        networks = sort_networks({network_of(text) for text in peers.cidrs})
        items.append(ir.all_peers(ir.InPrefixes(networks), context.scope))
    for index, rule in enumerate(peers.cidr_set or ()):
        items.append(_lower_cidr_rule(rule, (*place.path, f"{place.prefix}CIDRSet", index), owner, context))
    items += [lower_entity(name, context.cluster) for name in peers.entities or ()]
    items += [lower_nodes(selector_tests(selector)) for selector in peers.nodes or ()]
    items += _lower_services(peers, place, owner, context)
    if peers.names:
        items.append(ir.all_peers(ir.OUTSIDE, learnt_name(peers.names, context.options)))
    return ir.any_peer(*(item for item in items if item != ir.NOBODY))


def _lower_cidr_rule(rule: CidrRule, path: Path, owner: PolicyObject, context: Context) -> ir.PeerExpr:
    base = _cidr_base(rule, path, owner, context)
    if base is None:
        return ir.NOBODY
    if not rule.except_:
        return ir.all_peers(base, context.scope)
    excluded = ir.InPrefixes(sort_networks({network_of(text) for text in rule.except_}))
    return ir.all_peers(base, ir.PeerNot(excluded), context.scope)


def _cidr_base(rule: CidrRule, path: Path, owner: PolicyObject, context: Context) -> ir.PeerExpr | None:
    """The prefixes an item names before its exceptions; None (and an error) for a group that is not there."""
    if rule.cidr is not None:
        return ir.InPrefixes((network_of(rule.cidr),))
    if rule.cidr_group_selector is not None:
        return context.groups.select(selector_tests(rule.cidr_group_selector))
    group = context.groups.by_name.get(rule.cidr_group_ref or "")
    if group is not None:
        return ir.InPrefixes(group.networks)
    context.diagnostics.error(
        codes.GROUP_MISSING,
        owner.span(*path, "cidrGroupRef"),
        f"there is no CiliumCIDRGroup {rule.cidr_group_ref}",
        "add the group to the input; without it the rule would silently match nothing",
        owner.title,
    )
    return None


def _lower_services(peers: Peers, place: Place, owner: PolicyObject, context: Context) -> list[ir.PeerExpr]:
    lowered: list[ir.PeerExpr] = []
    for index, item in enumerate(peers.services or ()):
        peer = lower_service(item, context.inventory, context.cluster, context.scope)
        if peer is not None:
            lowered.append(peer)
            continue
        context.diagnostics.error(
            codes.SERVICE_UNRESOLVED,
            owner.span(*place.path, "toServices", index),
            "the input has no such service with a selector or endpoint addresses",
            "add the Service (and its Endpoints); without it Cilium would open the ports to every peer",
            owner.title,
        )
    return lowered
