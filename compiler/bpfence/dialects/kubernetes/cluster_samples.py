"""Rules of cluster policies in, one sample connection of every kind that they can tell apart out.

Rules cut the ports and addresses at the ends of their ranges; one sample from each stretch stands for all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from bpfence.dialects.kubernetes.cluster_form import ClusterRule, PortItem
from bpfence.dialects.kubernetes.cluster_model import ClusterEgressPeer, ClusterIngressPeer
from bpfence.dialects.kubernetes.domain_names import name_matches, sample_name
from bpfence.dialects.kubernetes.engine_checks import interval_of
from bpfence.dialects.kubernetes.pod_index import PodIndex, choice_scope
from bpfence.dialects.kubernetes.port_names import numbers_of
from bpfence.dialects.kubernetes.prefixes import network_of
from bpfence.dialects.kubernetes.selectors import selector_matches
from bpfence.identity.inventory import Address, Node, Pod

PORT_PROTOCOLS = (6, 17, 132)
ICMP = (1, 0)
"""Stands for every protocol without ports, which only a rule without ``protocols`` matches."""


@dataclass(frozen=True, slots=True)
class Party:
    """One end of a connection: a pod, a node, or just an address. None: it is not known, or does not matter.

    ``name``: the one under which the other end has learnt the address; empty = none.
    """

    address: Address | None
    pod: Pod | None = None
    node: Node | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Connection:
    """The remote end, the pod or address whose ports are meant, and the protocol with its destination port."""

    peer: Party
    destination: Party
    protocol: int
    port: int


def rule_matches(rule: ClusterRule, connection: Connection, index: PodIndex) -> bool:
    """Whether the rule decides the connection; a rule that fails closed matches everything, or, Accept, nothing."""
    if rule.closed:
        return rule.action != "Accept"
    if not any(peer_matches(peer, connection.peer, index) for peer in rule.peers):
        return False
    return rule.items is None or any(_item_matches(item, connection) for item in rule.items)


def peer_matches(peer: ClusterIngressPeer, party: Party, index: PodIndex) -> bool:
    """Whether the peer means the party."""
    scope = choice_scope(peer)
    if scope is not None:
        return party.pod is not None and index.contains(scope, party.pod)
    if not isinstance(peer, ClusterEgressPeer):
        return False
    if peer.nodes is not None:
        return party.node is not None and selector_matches(peer.nodes, party.node.labels)
    if peer.domain_names is not None:
        return any(name_matches(text, party.name) for text in peer.domain_names)
    networks = map(network_of, peer.networks or ())
    return party.address is not None and any(party.address in network for network in networks)


def _item_matches(item: PortItem, connection: Connection) -> bool:
    if connection.protocol not in item.protocols:
        return False
    if item.name:
        pod = connection.destination.pod
        return pod is not None and connection.port in numbers_of(pod, item.name, connection.protocol)
    return item.ports is not None and item.ports[0] <= connection.port <= item.ports[1]


def parties(rules: Sequence[ClusterRule], index: PodIndex) -> Iterator[Party]:
    """Every pod and node by every address, and an unknown address from each stretch between ends of networks.

    Without networks in the rules, replicas are alike: one pod of each kind stands for all. Each as it is, and as learnt
    under every name that the rules tell apart. INVARIANT: names only open, so of two rules that decide differently at
    most one is there by a name, and one name at a time is enough.
    """
    names = sorted({sample_name(text) for peer in _egress_peers(rules) for text in peer.domain_names or ()})
    for party in _places(rules, index):
        yield party
        yield from (replace(party, name=name) for name in names)


def _egress_peers(rules: Sequence[ClusterRule]) -> list[ClusterEgressPeer]:
    return [peer for rule in rules for peer in rule.peers if isinstance(peer, ClusterEgressPeer)]


def _places(rules: Sequence[ClusterRule], index: PodIndex) -> Iterator[Party]:
    cuts = _address_cuts(rules)
    taken: set[Address] = set()
    for pod in index.pods if cuts else index.kinds:
        taken.update(pod.addresses)
        yield from (Party(address, pod=pod) for address in pod.addresses or (None,))
    for node in index.inventory.nodes:
        taken.update(node.addresses)
        yield from (Party(address, node=node) for address in node.addresses)
    if not cuts:
        yield Party(None)
    for start, version in sorted(cuts):
        if (address := _free_address(start, version, taken)) is not None:
            yield Party(address)


def _address_cuts(rules: Sequence[ClusterRule]) -> set[tuple[int, int]]:
    """(first address as a number, IP version) of every stretch; none when no rule names networks."""
    cuts: set[tuple[int, int]] = set()
    for network in (network_of(text) for peer in _egress_peers(rules) for text in peer.networks or ()):
        first, last = interval_of(network)
        cuts.add((first, network.version))
        if last + 1 < 1 << network.max_prefixlen:
            cuts.add((last + 1, network.version))
    return cuts | {(0, 4), (0, 6)} if cuts else cuts


def _free_address(start: int, version: int, taken: set[Address]) -> Address | None:
    """The first address from ``start`` on that no pod or node has."""
    end = 1 << (32 if version == 4 else 128)
    for number in range(start, min(end, start + len(taken) + 1)):
        address = ip_address(number.to_bytes(4 if version == 4 else 16, "big"))
        if address not in taken:
            return address
    return None


def ports(rules: Sequence[ClusterRule], destination: Party) -> Iterator[tuple[int, int]]:
    """(protocol, port): the first port of every stretch that the rules cut, and one protocol without ports."""
    yield ICMP
    items = [item for rule in rules for item in rule.items or ()]
    for protocol in PORT_PROTOCOLS:
        cuts = {1}
        for item in items:
            if protocol in item.protocols:
                cuts.update(_port_cuts(item, protocol, destination))
        yield from ((protocol, port) for port in sorted(cuts) if port <= 65535)


def _port_cuts(item: PortItem, protocol: int, destination: Party) -> Iterator[int]:
    if item.ports is not None:
        yield from (item.ports[0], item.ports[1] + 1)
    for number in numbers_of(destination.pod, item.name, protocol) if destination.pod and item.name else ():
        yield from (number, number + 1)


def named_numbers(rules: Sequence[ClusterRule], destination: Party) -> tuple[frozenset[int], ...]:
    """What the destination makes of the rules' port names: all that rules can tell of it beside its place as a peer."""
    if destination.pod is None:
        return ()
    pod = destination.pod
    items = (item for rule in rules for item in rule.items or () if item.name)
    return tuple(numbers_of(pod, item.name, protocol) for item in items for protocol in item.protocols)
