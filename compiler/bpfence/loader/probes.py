"""Probe packets for the proof: an artefact and its endpoints' interfaces in, frames with the simulator's verdict
out.

Spread over endpoints, directions, peer classes and L4 classes, one representative of each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

import numpy as np
from numpy.typing import NDArray

from bpfence.emit.artefact import Artefact
from bpfence.loader.bpffs import WORKLOAD_DIRECTIONS, Direction
from bpfence.loader.flow_keys import connection_key
from bpfence.loader.frames import first_frame
from bpfence.loader.interfaces import EndpointInterface, PlacedInterface
from bpfence.plan.layout import ADDRESS6_ENTRY, address4_bits
from bpfence.simulate.host_hooks import HostHooks, ends_in_node
from bpfence.simulate.simulator import ICMP_INDEX, PORT_INDEX, Packet, Simulator

Address = IPv4Address | IPv6Address

MOST_PROBES = 1000
"""Beyond this many they are thinned out evenly; every endpoint keeps at least one in each direction."""
FEW_PROBES = 300
"""The same for programs that have been proved before, and get other tables."""
_ALWAYS4 = ("192.0.2.1",)
_ALWAYS6 = ("2001:db8::1",)
_SOURCE_PORT = 61613
_PORTS_BYTES = 2 * 65536
_LOOPBACK = 1
_ECHO_REQUEST = {4: 8, 6: 128}


@dataclass(frozen=True, slots=True)
class Probe:
    """A frame for one direction of one interface, and whether it must pass. ``packet``: the same, as the simulator
    reads it.

    ``reason``: what the kernel will count it as. ``received``: the interface by which the node received it; 0: it is
    the node's own.
    """

    direction: Direction
    interface: PlacedInterface
    packet: Packet
    frame: bytes
    allowed: bool
    reason: str
    key: bytes
    """of the flow in the connection table"""
    received: int = 0

    @property
    def title(self) -> str:
        p = self.packet
        what = f"port {p.destination_port}" if p.destination_port is not None else f"type {p.icmp_type}"
        return f"{p.endpoint} {self.direction}, own {p.own}, peer {p.peer}, protocol {p.protocol} {what}"


@dataclass(frozen=True, slots=True)
class L4Choice:
    protocol: int
    destination_port: int | None = None
    icmp_type: int | None = None


@dataclass(frozen=True, slots=True)
class _Side:
    """One direction of one endpoint's address."""

    interface: EndpointInterface
    direction: Direction
    own: Address


def make_probes(
    artefact: Artefact,
    interfaces: Sequence[EndpointInterface],
    own: Set[Address] = frozenset(),
    most: int = MOST_PROBES,
) -> tuple[Probe, ...]:
    """Probes for every endpoint with an interface, about ``most`` in all. ``own``: the node's own addresses."""
    maker = _Maker(Simulator(artefact), own)
    sides = list(_sides(interfaces))
    share = max(1, most // max(1, len(sides)))
    peers = {4: peers4(artefact), 6: peers6(artefact)}
    l4 = {family: l4_choices(artefact, family) for family in (4, 6)}
    return tuple(
        maker.probe(side, peer, choice)
        for number, side in enumerate(sides)
        for peer, choice in spread(peers[side.own.version], l4[side.own.version], share, number)
        if peer != side.own
    )


def _sides(interfaces: Sequence[EndpointInterface]) -> Iterator[_Side]:
    for interface, direction in itertools.product(interfaces, WORKLOAD_DIRECTIONS):
        for own in map(ip_address, interface.endpoint.addresses):
            yield _Side(interface, direction, own)


def spread(
    peers: Sequence[Address], l4: Sequence[L4Choice], share: int, number: int
) -> Iterator[tuple[Address, L4Choice]]:
    """At most ``share`` pairs, evenly over all; each side ``number`` begins elsewhere."""
    total = len(peers) * len(l4)
    count = min(total, share)
    # one more at each step: a step that divides evenly would keep seeing the same L4 class
    places = {(number + n + n * total // count) % total if count < total else n for n in range(count)}
    for place in sorted(places):
        yield peers[place // len(l4)], l4[place % len(l4)]


class _Maker:
    """Packets with the verdicts of the endpoint and of the hosts."""

    def __init__(self, simulator: Simulator, own: Set[Address]) -> None:
        self._simulator = simulator
        self._hooks = HostHooks(simulator)
        self._own = own

    def probe(self, side: _Side, peer: Address, choice: L4Choice) -> Probe:
        source_port = _SOURCE_PORT if choice.destination_port is not None else None
        code = 0 if choice.icmp_type is not None else None
        ports = (source_port, choice.destination_port, choice.icmp_type, code)
        packet = Packet(side.interface.endpoint.name, side.direction, side.own, peer, choice.protocol, *ports)
        ends = (side.own, peer) if side.direction == "egress" else (peer, side.own)
        party = ends_in_node(peer, self._own)
        answer = self._simulator.decide(packet)
        allowed = answer.allowed and self._hooks.at_workload(packet, party=party)
        frame = first_frame(*ends, choice.protocol, *ports)
        reason = "untracked" if answer.stateless else "allowed" if allowed else "denied"
        received = 0 if party or side.direction == "egress" else _LOOPBACK
        key = connection_key(packet, side.interface.index)
        return Probe(side.direction, side.interface, packet, frame, allowed, reason, key, received)


def peers4(artefact: Artefact) -> list[Address]:
    """One IPv4 address of every peer class, found by walking the three levels backwards."""
    features = artefact.manifest.features
    second, third = address4_bits(bool(features["fine_blocks"]))
    wide = (features["fine_blocks"], features["wide_blocks"])
    tables = (artefact.tables["address4_l1"], artefact.tables["address4_l2"])
    levels = [_first(table, "<u4" if large else "<u2") for table, large in zip(tables, wide, strict=True)]
    found: set[Address] = {IPv4Address(text) for text in _ALWAYS4}
    for position in _first(artefact.tables["address4_l3"], "<u2").values():
        middle = levels[1].get(position >> third)
        top = levels[0].get(middle >> second) if middle is not None else None
        if middle is not None and top is not None:
            address = top << second | middle & (1 << second) - 1
            found.add(IPv4Address(address << third | position & (1 << third) - 1))
    return sorted(found, key=int)


def peers6(artefact: Artefact) -> list[Address]:
    """The first address of one listed prefix per IPv6 peer class."""
    found: set[Address] = {IPv6Address(text) for text in _ALWAYS6}
    if "address6" in artefact.tables:
        entries = np.frombuffer(artefact.tables["address6"], dtype=ADDRESS6_ENTRY.dtype)
        entries = entries[entries["length"] > 0]
        _, places = np.unique(entries["peer"], return_index=True)
        found |= {_prefix6(entries[place]) for place in places.tolist()}
        found |= set(_block_peers6(artefact, entries[entries["block"] > 0]))
    return sorted(found, key=int)


def _block_peers6(artefact: Artefact, entries: NDArray[np.void]) -> Iterator[IPv6Address]:
    """One address of every class that stands in a block."""
    owners = {int(entry["block"]) - 1: entry for entry in entries}
    for position in _first(artefact.tables["address6_blocks"], "<u2").values():
        owner = owners.get(position >> 8)
        if owner is not None:
            yield _prefix6(owner) + (position & 255)


def _prefix6(entry: np.void) -> IPv6Address:
    return IPv6Address(int(entry["upper"]) << 64 | int(entry["lower"]))


def l4_choices(artefact: Artefact, family: int) -> list[L4Choice]:
    """One destination port of every L4 class that has one, and an echo request."""
    choices: list[L4Choice] = []
    for protocol, index in PORT_INDEX.items():
        part = artefact.tables["ports"][index * _PORTS_BYTES : (index + 1) * _PORTS_BYTES]
        choices += [L4Choice(protocol, destination_port=port) for port in _first(part, "<u2").values()]
    protocol = next(number for version, number in ICMP_INDEX if version == family)
    return [*choices, L4Choice(protocol, icmp_type=_ECHO_REQUEST[family])]


def _first(image: bytes, element: str) -> dict[int, int]:
    """Value -> the first place it stands at."""
    values, places = np.unique(np.frombuffer(image, dtype=element), return_index=True)
    return dict(zip(values.tolist(), places.tolist(), strict=True))
