"""What a flood consists of: a `Traffic` in; the frame to start from and the generator's instructions out."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import numpy as np

from bpfence.loader.frames import Address, ipv4_header
from bpfence.plan.layout import Field, Struct, check_layout

POD_ADDRESS, NODE_ADDRESS = IPv4Address("10.63.0.1"), IPv4Address("10.255.0.1")
NODE_ADDRESSES: dict[int, Address] = {4: NODE_ADDRESS, 6: IPv6Address("fd00:ffff::1")}
PEERS = IPv4Network("10.64.0.0/16")
PEERS6 = IPv6Network("fd00:64::/112")
"""The other party of every packet: to whom the pod sends, or who sends to the node."""
FRAME = 60
"""bytes of a frame, which is 64 on a wire with the checksum"""
FLOOD_PORTS, FLOOD_PORTS_MASK = 0x8000, 0x3FFF
"""Destination ports of a flood; no rule names one of them."""
_UDP = 17
_HARDWARE = bytes.fromhex("02000000ffff020000010001")
CONTROL = check_layout(Struct("flood_control", (
    Field("state", "u64"), Field("ifindex", "u32"), Field("sum", "u32", comment="of the header's other halves"),
    Field("source", "be32"), Field("source_mask", "be32"), Field("destination", "be32"),
    Field("destination_mask", "be32"), Field("source_port", "be16"), Field("source_port_mask", "be16"),
    Field("destination_port", "be16"), Field("destination_port_mask", "be16"),
), "What is written into the frames: the fixed part, and the bits that are drawn."))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Traffic:
    """UDP from the pod to ``peer``; ``inbound``: from the peer to the node instead. A ``peer`` of None is drawn from
    `PEERS`, a destination port of None from the flood's ports. Source ports are drawn.
    """

    peer: IPv4Address | None = None
    port: int | None = None
    inbound: bool = False

    @property
    def frame(self) -> bytes:
        """An empty datagram without UDP checksum; the generator fills in addresses and ports."""
        payload = bytes(FRAME - 14 - 28)
        header = ipv4_header(bytes(4), bytes(4), _UDP, 8 + len(payload))
        return _HARDWARE + b"\x08\x00" + header + struct.pack("!HHHH", 0, 0, 8 + len(payload), 0) + payload

    def control(self, ifindex: int) -> bytes:
        """The generator's instructions; frames leave by the interface ``ifindex``."""
        record = np.zeros(1, dtype=CONTROL.dtype)
        header = np.frombuffer(self.frame[14:34], dtype="<u2").astype(np.uint32)
        record["state"], record["ifindex"] = time.monotonic_ns(), ifindex
        record["sum"] = int(header.sum() - header[5])
        own, peer = ("destination", "source") if self.inbound else ("source", "destination")
        record[own] = socket.htonl(int(NODE_ADDRESS if self.inbound else POD_ADDRESS))
        record[peer] = socket.htonl(int(self.peer or PEERS.network_address))
        record[f"{peer}_mask"] = 0 if self.peer else socket.htonl(int(PEERS.hostmask))
        record["source_port_mask"] = 0xFFFF
        record["destination_port"] = socket.htons(FLOOD_PORTS if self.port is None else self.port)
        record["destination_port_mask"] = socket.htons(FLOOD_PORTS_MASK if self.port is None else 0)
        return record.tobytes()


FLOOD = Traffic()
