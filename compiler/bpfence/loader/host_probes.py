"""Probe packets for the hosts' programs: an artefact and the node's interfaces in, frames with verdicts out.

Per interface and direction: packets of the node itself and packets that it passes on, from peers of every class.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from bpfence.emit.artefact import Artefact, HostEntry
from bpfence.loader.bpffs import HOST_DIRECTIONS, Direction
from bpfence.loader.flow_keys import connection_key
from bpfence.loader.frames import first_frame
from bpfence.loader.host_interfaces import HostInterface
from bpfence.loader.interfaces import Discovery
from bpfence.loader.probes import Address, L4Choice, Probe, l4_choices, peers4, peers6, spread
from bpfence.simulate.host_hooks import HostHooks, Outcome
from bpfence.simulate.simulator import Packet, Simulator

MOST_HOST_PROBES = 1000
_FORWARDED = {4: ip_address("198.18.0.1"), 6: ip_address("2001:db8:ffff::1")}
"""own addresses of packets that are passed on, beside those that the tables tell apart"""
_SOURCE_PORT = 61613
_LOOPBACK = 1


@dataclass(frozen=True, slots=True)
class _Side:
    """``party``: the own address is the node's."""

    interface: HostInterface
    direction: Direction
    own: Address
    party: bool


def make_host_probes(artefact: Artefact, discovery: Discovery) -> tuple[Probe, ...]:
    """Probes for every interface of the node, about MOST_HOST_PROBES in all."""
    hooks = HostHooks(Simulator(artefact))
    sides = list(_sides(artefact, discovery))
    share = max(1, MOST_HOST_PROBES // max(1, len(sides)))
    peers = {4: peers4(artefact), 6: peers6(artefact)}
    l4 = {family: l4_choices(artefact, family) for family in (4, 6)}
    return tuple(
        _probe(hooks, artefact, side, peer, choice)
        for number, side in enumerate(sides)
        for peer, choice in spread(peers[side.own.version], l4[side.own.version], share, number)
        if peer != side.own
    )


def _sides(artefact: Artefact, discovery: Discovery) -> Iterator[_Side]:
    own = [ip_address(text) for text in artefact.manifest.node_addresses]
    there = {ip_address(text) for text in discovery.addresses}
    for interface, direction in itertools.product(discovery.hosts, HOST_DIRECTIONS):
        for address in own:
            yield _Side(interface, direction, address, party=True)
        for address in _FORWARDED.values():
            if address not in there:
                yield _Side(interface, direction, address, party=False)


def _probe(hooks: HostHooks, artefact: Artefact, side: _Side, peer: Address, choice: L4Choice) -> Probe:
    direction = side.direction.removeprefix("host-")
    source_port = _SOURCE_PORT if choice.destination_port is not None else None
    code = 0 if choice.icmp_type is not None else None
    ports = (source_port, choice.destination_port, choice.icmp_type, code)
    packet = Packet(side.interface.host, direction, side.own, peer, choice.protocol, *ports)
    ends = (side.own, peer) if direction == "egress" else (peer, side.own)
    outcome = hooks.at_interface(_host(artefact, side.interface), packet, party=side.party)
    reason = "denied" if outcome is Outcome.DENIED else str(outcome)
    return Probe(
        side.direction,
        side.interface,
        packet,
        first_frame(*ends, choice.protocol, *ports),
        outcome.passes,
        reason,
        connection_key(packet, side.interface.index),
        received=0 if side.party or direction == "ingress" else _LOOPBACK,
    )


def _host(artefact: Artefact, interface: HostInterface) -> HostEntry | None:
    return None if interface.number < 0 else artefact.manifest.hosts[interface.number]
