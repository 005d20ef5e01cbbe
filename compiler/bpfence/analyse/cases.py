"""Packets that cover everything: both ends of every address atom, both ends of every L4 atom, at every local endpoint.

In: the classification before merging. Out: `Packet`s, in a fixed order. Because atoms partition the space, these
stand for every packet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import numpy as np

from bpfence.classify.l4 import Axis, L4Atoms, ProtocolSpace
from bpfence.classify.peers import PeerClasses
from bpfence.classify.rows import Subject
from bpfence.flows import PORT_PROTOCOLS, always_passes
from bpfence.ir.nodes import Direction
from bpfence.simulate.simulator import Packet

Address = IPv4Address | IPv6Address
EXTENSION_HEADERS = frozenset((0, 43, 44, 50, 51, 59, 60, 135, 139, 140))
"""numbers that mean no upper-layer protocol inside IPv6"""


@dataclass(frozen=True, slots=True)
class L4Probe:
    """One L4 point. ``version``: the only address family it makes sense in, or None."""

    protocol: int
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    version: int | None = None


def l4_probes(atoms: L4Atoms) -> tuple[L4Probe, ...]:
    """Both ends of every run of the first axis with each class of the second, and one packet per other protocol
    class.
    """
    probes: dict[L4Probe, None] = {}
    for space in atoms.distinct_spaces():
        probes.update(dict.fromkeys(_space_probes(space, atoms)))
    usable = (p for p in probes if not always_passes(p.version or 0, p.protocol, p.icmp_type, p.icmp_code))
    return tuple(usable)


def _space_probes(space: ProtocolSpace, atoms: L4Atoms) -> Iterator[L4Probe]:
    if space.first is None or space.second is None:
        members = [protocol for protocol, other in enumerate(atoms.spaces) if other is space]
        for protocol in sorted({members[0], members[len(members) // 2], members[-1]}):
            yield L4Probe(protocol, version=4 if protocol in EXTENSION_HEADERS else None)
        return
    for first in _run_ends(space.first):
        for second in space.second.representative.tolist():
            if space.protocol in PORT_PROTOCOLS:
                yield L4Probe(space.protocol, source_port=second, destination_port=first)
            else:
                yield L4Probe(
                    space.protocol, icmp_type=first, icmp_code=second, version=4 if space.protocol == 1 else 6
                )


def _run_ends(axis: Axis) -> list[int]:
    """First and last value of every run of equal classes."""
    changes = np.flatnonzero(np.diff(axis.class_of))
    return sorted({0, len(axis.class_of) - 1, *changes.tolist(), *(changes + 1).tolist()})


def peer_probes(peers: PeerClasses) -> tuple[Address, ...]:
    """First and last address of every atom."""
    probes: dict[Address, None] = {}
    for atom in range(peers.atoms.count):
        version, low, high = peers.atoms.bounds(atom)
        make = IPv4Address if version == 4 else IPv6Address
        probes[make(low)] = None
        probes[make(high)] = None
    return tuple(probes)


def count_cases(subjects: Sequence[Subject], peers: Sequence[Address], probes: Sequence[L4Probe]) -> int:
    """How many packets `packets` yields without a limit, roughly: families are counted once."""
    by_version = {version: sum(1 for peer in peers if peer.version == version) for version in (4, 6)}
    per_version = {version: sum(1 for p in probes if p.version in (None, version)) for version in (4, 6)}
    return 2 * sum(
        by_version[s.address.version] * per_version[s.address.version] for s in subjects if s.address is not None
    )


def packets(
    subjects: Sequence[Subject], peers: Sequence[Address], probes: Sequence[L4Probe], limit: int
) -> Iterator[Packet]:
    """Every combination; above ``limit``, every (endpoint, address) with an even share of the L4 points, a different
    one each time.
    """
    total = count_cases(subjects, peers, probes)
    share = 1.0 if total <= limit else limit / total
    turn = 0
    for subject in subjects:
        if subject.address is None:
            continue
        mine = [probe for probe in probes if probe.version in (None, subject.address.version)]
        take = max(1, int(len(mine) * share))
        for direction in Direction:
            for peer in peers:
                if peer.version != subject.address.version or peer == subject.address:
                    continue
                for step in range(take):
                    yield _packet(subject, direction, peer, mine[(turn + step) % len(mine)])
                turn += take


def _packet(subject: Subject, direction: Direction, peer: Address, probe: L4Probe) -> Packet:
    assert subject.address is not None
    return Packet(
        endpoint=subject.entity.name,
        direction=str(direction),
        own=subject.address,
        peer=peer,
        protocol=probe.protocol,
        source_port=probe.source_port,
        destination_port=probe.destination_port,
        icmp_type=probe.icmp_type,
        icmp_code=probe.icmp_code,
    )
