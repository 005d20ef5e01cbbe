"""Packets that cover what policies say about hosts: every host endpoint, and the node itself, at each of its points.

In: an artefact's manifest, its classification, the services. Out: `HostCase`s, in a fixed order. What stands aside of
policies is left out: the node's own traffic to itself, housekeeping, and what is sent to a service, where the backends
decide. Failsafe ports are asked about where they hold for every packet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from bpfence.analyse.cases import L4Probe, l4_probes, peer_probes
from bpfence.classify.classification import Classification
from bpfence.classify.hosts import POINTS
from bpfence.classify.services import ServiceCell
from bpfence.emit.artefact import HostEntry, Manifest
from bpfence.flows import host_housekeeping, node_housekeeping
from bpfence.identity.inventory import Address
from bpfence.ir.nodes import Direction, Point
from bpfence.simulate.simulator import Packet

OTHERS = 4
"""own addresses besides those that some rule tells apart, per family and point"""


@dataclass(frozen=True, slots=True)
class HostCase:
    """A packet at one point of a host: ``packet.endpoint`` is ``hep/NAME`` or ``node/NAME``."""

    packet: Packet
    point: Point


@dataclass(frozen=True, slots=True)
class _Place:
    """A host's point, with the own and the other addresses of packets that it may see, all of one family."""

    host: HostEntry
    point: Point
    direction: Direction
    own: Address
    peers: tuple[Address, ...]
    probes: tuple[L4Probe, ...]

    @property
    def size(self) -> int:
        return len(self.peers) * len(self.probes)


class HostCases:
    """The packets for one node's hosts."""

    def __init__(self, manifest: Manifest, classification: Classification, services: Sequence[ServiceCell]) -> None:
        self.hosts = len(manifest.hosts)
        texts = {*manifest.node_addresses, *(text for host in manifest.hosts for text in host.addresses)}
        self._node = tuple(sorted(map(ip_address, texts), key=lambda item: (item.version, int(item))))
        self._peers = peer_probes(classification.peers)
        self._services = {place for cell in services for place in _places(cell)}
        self._taken = {address for address, _, _ in self._services} - {*self._node}
        self._probes = l4_probes(classification.l4)
        self._places = tuple(place for host in manifest.hosts for place in self._of_host(host))
        self.space = sum(place.size for place in self._places)

    def draw(self, limit: int) -> Iterator[HostCase]:
        """Every combination; above ``limit``, every (point, own address) with an even share, spread over the rest."""
        share = 1.0 if self.space <= limit else limit / self.space
        for place in self._places:
            count = min(place.size, max(1, int(place.size * share)))
            for turn in range(count):
                packet = _packet(place, *divmod(turn * place.size // count, len(place.probes)))
                if not self._is_special(place, packet):
                    yield HostCase(packet, place.point)

    def _is_special(self, place: _Place, packet: Packet) -> bool:
        """Whether a service answers there, or a failsafe port may hold for this packet or not."""
        if (packet.own, packet.protocol, packet.destination_port) in self._services:
            return True
        return place.point is Point.PRE_DNAT and is_spared(place.host, packet)

    def _of_host(self, host: HostEntry) -> Iterator[_Place]:
        node = host.name.startswith("node/")
        for point, direction in POINTS["node" if node else "hostendpoint"]:
            for own in self._own(host, point, direction):
                peers = tuple(p for p in self._peers if p.version == own.version and p != own and p not in self._node)
                probes = tuple(p for p in self._probes if p.version in (None, own.version) and _counts(p, own, node))
                if peers and probes:
                    yield _Place(host, point, direction, own, peers, probes)

    def _own(self, host: HostEntry, point: Point, direction: Direction) -> tuple[Address, ...]:
        """At the host itself its own addresses; elsewhere both ends of what a rule tells apart, and some others."""
        if point is Point.ENDPOINT:
            return self._node
        found: dict[Address, None] = {}
        for row in host.rows:
            if row.own and (row.point, row.direction) == (str(point), str(direction)):
                found.update(dict.fromkeys(map(ip_address, row.own.split("-"))))
        for version in (4, 6):
            others = [address for address in (*self._node, *self._peers) if address.version == version]
            found.update(dict.fromkeys(_spread(others, OTHERS)))
        return tuple(address for address in found if address not in self._taken)


def is_spared(host: HostEntry, packet: Packet) -> bool:
    """Whether one of the host's failsafe ports is meant."""
    ports = host.settings.failsafe_ingress if packet.direction == "ingress" else host.settings.failsafe_egress
    return any(
        (item.protocol, item.port) == (packet.protocol, packet.destination_port)
        and (not item.network or packet.peer in ip_network(item.network))
        for item in ports
    )


def _places(cell: ServiceCell) -> Iterator[tuple[Address, int, int | None]]:
    yield from ((address, cell.protocol, cell.port) for address in cell.addresses)


def _spread(items: Sequence[Address], count: int) -> Iterator[Address]:
    yield from (items[turn * len(items) // count] for turn in range(min(count, len(items))))


def _counts(probe: L4Probe, own: Address, node: bool) -> bool:
    """Whether policies are asked about it."""
    if node:
        return not node_housekeeping(own.version, probe.protocol, probe.icmp_type, probe.icmp_code)
    return not host_housekeeping(own.version, probe.protocol, probe.icmp_type)


def _packet(place: _Place, peer: int, probe: int) -> Packet:
    chosen = place.probes[probe]
    return Packet(
        endpoint=place.host.name,
        direction=str(place.direction),
        own=place.own,
        peer=place.peers[peer],
        protocol=chosen.protocol,
        source_port=chosen.source_port,
        destination_port=chosen.destination_port,
        icmp_type=chosen.icmp_type,
        icmp_code=chosen.icmp_code,
    )
