"""Who a Cilium statement means: endpoints, prefixes, entities, nodes, services.

Follows ``pkg/policy/api/{ingress,egress,cidr,entity,service}.go`` of cilium/cilium.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import ip_network
from typing import TypeVar

from bpfence.dialects.cilium.model import (
    CidrGroup,
    CidrRule,
    EgressRule,
    IngressCommon,
    NameSelector,
    Selector,
    ServiceRule,
    Statement,
)
from bpfence.identity.inventory import Pod, Service
from bpfence.semantics.cilium_labels import identity_labels, is_api_server, lookup_in, scoped_matches, split_key
from bpfence.semantics.kubernetes import AddressRule
from bpfence.semantics.label_selector import selector_matches
from bpfence.semantics.names import cilium_pattern_matches
from bpfence.semantics.packet import Packet
from bpfence.semantics.world import Party, ReferenceWorld, is_node

Item = TypeVar("Item")
PeerTest = Callable[[ReferenceWorld, str, Packet, AddressRule], bool]
"""(world, the policy's namespace, packet, which owners prefixes may match) -> the peer is meant."""


def peer_tests(statement: Statement, *, for_init: bool) -> list[PeerTest] | None:
    """One test per item of the statement's L3 member. None: no L3 member, any peer. Empty: a member without
    items, no peer. ``for_init``: the rule's subject speaks of endpoints in state init.
    """
    endpoint = partial(_endpoint, for_init=for_init)
    if isinstance(statement, IngressCommon):
        members = [
            _each(endpoint, statement.from_endpoints),
            _each(_prefix, statement.from_cidr),
            _each(_cidr, statement.from_cidr_set),
            _each(_entity, statement.from_entities),
            _each(_node, statement.from_nodes),
            _each(_nobody, statement.from_groups),
        ]
    else:
        members = [
            _each(endpoint, statement.to_endpoints),
            _each(_prefix, statement.to_cidr),
            _each(_cidr, statement.to_cidr_set),
            _each(_entity, statement.to_entities),
            _each(_node, statement.to_nodes),
            _each(_service, statement.to_services),
            _each(_nobody, statement.to_groups),
            _each(_name, statement.to_fqdns if isinstance(statement, EgressRule) else None),
        ]
    present = [tests for tests in members if tests is not None]
    return [test for tests in present for test in tests] if present else None


def _each(
    test: Callable[[Item, ReferenceWorld, str, Packet, AddressRule], bool], items: Sequence[Item] | None
) -> list[PeerTest] | None:
    return None if items is None else [partial(test, item) for item in items]


def _nobody(_: object, __: ReferenceWorld, ___: str, ____: Packet, _____: AddressRule) -> bool:
    return False


def _name(item: NameSelector, world: ReferenceWorld, _: str, packet: Packet, __: AddressRule) -> bool:
    """toFQDNs: an outside address under a name that was learnt."""
    return packet.peer.outside and packet.fqdn != "" and name_matches(world, item, packet.fqdn)


def name_matches(world: ReferenceWorld, item: NameSelector, name: str, *, query: bool = False) -> bool:
    """One item of ``toFQDNs`` or, with ``query``, of DNS rules; with both members either may match."""
    patterns = [text for text in (item.match_name, item.match_pattern) if text is not None]
    profile = world.options.cilium_profile
    return any(cilium_pattern_matches(text, name, profile, query=query) for text in patterns)


def _endpoint(
    selector: Selector, world: ReferenceWorld, namespace: str, packet: Packet, _: AddressRule, *, for_init: bool
) -> bool:
    labels = identity_labels(world, packet.node, packet.peer)
    own_cluster = "" if world.options.cilium_profile == "1.18" else world.inventory.cluster
    return labels is not None and scoped_matches(selector, namespace, labels, own_cluster, for_init=for_init)


def _node(selector: Selector, world: ReferenceWorld, _: str, packet: Packet, __: AddressRule) -> bool:
    """fromNodes, toNodes: other nodes by their labels, never the local one."""
    node = packet.peer.node
    if node is None or is_node(packet.peer, packet.node):
        return False
    labels = {("node", key): value for key, value in world.node_labels(node).items()}
    return selector_matches(selector, lookup_in(labels | {("reserved", "remote-node"): ""}))


def _entity(name: str, world: ReferenceWorld, _: str, packet: Packet, __: AddressRule) -> bool:
    """Named classes of identities; those that no inventory object stands for are empty."""
    peer = packet.peer
    reserved = peer.pod.reserved if peer.pod is not None else ()
    in_mesh = peer.pod is not None or peer.node is not None
    foreign = peer.pod is not None and peer.pod.cluster != ""
    version = peer.address.version if peer.address else None
    api_server = is_api_server(world, packet.node, peer)
    meaning = {
        "all": True,
        "world": peer.outside,
        "world-ipv4": peer.outside and version == 4,
        "world-ipv6": peer.outside and version == 6,
        "host": is_node(peer, packet.node),
        "remote-node": peer.node is not None and not is_node(peer, packet.node),
        "kube-apiserver": api_server,
        "cluster": (in_mesh and not foreign) or api_server,
        "cluster-mesh": in_mesh or api_server,
        "health": "health" in reserved,
        "ingress": "ingress" in reserved,
        "init": "init" in reserved,
        "unmanaged": "unmanaged" in reserved,
    }
    return meaning.get(name, False)


def _prefix(cidr: str, world: ReferenceWorld, namespace: str, packet: Packet, owner: AddressRule) -> bool:
    return _cidr(CidrRule(cidr=cidr), world, namespace, packet, owner)


def _cidr(rule: CidrRule, world: ReferenceWorld, _: str, packet: Packet, owner: AddressRule) -> bool:
    """A prefix, or the prefixes of CIDRGroups, without the exceptions."""
    if not owner(packet.peer) or _within_any(packet.peer, rule.except_ or []):
        return False
    if rule.cidr is not None:
        return _within_any(packet.peer, [rule.cidr])
    covering = [group for group in _groups(world) if _within_any(packet.peer, group.spec.external_cidrs)]
    if rule.cidr_group_ref is not None:
        return any(group.metadata.name == rule.cidr_group_ref for group in covering)
    return rule.cidr_group_selector is not None and _groups_match(rule.cidr_group_selector, covering)


def _within_any(party: Party, prefixes: list[str]) -> bool:
    """A bare address is its own /32 or /128; host bits below the mask are ignored."""
    return any(party.within(ip_network(prefix, strict=False)) for prefix in prefixes)


def _groups(world: ReferenceWorld) -> Iterator[CidrGroup]:
    return (item.model for item in world.policies.cilium if isinstance(item.model, CidrGroup))


def _groups_match(selector: Selector, covering: list[CidrGroup]) -> bool:
    """An address has the labels of every group over it, all values of a key at once."""
    labels = [group.metadata.labels for group in covering]

    def values(key: str) -> set[str]:
        _, name = split_key(key)
        return {item[name] for item in labels if name in item}

    for key, value in (selector.match_labels or {}).items():
        if value not in values(key):
            return False
    for item in selector.match_expressions or []:
        found, wanted = values(item.key), set(item.values or [])
        positive = bool(found) if item.operator in ("Exists", "DoesNotExist") else bool(found & wanted)
        if positive != (item.operator in ("Exists", "In")):
            return False
    return True


def _service(rule: ServiceRule, world: ReferenceWorld, _: str, packet: Packet, owner: AddressRule) -> bool:
    """toServices: the pods a service selects, or, without a selector, the addresses of its endpoints as prefixes."""
    return any(
        _backend(world, service, packet.peer, owner)
        for service in world.inventory.services
        if _names_service(rule, service)
    )


def _names_service(rule: ServiceRule, service: Service) -> bool:
    if rule.k8s_service is not None:
        in_namespace = rule.k8s_service.namespace in (None, "", service.namespace)
        return in_namespace and rule.k8s_service.service_name == service.name
    if rule.k8s_service_selector is None:
        return False
    in_namespace = rule.k8s_service_selector.namespace in (None, "", service.namespace)
    labels = {("k8s", key): value for key, value in service.labels.items()}
    return in_namespace and selector_matches(rule.k8s_service_selector.selector, lookup_in(labels))


def _backend(world: ReferenceWorld, service: Service, peer: Party, owner: AddressRule) -> bool:
    if service.selector:
        return peer.pod is not None and _selected(service, peer.pod)
    if not owner(peer):
        return False
    entries = world.inventory.endpoints
    return any(
        item.address == peer.address
        for item in entries
        if (item.namespace, item.service) == (service.namespace, service.name)
    )


def _selected(service: Service, pod: Pod) -> bool:
    wanted = service.selector or {}
    if pod.reserved or pod.cluster:
        return False
    return pod.namespace == service.namespace and all(pod.labels.get(key) == value for key, value in wanted.items())
