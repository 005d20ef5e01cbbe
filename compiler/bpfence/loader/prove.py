"""The proof before a commit: probe packets made from the artefact, run through the staged programs, each
verdict compared.

In: an artefact and the interfaces of its endpoints. Out: `Probe`s with the verdict that the simulator
gives; a `KernelError` when the
kernel's differs. Probes are spread over rows, peer classes and L4 classes, one representative each.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

import numpy as np

from bpfence.emit.artefact import Artefact
from bpfence.errors import KernelError
from bpfence.loader.bpffs import DIRECTION_PROGRAM
from bpfence.loader.frames import first_frame
from bpfence.loader.interfaces import EndpointInterface
from bpfence.loader.maps import Map
from bpfence.loader.netlink import Direction
from bpfence.loader.node import Slot
from bpfence.loader.programs import TestRunner
from bpfence.plan.layout import ADDRESS6_ENTRY, CONNECTION_KEY, UNRESTRICTED
from bpfence.simulate.simulator import ICMP_INDEX, PORT_INDEX, Packet, Simulator

Address = IPv4Address | IPv6Address

MOST_PROBES = 1000
"""A row costs microseconds per probe; beyond this many they are thinned out evenly."""
TC_DROP = 2
_ALWAYS4 = ("192.0.2.1",)
_ALWAYS6 = ("2001:db8::1",)
_SOURCE_PORT = 61613


@dataclass(frozen=True, slots=True)
class Probe:
    """A frame for one direction of one interface, and whether it must pass. ``packet``: the same, as the
    simulator reads it.

    ``reason``: what the kernel will count it as.
    """

    direction: Direction
    interface: EndpointInterface
    packet: Packet
    frame: bytes
    allowed: bool
    reason: str

    @property
    def title(self) -> str:
        p = self.packet
        what = f"port {p.destination_port}" if p.destination_port is not None else f"type {p.icmp_type}"
        return f"{p.endpoint} {self.direction}, own {p.own}, peer {p.peer}, protocol {p.protocol} {what}"


@dataclass(frozen=True, slots=True)
class _L4:
    protocol: int
    family: int
    destination_port: int | None = None
    icmp_type: int | None = None


def make_probes(artefact: Artefact, interfaces: Sequence[EndpointInterface]) -> tuple[Probe, ...]:
    """Probes for every endpoint with an interface, spread over its peers and L4 classes; at most
    MOST_PROBES.
    """
    simulator = Simulator(artefact)
    candidates = list(_candidates(artefact, interfaces))
    step = max(1, -(-len(candidates) // MOST_PROBES))
    # a step with a common divisor would keep seeing the same L4 class
    chosen = (candidates[(n * step + n % step) % len(candidates)] for n in range(-(-len(candidates) // step)))
    return tuple(_probe(simulator, interface, packet) for interface, packet in chosen)


def prove(slot: Slot, probes: Iterable[Probe], connections: Map) -> dict[str, int]:
    """Run every probe; returns how many packets that added to the counters, by reason. Raises KernelError
    at the first that differs.

    INVARIANT: the slot's generation is still zero, so an entry that a probe leaves in the shared connection
    table is older than every
    generation and would be decided again. It is removed all the same; flows that were there before stay.
    """
    counts: Counter[str] = Counter()
    for (direction, index), group in itertools.groupby(probes, key=lambda one: (one.direction, one.interface.index)):
        runner = TestRunner(slot.programs[DIRECTION_PROGRAM[direction]].fd, ifindex=index)
        for probe in group:
            counts[probe.reason] += _run(runner, probe, connections)
    return dict(counts)


def _run(runner: TestRunner, probe: Probe, connections: Map) -> int:
    """How many packets were sent: one, or none when a live flow has this very tuple, which is then not
    ours to touch.
    """
    key = connection_key(probe.packet, probe.interface.index)
    if connections.lookup(key) is not None:
        return 0
    passed = runner.run(probe.frame) != TC_DROP
    connections.delete(key)
    if passed != probe.allowed:
        raise KernelError(
            f"the proof failed: {probe.title}: the tables say {_word(probe.allowed)}, the kernel's program says "
            f"{_word(passed)}; nothing was changed. This is a bug in bpfence: please report it with the artefact"
        )
    return 1


def connection_key(packet: Packet, ifindex: int) -> bytes:
    """The packet's key in the connection table, seen at the endpoint's interface (see CONNECTION_KEY)."""
    key = np.zeros(1, dtype=CONNECTION_KEY.dtype)
    for side, address in (("local", packet.own), ("remote", packet.peer)):
        key[side] = np.frombuffer(address.packed.ljust(16, b"\0"), "<u4")
    for side, port in zip(("local_port", "remote_port"), _ports(packet), strict=True):
        key[side] = int.from_bytes(port, "little")
    key["ifindex"], key["family"], key["protocol"] = ifindex, packet.own.version, packet.protocol
    key["role"] = int(packet.direction == "ingress" and (packet.own.version, packet.protocol) in ICMP_INDEX)
    return key.tobytes()


def _ports(packet: Packet) -> tuple[bytes, bytes]:
    """Own and peer port in network order; an ICMP echo has its identifier on both sides."""
    if packet.protocol in PORT_INDEX:
        source = (packet.source_port or 0).to_bytes(2, "big")
        destination = (packet.destination_port or 0).to_bytes(2, "big")
        return (source, destination) if packet.direction == "egress" else (destination, source)
    identifier = b"\x62\x66" if packet.protocol in (1, 58) else b"\0\0"
    return identifier, identifier


def _candidates(
    artefact: Artefact, interfaces: Sequence[EndpointInterface]
) -> Iterator[tuple[EndpointInterface, Packet]]:
    peers = {4: _peers4(artefact), 6: _peers6(artefact)}
    l4 = _l4_choices(artefact)
    for interface, direction in itertools.product(interfaces, DIRECTION_PROGRAM):
        for own in map(ip_address, interface.endpoint.addresses):
            for peer, choice in itertools.product(peers[own.version], l4):
                if choice.family in (0, own.version) and peer != own:
                    yield interface, _packet(interface, direction, own, peer, choice)


def _packet(interface: EndpointInterface, direction: str, own: Address, peer: Address, choice: _L4) -> Packet:
    source_port = _SOURCE_PORT if choice.destination_port is not None else None
    code = 0 if choice.icmp_type is not None else None
    ports = (source_port, choice.destination_port, choice.icmp_type, code)
    return Packet(interface.endpoint.name, direction, own, peer, choice.protocol, *ports)


def _probe(simulator: Simulator, interface: EndpointInterface, packet: Packet) -> Probe:
    ends = (packet.own, packet.peer) if packet.direction == "egress" else (packet.peer, packet.own)
    ports = (packet.source_port, packet.destination_port, packet.icmp_type, packet.icmp_code)
    frame = first_frame(*ends, packet.protocol, *ports)
    direction: Direction = "egress" if packet.direction == "egress" else "ingress"
    allowed = simulator.decide(packet).allowed
    rows = {simulator.row(packet.endpoint, side, packet.own) for side in DIRECTION_PROGRAM}
    passing = "untracked" if rows == {UNRESTRICTED} else "allowed"
    return Probe(direction, interface, packet, frame, allowed, passing if allowed else "denied")


def _peers4(artefact: Artefact) -> list[Address]:
    """One IPv4 address of every peer class, found by walking the three levels backwards."""
    block = "<u4" if artefact.manifest.features["wide_blocks"] else "<u2"
    levels = [_first(artefact.tables["address4_l1"], "<u2"), _first(artefact.tables["address4_l2"], block)]
    found: set[Address] = {IPv4Address(text) for text in _ALWAYS4}
    for position in _first(artefact.tables["address4_l3"], "<u2").values():
        middle = levels[1].get(position >> 8)
        top = levels[0].get(middle >> 8) if middle is not None else None
        if middle is not None and top is not None:
            found.add(IPv4Address(top << 16 | (middle & 255) << 8 | position & 255))
    return sorted(found, key=int)


def _peers6(artefact: Artefact) -> list[Address]:
    """The first address of one listed prefix per IPv6 peer class."""
    found: set[Address] = {IPv6Address(text) for text in _ALWAYS6}
    if "address6" in artefact.tables:
        entries = np.frombuffer(artefact.tables["address6"], dtype=ADDRESS6_ENTRY.dtype)
        entries = entries[entries["length"] > 0]
        _, places = np.unique(entries["peer"], return_index=True)
        found |= {IPv6Address(entries["prefix"][place].tobytes()) for place in places.tolist()}
    return sorted(found, key=int)


def _l4_choices(artefact: Artefact) -> list[_L4]:
    """One destination port, ICMP type or protocol of every L4 class that each can have."""
    choices: list[_L4] = []
    for protocol, index in PORT_INDEX.items():
        part = artefact.tables["ports"][index * 131072 : (index + 1) * 131072]
        choices += [_L4(protocol, 0, destination_port=port) for port in _first(part, "<u2").values()]
    half = len(artefact.tables["icmp"]) // 2
    scale = half // 512
    for (family, protocol), index in ICMP_INDEX.items():
        part = artefact.tables["icmp"][index * half : (index + 1) * half]
        # the identifier in the key is the echo's; other types carry other things there
        types = {place // scale for place in _first(part, "<u2").values()} & {8, 128} or {8 if family == 4 else 128}
        choices += [_L4(protocol, family, icmp_type=number) for number in sorted(types)]
    return choices


def _first(image: bytes, element: str) -> dict[int, int]:
    """Value -> the first place it stands at."""
    values, places = np.unique(np.frombuffer(image, dtype=element), return_index=True)
    return dict(zip(values.tolist(), places.tolist(), strict=True))


def _word(allowed: bool) -> str:
    return "allow" if allowed else "deny"
