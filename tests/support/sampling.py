"""Which packets to ask about: the borders of a compiled classification and the places that policies write, mixed.

In: an artefact with its classification, addresses and L4 points as written. Out: `Packet`s, always the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import TypeVar

from bpfence.analyse.cases import L4Probe, l4_probes, peer_probes
from bpfence.classify.classification import subjects_of
from bpfence.classify.rows import Subject
from bpfence.flows import ICMP_PROTOCOLS, PORT_PROTOCOLS
from bpfence.ir.nodes import Direction
from bpfence.pipeline import Compiled
from bpfence.simulate.simulator import Packet
from support.written import Address

Item = TypeVar("Item")
Pools = Sequence[Sequence[Item]]


def sample_packets(
    compiled: Compiled, peers: Pools[Address], points: Pools[L4Probe], count: int, seed: int = 0
) -> list[Packet]:
    """About ``count`` packets at the artefact's endpoints. ``peers``, ``points``: pools beside the classification's.

    Every pool is drawn from equally often, and so are ports, ICMP and other protocols: what is rare is asked about.
    """
    classification = compiled.classification
    addresses = (peer_probes(classification.peers), *peers)
    kinds = [kind for pool in (l4_probes(classification.l4), *points) for kind in _by_kind(pool)]
    near = {version: [[a for a in pool if a.version == version] for pool in addresses] for version in (4, 6)}
    l4 = {version: [[p for p in pool if p.version in (None, version)] for pool in kinds] for version in (4, 6)}
    subjects = [subject for subject in subjects_of(compiled.endpoints) if subject.address is not None]
    random = Random(seed)
    found: dict[Packet, None] = {}
    for number in range(count if subjects else 0):
        subject = subjects[number % len(subjects)]
        assert subject.address is not None
        version = subject.address.version
        peer, probe = _draw(random, near[version]), _draw(random, l4[version])
        if peer != subject.address:
            found[packet_of(subject, random.choice(tuple(Direction)), peer, probe)] = None
    return list(found)


def _draw(random: Random, pools: Pools[Item]) -> Item:
    return random.choice(random.choice([pool for pool in pools if pool]))


def _by_kind(points: Iterable[L4Probe]) -> tuple[list[L4Probe], list[L4Probe], list[L4Probe], list[L4Probe]]:
    """Those with ports (twice: most rules have some), those with an ICMP type, the others."""
    listed = list(points)
    ports = [point for point in listed if point.protocol in PORT_PROTOCOLS]
    icmp = [point for point in listed if point.protocol in ICMP_PROTOCOLS and point.icmp_type is not None]
    others = [point for point in listed if point.protocol not in PORT_PROTOCOLS and point.icmp_type is None]
    return ports, ports, icmp, others


def packet_of(subject: Subject, direction: Direction, peer: Address, probe: L4Probe) -> Packet:
    """The packet that the probe stands for, at the subject."""
    assert subject.address is not None
    return Packet(
        subject.entity.name, direction.value, subject.address, peer,
        probe.protocol, probe.source_port, probe.destination_port, probe.icmp_type, probe.icmp_code,
    )  # fmt: skip
