"""One packet seen from one of its ends, and what is exempt from every policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bpfence.flows import ICMP_PROTOCOLS, PORT_PROTOCOLS
from bpfence.identity.inventory import Pod
from bpfence.semantics.world import Party

Direction = Literal["ingress", "egress"]

NEIGHBOUR_DISCOVERY = range(133, 137)
MULTICAST_LISTENER = (130, 131, 132, 143)
ICMPV6_ERRORS = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection where policy meets it: at a pod, or at an interface of a host.

    ``node``: whose host sees the packet. ``own``: the end on the subject's side (what lies behind a host's interface
    when the host forwards), ``peer``: the other. Ports in host order, None = the packet has none or they are unknown;
    the same for the ICMP type and code. ``fqdn``: the name under which the peer's address was learnt;
    ``query``: the name that the packet asks for. ``by_service``: the peer is a backend that the subject reaches through
    a service. ``original``: the destination is the one on the wire, no service has been translated yet.
    """

    node: str
    direction: Direction
    own: Party
    peer: Party
    protocol: int
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    fqdn: str = ""
    query: str = ""
    by_service: bool = False
    original: bool = False

    @property
    def subject(self) -> Pod:
        """The pod that is policed; only of packets at a pod."""
        assert self.own.pod is not None
        return self.own.pod

    @property
    def source(self) -> Party:
        return self.peer if self.direction == "ingress" else self.own

    @property
    def destination(self) -> Party:
        return self.own if self.direction == "ingress" else self.peer

    @property
    def family(self) -> int | None:
        """4 or 6; None when neither end has an address (a workload without pods)."""
        address = self.own.address or self.peer.address
        return address.version if address else None

    @property
    def has_ports(self) -> bool:
        return self.protocol in PORT_PROTOCOLS

    @property
    def is_icmp(self) -> bool:
        return self.protocol in ICMP_PROTOCOLS


def reaches_itself(packet: Packet) -> bool:
    """A pod to its own address: the packet never leaves the pod (NetworkPolicy: a pod cannot block itself)."""
    return not packet.by_service and packet.peer.pod is packet.own.pod


def is_link_housekeeping(packet: Packet) -> bool:
    """Neighbour discovery (RFC 4861) and multicast listener discovery (RFC 2710, RFC 3810): IPv6 itself needs them."""
    if packet.protocol != 58 or packet.family == 4:
        return False
    return packet.icmp_type in NEIGHBOUR_DISCOVERY or packet.icmp_type in MULTICAST_LISTENER


def is_icmpv6_error(packet: Packet) -> bool:
    """Destination unreachable, packet too big, time exceeded, parameter problem (RFC 4443)."""
    return packet.protocol == 58 and packet.family != 4 and packet.icmp_type in ICMPV6_ERRORS


def is_mtu_error(packet: Packet) -> bool:
    """ICMPv4 fragmentation needed (type 3, code 4; RFC 1191) and ICMPv6 packet too big (type 2; RFC 8201)."""
    if packet.protocol == 1 and packet.family != 6:
        return packet.icmp_type == 3 and packet.icmp_code == 4
    return packet.protocol == 58 and packet.family != 4 and packet.icmp_type == 2


def container_ports(pod: Pod | None, name: str, protocol: int, *, all_init: bool = False) -> frozenset[int]:
    """Numbers that the pod's containers give to a port name of this protocol.

    Init containers count when they are restartable (sidecars), or all of them with ``all_init`` (Calico).
    """
    if pod is None:
        return frozenset()
    return frozenset(
        port.number
        for port in pod.ports
        if port.name == name and port.protocol == protocol and (all_init or not port.init or port.restartable)
    )
