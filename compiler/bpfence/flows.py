"""A connection somebody asks about, and names of protocols. Shared by the evaluator, the simulator and the commands."""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOL_NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1, "ICMPV6": 58}
PROTOCOL_NAMES = {6: "TCP", 17: "UDP", 132: "SCTP", 1: "ICMP", 58: "ICMPv6"}
PORT_PROTOCOLS = frozenset((6, 17, 132))
ICMP_PROTOCOLS = frozenset((1, 58))


@dataclass(frozen=True, slots=True)
class Flow:
    """The first packet of a connection between two parties.

    ``source`` and ``destination``: ``namespace/pod`` of a pod of the inventory, ``node/NAME`` for a node's own
    processes, or an IP address in text (an address of a known pod or node means that pod or node). Ports only with
    TCP, UDP, SCTP; type and code only with ICMP. ``family``: 4 or 6; None = the first that both parties have.
    """

    source: str
    destination: str
    protocol: int
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    family: int | None = None
    interface: str = ""
    """the host interface that traffic from and to the outside uses; empty = of the node's host endpoints the one with
    the smallest name"""
    out_interface: str = ""
    """the host interface by which a node passes on what is between two outside addresses"""
    original_destination: str = ""
    """the address on the wire before it was translated to ``destination`` (a service's, or a node's); empty = the
    same
    """
    original_port: int | None = None
    """the destination port on the wire before translation; None = the same"""
    fqdn: str = ""
    """to an outside address: the name under which the source has learnt it; to a port whose queries are filtered: the
    name asked for"""


def protocol_name(number: int) -> str:
    """``TCP`` ... or the number as text."""
    return PROTOCOL_NAMES.get(number, str(number))


NEIGHBOUR_DISCOVERY = frozenset(range(133, 137))
MULTICAST_LISTENER = frozenset((130, 131, 132, 143))


def always_passes(version: int, protocol: int, icmp_type: int | None, icmp_code: int | None) -> bool:
    """What no policy decides: neighbour discovery and multicast listener messages (taken with their required hop
    limit), and the
    messages path MTU discovery needs (ICMP fragmentation needed, ICMPv6 packet too big). ``version``: 4 or 6.
    """
    if (version, protocol) == (6, 58):
        return icmp_type in NEIGHBOUR_DISCOVERY or icmp_type in MULTICAST_LISTENER or icmp_type == 2
    return (version, protocol, icmp_type, icmp_code) == (4, 1, 3, 4)


def host_housekeeping(version: int, protocol: int, icmp_type: int | None) -> bool:
    """What no policy decides at a host endpoint: neighbour discovery and multicast listener messages."""
    return (version, protocol) == (6, 58) and (icmp_type in NEIGHBOUR_DISCOVERY or icmp_type in MULTICAST_LISTENER)


def node_housekeeping(version: int, protocol: int, icmp_type: int | None, icmp_code: int | None) -> bool:
    """What no policy that selects nodes decides: the same, path MTU messages, and ICMPv6 errors (types 1 to 4)."""
    if (version, protocol) == (6, 58) and icmp_type is not None and 1 <= icmp_type <= 4:
        return True
    return always_passes(version, protocol, icmp_type, icmp_code)
