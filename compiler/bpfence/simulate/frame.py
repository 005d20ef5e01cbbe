"""A frame at a workload's interface -> what the program must answer, for a packet of no tracked flow.

The order of questions and the exemptions are those of ARCHITECTURE.md ("The data plane"); the verdict of the tables is
the `Simulator`'s. Time does not pass: what a `FragmentMemory` holds never grows old.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal

from bpfence.flows import MULTICAST_LISTENER, NEIGHBOUR_DISCOVERY
from bpfence.plan.layout import CELL_ALLOW, PASSING, UNRESTRICTED
from bpfence.simulate.headers import ICMP_OF, TCP, UDP, Address, Headers, read_frame
from bpfence.simulate.host_hooks import HostHooks, ends_in_node
from bpfence.simulate.simulator import Packet, Simulator

Direction = Literal["egress", "ingress"]

_SYN, _ACK = 0x02, 0x10
_ICMPV6_ERRORS = frozenset(range(1, 5))
_ON_LINK = {**dict.fromkeys(NEIGHBOUR_DISCOVERY, 255), **dict.fromkeys(MULTICAST_LISTENER, 1)}
"""ICMPv6 type -> the hop limit that makes it a message of the link"""
_LINK_LOCAL = 0xFE80 >> 6
"""the first ten bits of fe80::/10"""
_NO_ADDRESS, _EVERYBODY = bytes(4), b"\xff" * 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """``reason``: a name of `REASONS`. ``headers``: None = the frame could not be read, or was not looked at."""

    reason: str
    headers: Headers | None = None

    @property
    def passes(self) -> bool:
        return self.reason in PASSING


@dataclass(slots=True)
class FragmentMemory:
    """Datagrams whose first fragment was allowed, and how far its headers reached. Empty at first."""

    _reach: dict[tuple[object, ...], int] = field(default_factory=dict)

    def remember(self, place: tuple[str, Direction], headers: Headers) -> None:
        """A first fragment was allowed. Of several the longest headers count."""
        assert headers.fragment is not None
        key = _datagram(place, headers)
        self._reach[key] = max(headers.fragment.headers, self._reach.get(key, 0))

    def knows(self, place: tuple[str, Direction], headers: Headers) -> bool:
        """Whether a later fragment belongs to such a datagram and leaves its headers alone."""
        assert headers.fragment is not None
        reach = self._reach.get(_datagram(place, headers))
        return reach is not None and headers.fragment.offset >= reach

    def clear(self) -> None:
        self._reach.clear()


def _datagram(place: tuple[str, Direction], headers: Headers) -> tuple[object, ...]:
    """What the fragments of a datagram have in common. IPv6 has no protocol there (RFC 8200)."""
    assert headers.fragment is not None
    protocol = headers.protocol if headers.version == 4 else None
    return place, headers.source, headers.destination, headers.fragment.identification, protocol


@dataclass(frozen=True, slots=True)
class _Rows:
    egress: int
    ingress: int

    def of(self, direction: Direction) -> int:
        return self.egress if direction == "egress" else self.ingress


class FrameSimulator:
    """Answers frames at the workload interfaces of one artefact's node."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._rows = {
            entry.name: _rows_of(simulator, entry.name, entry.addresses) for entry in simulator.manifest.endpoints
        }
        self._hosts = HostHooks(simulator) if simulator.manifest.features["hosts_at_workloads"] else None
        self._node = frozenset(map(ip_address, simulator.manifest.node_addresses))

    def judge(
        self,
        frame: bytes,
        direction: Direction,
        endpoint: str | None,
        memory: FragmentMemory,
        received: bool = True,
    ) -> Outcome:
        """The answer to a frame from its Ethernet header on. ``endpoint`` None: the interface has none. ``memory``
        takes note of first fragments that pass. ``received``: the node has received the packet, so it is not its own.
        """
        if endpoint is None:
            return Outcome("unknown-endpoint")
        headers = read_frame(frame)
        if isinstance(headers, str):
            return Outcome(headers)
        party = not received if direction == "ingress" else ends_in_node(headers.destination, self._node)
        return Outcome(self._judge(headers, direction, endpoint, party, memory), headers)

    def _judge(self, headers: Headers, direction: Direction, endpoint: str, party: bool, memory: FragmentMemory) -> str:
        own = headers.source if direction == "egress" else headers.destination
        rows = self._rows[endpoint].get(own)
        if rows is None and direction == "egress":
            return "untracked" if _may_lack_address(headers) else "source-check"
        rows = rows or self._first_rows(endpoint, own.version)
        if rows is None:
            return "table-error"
        if is_link_control(headers):
            return "untracked"
        if is_too_big(headers):
            if self._hosts is None:
                return "untracked"
            rows = _Rows(UNRESTRICTED, UNRESTRICTED)
        if headers.is_later_fragment:
            if self._hosts is None and rows.of(direction) == UNRESTRICTED:
                return "untracked"
            return "allowed" if memory.knows((endpoint, direction), headers) else "fragment"
        if not self._allows(headers, direction, endpoint, rows, party):
            return "denied"
        if headers.fragment is not None:
            memory.remember((endpoint, direction), headers)
            return "allowed"
        packet = packet_of(headers, direction, endpoint)
        return "untracked" if self._simulator.is_left_out((rows.egress, rows.ingress), packet) else "allowed"

    def _first_rows(self, endpoint: str, version: int) -> _Rows | None:
        """Those of the first address of the family, else of the first there is."""
        known = self._rows[endpoint]
        alike = (rows for address, rows in known.items() if address.version == version)
        return next(alike, None) or next(iter(known.values()), None)

    def _allows(self, headers: Headers, direction: Direction, endpoint: str, rows: _Rows, party: bool) -> bool:
        """What the tables say. A TCP packet that opens nothing may belong to a connection of either side. ``party``:
        the node itself is the other one.
        """
        packet = packet_of(headers, direction, endpoint)
        exempt = is_node_error(headers)
        if self._opens(rows.of(direction), packet, party, exempt):
            return True
        if not is_answer_to_either(headers):
            return False
        other: Direction = "ingress" if direction == "egress" else "egress"
        ports = (headers.destination_port, headers.source_port)
        answered = Packet(endpoint, other, packet.own, packet.peer, TCP, *ports)
        return self._opens(rows.of(other), answered, party, exempt)

    def _opens(self, row: int, packet: Packet, party: bool, exempt: bool) -> bool:
        if row != UNRESTRICTED and not self._simulator.cell(row, packet) & CELL_ALLOW:
            return False
        return self._hosts is None or self._hosts.at_workload(packet, party=party, node_exempt=exempt)


def packet_of(headers: Headers, direction: Direction, endpoint: str) -> Packet:
    """The packet as the endpoint sees it, one of the two ends of the headers."""
    ends = (headers.source, headers.destination) if direction == "egress" else (headers.destination, headers.source)
    return Packet(
        endpoint, direction, *ends, headers.protocol,
        headers.source_port, headers.destination_port, headers.icmp_type, headers.icmp_code,
    )  # fmt: skip


def is_answer_to_either(headers: Headers) -> bool:
    """A TCP packet that opens nothing, so it may belong to a connection that either side has opened."""
    return headers.protocol == TCP and headers.tcp_flags & (_SYN | _ACK) != _SYN


def is_link_control(headers: Headers) -> bool:
    """Neighbour discovery and listener messages that no router passed on, whole."""
    if headers.version != 6 or headers.protocol != ICMP_OF[6] or headers.fragment is not None:
        return False
    return _ON_LINK.get(headers.icmp_type or 0) == headers.hop_limit


def is_too_big(headers: Headers) -> bool:
    """A whole message of path MTU discovery."""
    if headers.fragment is not None or headers.protocol != ICMP_OF[headers.version]:
        return False
    if headers.version == 4:
        return (headers.icmp_type, headers.icmp_code) == (3, 4)
    return headers.icmp_type == 2


def is_node_error(headers: Headers) -> bool:
    """Whole messages that policies for nodes leave alone: ICMPv6 errors and path MTU discovery."""
    whole6 = headers.version == 6 and headers.protocol == ICMP_OF[6] and headers.fragment is None
    return (whole6 and headers.icmp_type in _ICMPV6_ERRORS) or is_too_big(headers)


def _may_lack_address(headers: Headers) -> bool:
    """What an endpoint may send from an address that is not its own: a DHCP request, messages of the link."""
    source = headers.source
    if headers.version == 6:
        return is_link_control(headers) and (int(source) == 0 or int(source) >> 118 == _LINK_LOCAL)
    return (
        (source.packed, headers.destination.packed) == (_NO_ADDRESS, _EVERYBODY)
        and (headers.protocol, headers.source_port, headers.destination_port) == (UDP, 68, 67)
        and headers.fragment is None
    )


def _rows_of(simulator: Simulator, endpoint: str, addresses: tuple[str, ...]) -> dict[Address, _Rows]:
    """By own address, in the order of the tables."""
    found = {}
    for address in map(ip_address, addresses):
        egress, ingress = (simulator.row(endpoint, direction, address) for direction in ("egress", "ingress"))
        if egress is not None and ingress is not None:
            found[address] = _Rows(egress, ingress)
    return found
