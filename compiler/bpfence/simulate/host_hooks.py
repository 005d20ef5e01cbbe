"""What the programs at one hook say where hosts have a say: an interface of the node, or a workload's.

In: a `Simulator` and a new flow's first packet as the hook sees it. Out: `Outcome`. `simulate/hosts.py` takes a flow
along all hooks of its way.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_network

from bpfence.emit.artefact import FailsafeEntry, HostEntry
from bpfence.flows import host_housekeeping, node_housekeeping
from bpfence.simulate.simulator import PORT_INDEX, Address, Packet, Simulator

DROP = "Drop"


class Outcome(StrEnum):
    """``UNTRACKED``: the packet passes and is not remembered."""

    ALLOWED = "allowed"
    UNTRACKED = "untracked"
    DENIED = "denied"

    @property
    def passes(self) -> bool:
        return self is not Outcome.DENIED


@dataclass(frozen=True, slots=True)
class _Word:
    """What one point says. ``decided``: later points are not asked."""

    passes: bool
    decided: bool


_SILENT = _Word(True, False)


class HostHooks:
    """Answers for one artefact."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        hosts = simulator.manifest.hosts
        self._node = next((host for host in hosts if host.name.startswith("node/")), None)
        self._every = next((host for host in hosts if host.interface == "*"), None)
        self._drops = any(host.settings.workload_to_host == DROP for host in hosts)

    def at_interface(self, host: HostEntry | None, packet: Packet, *, party: bool) -> Outcome:
        """At an interface of the node. ``host``: its host endpoint; ``party``: the node itself receives or sends the
        packet, else it passes it on. ``packet.endpoint`` does not matter.
        """
        if host_housekeeping(packet.peer.version, packet.protocol, packet.icmp_type):
            return Outcome.UNTRACKED
        early = self.before_tracking(host, packet, party=party)
        if early is not None:
            return early
        return Outcome.ALLOWED if self.opens(host, packet, party=party) else Outcome.DENIED

    def before_tracking(self, host: HostEntry | None, packet: Packet, *, party: bool) -> Outcome | None:
        """As `at_interface`, of a packet that is no housekeeping: what is settled before flows are looked at. None:
        nothing is.
        """
        if host is None:
            return None if party else Outcome.UNTRACKED
        if not party and packet.direction != "ingress":
            return None
        early = self._ask(host, packet, "untracked", failsafe=True)
        if not early.passes:
            return Outcome.DENIED
        return Outcome.UNTRACKED if early.decided else None

    def opens(self, host: HostEntry | None, packet: Packet, *, party: bool, node_exempt: bool | None = None) -> bool:
        """As `at_interface`, of a packet that nothing before has settled: whether it may open a flow. ``node_exempt``:
        policies that select nodes do not concern it; None: as its ICMP type says.
        """
        if host is not None and not self._endpoint_passes(host, packet, party):
            return False
        return not party or self._node_passes(packet, node_exempt)

    def restricts(self, host: HostEntry | None, direction: str, *, party: bool) -> bool:
        """Whether some packet in the direction could be denied at the host's interface, now or by a later rule."""
        places = {(direction, "untracked")} if party or direction == "ingress" else set()
        places |= {(direction, "pre-dnat"), (direction, "endpoint" if party else "forward")}
        if host is not None and any(
            (row.direction, row.point) in places and row.offset is not None for row in host.rows
        ):
            return True
        own = self._node.rows if party and self._node is not None else ()
        return any((row.direction, row.point) == (direction, "endpoint") and row.offset is not None for row in own)

    def at_workload(self, packet: Packet, *, party: bool, node_exempt: bool | None = None) -> bool:
        """At a workload's interface. ``party``: the other side is the node itself. The workload's own row is not
        asked here. ``node_exempt``: as in `opens`.
        """
        direction = "ingress" if packet.direction == "egress" else "egress"
        seen = replace(packet, endpoint="", direction=direction, own=packet.peer, peer=packet.own)
        if direction == "egress":
            return self._node_passes(seen, node_exempt) if party else self._every_passes(seen, "forward")
        # a service that answers at the node's address may be anywhere
        passed_on = not party or self._simulator.is_node_port(seen.protocol, seen.destination_port)
        if self._every is not None:
            early = self._ask(self._every, seen, "pre-dnat", failsafe=party)
            if not early.passes:
                return False
            if passed_on and not early.decided and not self._every_passes(seen, "forward"):
                return False
        if not party:
            return True
        if self._drops and not passed_on:
            return False
        return self._node_passes(seen, node_exempt)

    def _endpoint_passes(self, host: HostEntry, packet: Packet, party: bool) -> bool:
        if packet.direction == "ingress":
            early = self._ask(host, packet, "pre-dnat", failsafe=party)
            if early.decided or not early.passes:
                return early.passes
        return self._ask(host, packet, "endpoint" if party else "forward", failsafe=party).passes

    def _every_passes(self, packet: Packet, point: str) -> bool:
        return self._every is None or self._ask(self._every, packet, point, failsafe=False).passes

    def _node_passes(self, packet: Packet, exempt: bool | None = None) -> bool:
        if self._node is None:
            return True
        if exempt is None:
            exempt = node_housekeeping(packet.peer.version, packet.protocol, packet.icmp_type, packet.icmp_code)
        if exempt:
            return True
        return self._ask(self._node, packet, "endpoint", failsafe=True).passes

    def _ask(self, host: HostEntry, packet: Packet, point: str, *, failsafe: bool) -> _Word:
        if failsafe and is_failsafe(host, packet):
            return _SILENT
        answer = self._simulator.decide_host(replace(packet, endpoint=host.name), point)
        if answer is None:
            return _SILENT
        return _Word(answer.allowed, not answer.undecided)


def ends_in_node(address: Address, own: Set[Address]) -> bool:
    """Whether packets to the address end in the node: it is one of its ``own``, of a group, or everybody's."""
    if address.version == 4:
        return address in own or address.is_multicast or int(address) in (0, 0xFFFFFFFF)
    return address in own or address.is_multicast


def is_failsafe(host: HostEntry, packet: Packet) -> bool:
    """Whether the destination port is one that policies of hosts never close, for this remote party."""
    settings = host.settings
    ports = settings.failsafe_ingress if packet.direction == "ingress" else settings.failsafe_egress
    return any(is_open(item, packet) for item in ports)


def is_open(item: FailsafeEntry, packet: Packet) -> bool:
    """Whether one failsafe port is the packet's."""
    if (item.protocol, item.port) != (packet.protocol, packet.destination_port) or item.protocol not in PORT_INDEX:
        return False
    network = ip_network(item.network) if item.network else None
    return network is None or (network.version == packet.peer.version and packet.peer in network)
