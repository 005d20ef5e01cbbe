"""The emitted tables read back: the verdict of a new flow's first packet at one endpoint.

In: an artefact's manifest and images (nothing of the stages that made them but the layout). Out: `Answer`s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpfence.emit.artefact import Artefact, HostRowEntry, LayerDecision, Manifest, RowEntry
from bpfence.errors import UsageError
from bpfence.flows import always_passes
from bpfence.plan.layout import (
    ADDRESS6_ENTRY,
    ADDRESS6_LENGTH,
    CELL_ALLOW,
    CELL_DECISION_MASK,
    CELL_LOG,
    CELL_NARROW_SHIFT,
    CELL_NEXT,
    CELL_STATELESS,
    HEADER,
    POLICY_ROW,
    UNRESTRICTED,
    address4_bits,
    address6_hash,
    address6_slot,
    endpoint_struct,
)

Address = IPv4Address | IPv6Address
PORT_INDEX = {6: 0, 17: 1, 132: 2}
ICMP_INDEX = {(4, 1): 0, (6, 58): 1}
_ECHO = ((8, 0), (128, 129))
"""ICMP types of requests and replies, by `ICMP_INDEX`"""
_LEFT_OUT = CELL_ALLOW | CELL_STATELESS


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as its endpoint sees it. Ports are those of the packet, host order; None = not there or not readable."""

    endpoint: str
    direction: str
    own: Address
    peer: Address
    protocol: int
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """``cell`` None: no row, unrestricted. ``layers``: the decision when the cell carries its number.

    ``undecided``: only at a host endpoint's points; the next point is asked. ``stateless``: the packet's flow is not
    remembered, for it needs no state.
    """

    allowed: bool
    cell: int | None = None
    layers: tuple[LayerDecision, ...] = ()
    undecided: bool = False
    stateless: bool = False


class Simulator:
    """Reads one artefact's tables."""

    def __init__(self, artefact: Artefact) -> None:
        manifest = artefact.manifest
        self._manifest = manifest
        self._endpoint_ids = {entry.name: entry.id for entry in manifest.endpoints}
        self._rows: dict[tuple[str, int, str], RowEntry] = {}
        for row in manifest.rows:
            for endpoint in row.endpoints:
                self._rows[row.direction, row.offset, endpoint] = row
        images = artefact.tables
        geometry = manifest.geometry
        self._header = np.frombuffer(images["header"], dtype=HEADER.dtype)[0]
        struct = endpoint_struct(geometry["own4"], geometry["own6"])
        self._endpoints = np.frombuffer(images["endpoints"], dtype=struct.dtype)
        block = "<u4" if manifest.features["wide_blocks"] else "<u2"
        fine = bool(manifest.features["fine_blocks"])
        self._bits4 = address4_bits(fine)
        self._level1 = np.frombuffer(images["address4_l1"], dtype="<u4" if fine else "<u2")
        self._level2 = np.frombuffer(images["address4_l2"], dtype=block)
        self._level3 = _shorts(images["address4_l3"])
        self._address6: NDArray[Any] | None = None
        if "address6" in images:
            self._address6 = np.frombuffer(images["address6"], dtype=ADDRESS6_ENTRY.dtype)
            self._lengths6 = np.frombuffer(images["address6_lengths"], dtype=ADDRESS6_LENGTH.dtype)
            self._displacements6 = _shorts(images["address6_displacements"])
            self._blocks6 = _shorts(images["address6_blocks"])
        self._ports = _shorts(images["ports"])
        self._source_ports = _shorts(images["source_ports"]) if "source_ports" in images else None
        self._pairs = _shorts(images["port_pairs"]) if "port_pairs" in images else None
        self._icmp = _shorts(images["icmp"])
        self._node_ports = images.get("node_ports")
        self._protocols = _shorts(images["protocols"])
        self._cells = _shorts(images["cells"])
        if manifest.features["narrow_cells"]:
            narrow = np.frombuffer(images["cells"], dtype="u1").astype(np.uint16)
            self._cells = narrow << np.uint16(CELL_NARROW_SHIFT)
        self._policy_rows: NDArray[Any] | None = None
        if manifest.features["two_level"]:
            self._policy_rows = np.frombuffer(images["policy_rows"], dtype=POLICY_ROW.dtype)
            place = "<u2" if manifest.features["wide_row_peers"] else "u1"
            self._row_peers = np.frombuffer(images["row_peers"], dtype=place)
            self._row_l4 = _shorts(images["row_l4"])

    def decide(self, packet: Packet) -> Answer:
        """The verdict of a packet that belongs to no tracked flow. UsageError for an endpoint the artefact does not
        have.
        """
        if always_passes(packet.peer.version, packet.protocol, packet.icmp_type, packet.icmp_code):
            return Answer(True)
        row = self.row(packet.endpoint, packet.direction, packet.own)
        if row is None:
            return Answer(packet.direction == "ingress" or self._owns(packet.endpoint, packet.own))
        rows = [self.row(packet.endpoint, direction, packet.own) for direction in ("egress", "ingress")]
        stateless = self.is_left_out([item for item in rows if item is not None], packet)
        if row == UNRESTRICTED:
            return Answer(True, stateless=stateless)
        cell = self.cell(row, packet)
        layers = self._layers(packet.direction, row, at_own(packet), cell)
        return Answer(bool(cell & CELL_ALLOW), cell, layers, stateless=stateless)

    def is_left_out(self, rows: Sequence[int], packet: Packet) -> bool:
        """Whether the packet belongs to a flow that is not remembered, for it needs no state. ``rows``: of the
        endpoint, in both directions.
        """
        if not self._manifest.features["stateless"] or not _makes_flow(packet):
            return False
        asked = next((row for row in rows if row != UNRESTRICTED), None)
        return asked is None or self.cell(asked, packet) & _LEFT_OUT == _LEFT_OUT

    def decide_host(self, packet: Packet, point: str) -> Answer | None:
        """What the cells say at one point of a host: ``packet.endpoint`` is ``hep/NAME`` or ``node/NAME``. None:
        nothing restricts it there. UsageError for a host the artefact does not have.
        """
        row = self._host_row(packet, point)
        if row is None or row.offset is None:
            return None
        cell = self.cell(row.offset, packet)
        layers = self._layers(packet.direction, row.offset, f"{packet.endpoint}@{row.own}", cell)
        return Answer(bool(cell & (CELL_ALLOW | CELL_NEXT)), cell, layers, bool(cell & CELL_NEXT))

    def _host_row(self, packet: Packet, point: str) -> HostRowEntry | None:
        host = next((item for item in self._manifest.hosts if item.name == packet.endpoint), None)
        if host is None:
            raise UsageError(f"the artefact has no host {packet.endpoint}")
        rows = [item for item in host.rows if (item.direction, item.point) == (packet.direction, point)]
        exact = next((item for item in rows if item.own and holds(item.own, packet.own)), None)
        return exact or next((item for item in rows if not item.own), None)

    def cell(self, row: int, packet: Packet) -> int:
        """What the row that stands in the tables as ``row`` says about the packet, exemptions left aside."""
        return self.cell_of(row, self.peer_class(packet.peer), self.l4_class(packet))

    def cell_of(self, row: int, peer: int, l4: int) -> int:
        """What the row says about a peer class and an L4 class."""
        if self._policy_rows is None:
            return int(self._cells[row + peer * int(self._header["l4_stride"]) + l4])
        start, l4_start, cells, width = map(int, self._policy_rows[row])
        line, column = int(self._row_peers[start + peer]), int(self._row_l4[l4_start + l4])
        return int(self._cells[cells + line * width + column])

    def is_node_port(self, protocol: int, port: int | None) -> bool:
        """Whether a service answers at the port at every address of the node."""
        place = PORT_INDEX.get(protocol)
        if place is None or port is None or self._node_ports is None:
            return False
        return bool(self._node_ports[place * 8192 + (port >> 3)] >> (port & 7) & 1)

    @property
    def manifest(self) -> Manifest:
        """What the artefact says about itself."""
        return self._manifest

    def row(self, endpoint: str, direction: str, own: Address) -> int | None:
        """What stands in the tables for the row of one own address; None when the endpoint does not have it."""
        record = self._record(endpoint)
        wanted: Any = int.from_bytes(own.packed, "little") if own.version == 4 else list(_words(own))
        for slot in record[f"own{own.version}"][: int(record[f"own{own.version}_count"])]:
            if np.array_equal(slot["address"], wanted):
                return int(slot[f"{direction}_row"])
        return None

    def peer_class(self, peer: Address) -> int:
        if peer.version == 4:
            address, (second, third) = int(peer), self._bits4
            block = int(self._level1[address >> second + third])
            block = int(self._level2[(block << second) + (address >> third & (1 << second) - 1)])
            return int(self._level3[(block << third) + (address & (1 << third) - 1)])
        return self._peer6(peer)

    def l4_class(self, packet: Packet) -> int:
        ports = PORT_INDEX.get(packet.protocol)
        if ports is not None and packet.destination_port is not None and packet.source_port is not None:
            first = int(self._ports[ports * 65536 + packet.destination_port])
            if self._pairs is None or self._source_ports is None:
                return first
            second = int(self._source_ports[ports * 65536 + packet.source_port])
            return int(self._pairs[first * int(self._header["source_stride"]) + second])
        icmp = ICMP_INDEX.get((packet.peer.version, packet.protocol))
        if icmp is not None and packet.icmp_type is not None and packet.icmp_code is not None:
            if self._manifest.features["icmp_codes"]:
                return int(self._icmp[icmp * 65536 + (packet.icmp_type << 8 | packet.icmp_code)])
            return int(self._icmp[icmp * 256 + packet.icmp_type])
        return int(self._protocols[packet.protocol])

    def _peer6(self, peer: Address) -> int:
        if self._address6 is None:
            return int(self._header["peer6_default"])
        value = int(peer)
        found, at, more = int(self._header["peer6_default"]), 0, True
        while more:
            place = self._lengths6[at]
            length = int(place["length"])
            prefix = value & (int(place["upper"]) << 64 | int(place["lower"]))
            number = address6_hash(prefix, int(place["mix"]))
            displacement = int(self._displacements6[number % len(self._displacements6)])
            entry = self._address6[address6_slot(number, displacement, len(self._address6))]
            hit = int(entry["length"]) == length + 1 and int(entry["upper"]) << 64 | int(entry["lower"]) == prefix
            if hit:
                block = int(entry["block"])
                found = int(self._blocks6[(block - 1) * 256 + (value & 0xFF)]) if block else int(entry["peer"])
            at = int(place["longer"] if hit else place["shorter"])
            more = at > 0
        return found

    def _layers(self, direction: str, row: int, user: str, cell: int) -> tuple[LayerDecision, ...]:
        entry = self._rows.get((direction, row, user))
        number = cell & CELL_DECISION_MASK
        return entry.decisions[number - 1] if entry is not None and number else ()

    def _owns(self, endpoint: str, own: Address) -> bool:
        return self.row(endpoint, "egress", own) is not None

    def _record(self, endpoint: str) -> Any:
        if endpoint not in self._endpoint_ids:
            raise UsageError(f"the artefact has no endpoint {endpoint}")
        return self._endpoints[self._endpoint_ids[endpoint]]


def answer_of(packet: Packet) -> Packet:
    """The packet that answers, seen at the same endpoint."""
    return replace(
        packet,
        direction="ingress" if packet.direction == "egress" else "egress",
        source_port=packet.destination_port,
        destination_port=packet.source_port,
        icmp_type=_other_half(packet),
    )


def _other_half(packet: Packet) -> int | None:
    """The ICMP type of what answers: of an echo its other half."""
    echo = _ECHO[ICMP_INDEX.get((packet.peer.version, packet.protocol), 0)]
    return echo[1 - echo.index(packet.icmp_type)] if packet.icmp_type in echo else packet.icmp_type


def _makes_flow(packet: Packet) -> bool:
    """Of ICMP only echoes do."""
    place = ICMP_INDEX.get((packet.peer.version, packet.protocol))
    return place is None or (packet.icmp_type in _ECHO[place] and packet.icmp_code == 0)


def at_own(packet: Packet) -> str:
    """The packet's endpoint at its own address, as the manifest's rows name it."""
    return f"{packet.endpoint}@{packet.own}"


def holds(own: str, address: Address) -> bool:
    """Whether ``FIRST-LAST`` of a host's row holds the address."""
    first, last = map(ip_address, own.split("-"))
    return first.version == address.version and int(first) <= int(address) <= int(last)


def logged(cell: int) -> bool:
    """Whether a LOG rule matched on the way to the cell."""
    return bool(cell & CELL_LOG)


def _shorts(image: bytes) -> NDArray[np.uint16]:
    return np.frombuffer(image, dtype="<u2")


def _words(address: Address) -> tuple[int, int, int, int]:
    raw = address.packed
    first, second, third, fourth = (int.from_bytes(raw[i : i + 4], "little") for i in (0, 4, 8, 12))
    return first, second, third, fourth
