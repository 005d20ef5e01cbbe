"""The proof before a commit: probe packets run through the staged programs, each verdict compared with the
simulator's.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bpfence.errors import KernelError
from bpfence.loader.bpffs import DIRECTION_PROGRAM, Direction
from bpfence.loader.counts import clear_counts
from bpfence.loader.host_interfaces import HostInterface
from bpfence.loader.maps import Map
from bpfence.loader.node import Slot
from bpfence.loader.probes import Probe
from bpfence.loader.programs import TestRunner
from bpfence.plan.layout import CONNECTION_KEY
from bpfence.simulate.simulator import ICMP_INDEX, PORT_INDEX, Packet

TC_DROP = 2


@dataclass(frozen=True, slots=True)
class Proof:
    """How many packets were sent, by reason. ``of_nobody``: those among them that the shared counters count."""

    sent: dict[str, int]
    of_nobody: dict[str, int]


def prove(slot: Slot, probes: Iterable[Probe], connections: Map) -> Proof:
    """Run every probe. Raises KernelError at the first that differs. The slot's own counters are zero afterwards.

    INVARIANT: the slot's generation is still zero, so an entry that a probe leaves in the shared connection table
    is older than every generation and would be decided again. It is removed all the same; flows that were there
    before stay.
    """
    sent: Counter[str] = Counter()
    of_nobody: Counter[str] = Counter()
    for (direction, index, received), group in itertools.groupby(probes, key=_place):
        runner = TestRunner(slot.programs[DIRECTION_PROGRAM[direction]].fd, ifindex=index, received=received)
        for probe in group:
            count = _run(runner, probe, connections)
            sent[probe.reason] += count
            if isinstance(probe.interface, HostInterface) and probe.interface.number < 0:
                of_nobody[probe.reason] += count
    clear_counts(slot.counters)
    return Proof(dict(sent), dict(of_nobody))


def _place(probe: Probe) -> tuple[Direction, int, int]:
    return probe.direction, probe.interface.index, probe.received


def _run(runner: TestRunner, probe: Probe, connections: Map) -> int:
    """How many packets were sent: one, or none when a live flow has this very tuple, which is then not ours to
    touch.
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
    identifier = b"\x62\x66" if (packet.own.version, packet.protocol) in ICMP_INDEX else b"\0\0"
    return identifier, identifier


def _word(allowed: bool) -> str:
    return "allow" if allowed else "deny"
