"""Cilium's L4 entries: ports of ``toPorts`` and types of ``icmps``.

Follows ``pkg/policy/api/l4.go`` and ``pkg/policy/api/icmp.go`` of cilium/cilium.
"""

from __future__ import annotations

from bpfence.dialects.cilium.model import IcmpField, PortProtocol
from bpfence.flows import PORT_PROTOCOLS
from bpfence.semantics.packet import Packet, container_ports

NUMBERS = {
    "TCP": 6, "UDP": 17, "SCTP": 132,
    "VRRP": 112, "IGMP": 2, "GRE": 47, "IPIP": 4, "IPV6": 41, "ESP": 50, "AH": 51,
}  # fmt: skip
ICMP_TYPES = {
    "EchoReply": 0, "DestinationUnreachable": 3, "Redirect": 5, "Echo": 8, "EchoRequest": 8,
    "RouterAdvertisement": 9, "RouterSelection": 10, "TimeExceeded": 11, "ParameterProblem": 12, "Timestamp": 13,
    "TimestampReply": 14, "Photuris": 40, "ExtendedEchoRequest": 42, "ExtendedEchoReply": 43,
}  # fmt: skip
ICMPV6_TYPES = {
    "DestinationUnreachable": 1, "PacketTooBig": 2, "TimeExceeded": 3, "ParameterProblem": 4,
    "EchoRequest": 128, "EchoReply": 129, "MulticastListenerQuery": 130, "MulticastListenerReport": 131,
    "MulticastListenerDone": 132, "RouterSolicitation": 133, "RouterAdvertisement": 134,
    "NeighborSolicitation": 135, "NeighborAdvertisement": 136, "RedirectMessage": 137, "RouterRenumbering": 138,
    "ICMPNodeInformationQuery": 139, "ICMPNodeInformationResponse": 140,
    "InverseNeighborDiscoverySolicitation": 141, "InverseNeighborDiscoveryAdvertisement": 142,
    "HomeAgentAddressDiscoveryRequest": 144, "HomeAgentAddressDiscoveryReply": 145,
    "MobilePrefixSolicitation": 146, "MobilePrefixAdvertisement": 147,
    "DuplicateAddressRequestCodeSuffix": 157, "DuplicateAddressConfirmationCodeSuffix": 158,
    "ExtendedEchoRequest": 160, "ExtendedEchoReply": 161,
}  # fmt: skip


def port_matches(entry: PortProtocol, packet: Packet) -> bool:
    """One item of ``ports``. ANY with a port is TCP, UDP and SCTP; port 0 is every port, with ANY every protocol."""
    protocol = (entry.protocol or "ANY").upper()
    wildcard = not entry.port or entry.port == "0"
    if protocol == "ANY":
        if wildcard:
            return True
        if packet.protocol not in PORT_PROTOCOLS:
            return False
    elif packet.protocol != NUMBERS[protocol]:
        return False
    return wildcard or _number_matches(entry, packet)


def is_exact(entry: PortProtocol, packet: Packet) -> bool:
    """Whether the entry names just the packet's port: neither a wildcard nor a range."""
    single = not (entry.port or "").isdecimal() or (entry.end_port or 0) <= int(entry.port or 0)
    return bool(entry.port) and entry.port != "0" and single and port_matches(entry, packet)


def _number_matches(entry: PortProtocol, packet: Packet) -> bool:
    """A number, an inclusive range, or a container port name of the destination pod with the packet's protocol."""
    port = entry.port or ""
    if not port.isdecimal():
        return packet.destination_port in container_ports(packet.destination.pod, port.lower(), packet.protocol)
    low = int(port)
    high = max(low, entry.end_port or low)
    return packet.destination_port is not None and low <= packet.destination_port <= high


def icmp_matches(field: IcmpField, packet: Packet) -> bool:
    """One item of ``fields``: exactly this type of this family, every code."""
    six = field.family == "IPv6"
    if packet.protocol != (58 if six else 1):
        return False
    names = ICMPV6_TYPES if six else ICMP_TYPES
    text = str(field.type)
    return packet.icmp_type == (int(text) if text.isdecimal() else names[text])
