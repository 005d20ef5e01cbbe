"""Every structure that both Python and the kernel programs read: declared once, C text and numpy types made from it.

Nothing in; struct declarations out. INVARIANT: fields are naturally aligned and structures have no hidden padding
(checked at
declaration), so numpy's packed view and the C compiler's agree. Byte order is the host's, except where a field says
network order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_C_TYPES = {"u8": ("__u8", "u1"), "u16": ("__u16", "u2"), "u32": ("__u32", "u4"), "u64": ("__u64", "u8"),
            "be16": ("__be16", "u2"), "be32": ("__be32", "u4")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """``type``: a scalar of `_C_TYPES` or a `Struct`; ``count`` > 0 makes it an array."""

    name: str
    type: str | Struct
    count: int = 0
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Struct:
    """A C structure without padding."""

    name: str
    fields: tuple[Field, ...]
    comment: str = ""

    @property
    def dtype(self) -> np.dtype[np.void]:
        """The numpy type of one element; be16/be32 fields hold bytes in network order as native integers."""
        parts: list[tuple[str, object] | tuple[str, object, tuple[int]]] = []
        for field in self.fields:
            kind = field.type.dtype if isinstance(field.type, Struct) else np.dtype(_C_TYPES[field.type][1])
            parts.append((field.name, kind, (field.count,)) if field.count else (field.name, kind))
        return np.dtype(parts, align=False)

    @property
    def size(self) -> int:
        return self.dtype.itemsize

    def c_text(self) -> str:
        """The C declaration, kernel style."""
        lines = [f"/* {self.comment} */"] if self.comment else []
        lines.append(f"struct {self.name} {{")
        for field in self.fields:
            kind = f"struct {field.type.name}" if isinstance(field.type, Struct) else _C_TYPES[field.type][0]
            array = f"[{field.count}]" if field.count else ""
            comment = f" /* {field.comment} */" if field.comment else ""
            lines.append(f"\t{kind} {field.name}{array};{comment}")
        lines.append("};")
        return "\n".join(lines) + "\n"


def alignment(struct: Struct) -> int:
    """The C alignment of a structure in bytes."""
    return max(
        alignment(f.type) if isinstance(f.type, Struct) else np.dtype(_C_TYPES[f.type][1]).itemsize
        for f in struct.fields
    )


def check_layout(struct: Struct) -> Struct:
    """Return the structure; ValueError when C would pad it."""
    offset = 0
    for field in struct.fields:
        nested = field.type if isinstance(field.type, Struct) else None
        size = nested.size if nested else np.dtype(_C_TYPES[str(field.type)][1]).itemsize
        align = alignment(nested) if nested else size
        if offset % align:
            raise ValueError(f"struct {struct.name}: C pads before {field.name}")
        offset += size * max(field.count, 1)
    if offset % alignment(struct):
        raise ValueError(f"struct {struct.name}: C pads its end")
    return struct


# Cells: one verdict in 16 bits.
CELL_ALLOW = 0x8000
CELL_LOG = 0x4000
CELL_SHADOW = 0x2000
CELL_NEXT = 0x1000
"""No decision at this point of a host endpoint: the next point is asked. Never together with CELL_ALLOW."""
CELL_SPARES_HOST = 0x0800
"""Before translation: what ends in the node itself is left to the next point, a port of it that is never closed."""
CELL_STATELESS = 0x0800
"""The same bit in a workload's row: flows of this protocol with this peer class need no entry in the connection table,
in either direction. Only together with CELL_ALLOW."""
CELL_DECISION_MASK = 0x07FF
"""Decision number inside the row; 0 = kept out of the cell, look the rule up in the artefact."""

CELL_NARROW_SHIFT = 8
"""A narrow cell is the upper byte of a cell."""

UNRESTRICTED = 0xFFFFFFFF
"""A row that is not there: nothing restricts the endpoint in that direction."""

POLICY_ROW = check_layout(Struct("policy_row", (
    Field("peers", "u32", comment="first element of row_peers, one per peer class"),
    Field("l4", "u32", comment="first element of row_l4, one per L4 class"),
    Field("cells", "u32", comment="first cell"),
    Field("width", "u32", comment="cells per class of peers of the row"),
), "A row over classes of its own."))  # fmt: skip

INTERFACE = check_layout(Struct("interface_entry", (
    Field("ifindex", "u32", comment="0 = free"),
    Field("endpoint", "u32", comment="index into the endpoints table"),
), "One slot of the open-addressed interface table: hash ifindex * 0x9E3779B1 >> 16, linear probing."))  # fmt: skip
INTERFACE_PROBES = 8
"""INVARIANT: the table builder places every interface within this many slots of its hash."""
INTERFACE_HASH = 0x9E3779B1

OWN4 = check_layout(Struct("own4", (
    Field("address", "be32", comment="one IPv4 address of the endpoint, network order"),
    Field("egress_row", "u32", comment="first cell of the row, 0xffffffff = unrestricted"),
    Field("ingress_row", "u32"),
    Field("reserved", "u32"),
)))  # fmt: skip

OWN6 = check_layout(Struct("own6", (
    Field("address", "be32", 4, "one IPv6 address of the endpoint, network order"),
    Field("egress_row", "u32"),
    Field("ingress_row", "u32"),
    Field("reserved", "u32", 2),
)))  # fmt: skip


def endpoint_struct(own4: int, own6: int) -> Struct:
    """One local endpoint with room for ``own4`` IPv4 and ``own6`` IPv6 addresses (both >= 1)."""
    return check_layout(Struct("endpoint", (
        Field("id", "u32", comment="number of the endpoint in the manifest"),
        Field("flags", "u32"),
        Field("own4_count", "u32"),
        Field("own6_count", "u32"),
        Field("own4", OWN4, own4),
        Field("own6", OWN6, own6),
    )))  # fmt: skip


ADDRESS4_BITS = (8, 8)
"""Bits of an IPv4 address that the second and the third level of its table are indexed by; the first has the rest."""
ADDRESS4_FINE_BITS = (6, 6)
"""The same for tables of many small prefixes: a large first level, small blocks below."""


def address4_bits(fine: bool) -> tuple[int, int]:
    """`ADDRESS4_BITS` or `ADDRESS4_FINE_BITS`."""
    return ADDRESS4_FINE_BITS if fine else ADDRESS4_BITS


ADDRESS6_ENTRY = check_layout(Struct("address6_entry", (
    Field("upper", "u64", comment="the prefix in host order, host bits zero"),
    Field("lower", "u64"),
    Field("length", "u16", comment="prefix length + 1; 0 = free"),
    Field("peer", "u16", comment="peer class"),
    Field("block", "u32", comment="0, or 1 + the block that has the class of each address"),
), "One slot of the perfect hash over IPv6 prefixes."))  # fmt: skip
ADDRESS6_LENGTH = check_layout(Struct("address6_length", (
    Field("upper", "u64", comment="mask of the prefix length, host order"),
    Field("lower", "u64"),
    Field("mix", "u64", comment="what the hash takes of the length and the seed"),
    Field("length", "u32"),
    Field("longer", "u16", comment="which is asked after a hit; 0 = none"),
    Field("shorter", "u16", comment="which is asked after a miss; 0 = none"),
), "A prefix length that occurs; the first is asked first."))  # fmt: skip
ADDRESS6_STEPS = 8
"""INVARIANT: no way through the prefix lengths is longer."""
ADDRESS6_GROUP = 4
"""slots per displacement"""
ADDRESS6_BLOCK_LENGTH = 120
"""prefix length of entries with a block"""
ADDRESS6_MIX = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xFF51AFD7ED558CCD, 0x2545F4914F6CDD1D)
"""odd multipliers of the hash"""

HEADER = check_layout(Struct("slot_header", (
    Field("generation", "u64", comment="generation this slot holds; written by the loader, zero in the artefact"),
    Field("l4_stride", "u32", comment="cells per peer class"),
    Field("peer6_default", "u32", comment="peer class of an IPv6 address in no listed prefix"),
    Field("address6_seed", "u32", comment="what the lengths' mixes were made of"),
    Field("address6_lengths", "u32", comment="how many prefix lengths are listed"),
    Field("source_stride", "u32", comment="source port classes per destination port class"),
    Field("own_stride", "u32", comment="peer classes, in own_rows"),
    Field("node_host", "u32", comment="1 + the host that stands for the node itself; 0 = nobody asks about it"),
    Field("every_host", "u32", comment="1 + the host endpoint of every interface; 0 = there is none"),
    Field("host_flags", "u32", comment="HOST_* bits"),
    Field("failsafes", "u32", comment="how many failsafe ports are listed"),
    Field("failsafe_ingress", "u64", comment="1 << (port & 63) of every failsafe port in that direction"),
    Field("failsafe_egress", "u64"),
), "Facts about one slot's tables."))  # fmt: skip

# Hosts: host endpoints, and the node itself where policies select nodes.
HOST_POINTS = (
    ("ingress", "untracked"),
    ("egress", "untracked"),
    ("ingress", "pre-dnat"),
    ("ingress", "endpoint"),
    ("egress", "endpoint"),
    ("ingress", "forward"),
    ("egress", "forward"),
)
"""Index of a host's rows: where it is asked, and in which direction."""
HOST_ROWS = 8
"""room for rows per host"""
HOST_INTERFACE = 0x80000000
"""In ``interface_entry.endpoint``: an interface of the node itself; the other bits are 1 + its host endpoint's index, 0
when it has none."""
HOST_DROPS_WORKLOADS = 1
"""``slot_header.host_flags``: the node drops what its workloads send to it."""

HOST = check_layout(Struct("host", (
    Field("restricted", "u32", comment="1 << point: some row restricts the point"),
    Field("reserved", "u32"),
    Field("rows", "u32", HOST_ROWS, "per point: the row for own addresses that own_rows does not tell apart"),
), "A host endpoint, or the node itself."))  # fmt: skip

FAILSAFE_INGRESS = 1
FAILSAFE_EGRESS = 2
"""Bits of ``failsafe_ports`` and ``failsafe.directions``."""
FAILSAFE = check_layout(Struct("failsafe", (
    Field("network", "be32", 4, "of the remote party; IPv4 in the first word"),
    Field("mask", "be32", 4),
    Field("port", "u16"),
    Field("protocol", "u8"),
    Field("family", "u8", comment="0 = both, whatever the address"),
    Field("directions", "u8", comment="FAILSAFE_* bits"),
    Field("reserved", "u8", 3),
), "A port that policies of hosts never close."))  # fmt: skip

LOCAL_ADDRESS = check_layout(Struct("local_address", (
    Field("address", "be32", 4, "IPv4 in the first word, the rest zero"),
    Field("family", "u32", comment="4 or 6; 0 = free"),
), "One slot of the open-addressed table of the node's own addresses."))  # fmt: skip
LOCAL_PROBES = 8
"""INVARIANT: the table builder places every address within this many slots of its hash."""
LOCAL_MIX = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F)
"""odd multipliers of the hash: the sum of words times these, its upper 16 bits"""
NODE_PORTS_BYTES = 3 * 8192
"""A bit per port for TCP, UDP and SCTP: a service answers there at every address of the node."""

# The word that commits, the marks that keep a packet with its generation, and the program array.
MARK_MASK = 0x00C00000
"""Bits of ``skb->mark``: the number, 1 to 3, of the generation that a packet's first dispatcher chose; 0 = not chosen
yet. Generations are numbered in turn.
"""
MARK_SHIFT = 22
MARK_NUMBERS = 3
ACTIVE_STANDBY = 2
"""The word ``active``: the slot in bit 0, the generation's number where the mark has it, that of the generation before
it (0 = not whole any more in the other slot) so many bits lower, and the generation from bit ACTIVE_GENERATION on.
"""
ACTIVE_GENERATION = 32
HOOKS_PER_SLOT = 8
HOOK_EGRESS = 0
HOOK_INGRESS = 1
HOOK_HOST_INGRESS = 2
HOOK_HOST_EGRESS = 3
"""Index into ``programs``: slot * HOOKS_PER_SLOT + hook."""
MARK_UNTRACKED = 0x00200000
"""Bit of ``skb->mark``: a policy with doNotTrack let the packet in, so the node's own connection tracking may leave it
out as well."""


_WORD = (1 << 64) - 1


def address6_mask(length: int) -> int:
    """The mask of a prefix length as a 128-bit integer."""
    return ((1 << 128) - 1) >> (128 - length) << (128 - length)


def address6_length_mix(length: int, seed: int) -> int:
    """64 bits that stand for a prefix length under a seed.

    Prefixes of different lengths often differ by just what their lengths differ by. So no plain sum of both may enter
    the hash: two such prefixes would meet under every seed.
    """
    value = (seed * 129 + length + 1) * ADDRESS6_MIX[3] & _WORD
    value = (value ^ value >> 29) * ADDRESS6_MIX[1] & _WORD
    return value ^ value >> 32


def address6_hash(prefix: int, mix: int) -> int:
    """The 64-bit hash of a masked IPv6 address (a 128-bit integer); the C code does the same. ``mix``: that of its
    length.

    Its remainder by the number of groups (a power of two) names the group.
    """
    value = ((prefix & _WORD) ^ mix) * ADDRESS6_MIX[0] & _WORD
    value ^= value >> 32
    value = (value ^ prefix >> 64) * ADDRESS6_MIX[1] & _WORD
    return value ^ value >> 32


def address6_slot(number: int, displacement: int, slots: int) -> int:
    """The slot of a hash under its group's displacement. ``slots``: a power of two."""
    return (number ^ displacement * ADDRESS6_MIX[2] & _WORD) * ADDRESS6_MIX[3] % (1 << 64) * slots >> 64


# The shared (generation-independent) structures: connections, fragments and counters.
CONNECTION_KEY = check_layout(Struct("connection_key", (
    Field("local", "be32", 4, "the endpoint's address; IPv4 in the first word, the rest zero"),
    Field("remote", "be32", 4, "the other party's address"),
    Field("local_port", "be16", comment="ICMP echo: the identifier, on both sides; 0 without ports"),
    Field("remote_port", "be16"),
    Field("ifindex", "u32", comment="the policy point: the endpoint's interface"),
    Field("family", "u8", comment="4 or 6"),
    Field("protocol", "u8"),
    Field("role", "u16", comment="ICMP echo: 1 = the remote party asks; else 0"),
), "The flow as its endpoint sees it: one lookup finds it from either side."))  # fmt: skip

CONNECTION = check_layout(Struct("connection", (
    Field("last_seen", "u64", comment="jiffies"),
    Field("packets", "u64", comment="both directions; approximate when two CPUs count at once"),
    Field("bytes", "u64"),
    Field("generation", "u64", comment="that decided the flow"),
    Field("decision", "u16", comment="the cell that admitted it, CELL_ALLOW alone in an unrestricted direction"),
    Field("flags", "u8", comment="CONNECTION_* bits"),
    Field("state", "u8", comment="TCP_* bits"),
    Field("reserved", "u32"),
), "One tracked connection, as its endpoint sees it."))  # fmt: skip
HOT_FLOW = check_layout(Struct("hot_flow", (
    Field("key", CONNECTION_KEY),
    Field("stamp", "u32", comment="generation << 1 | ingress"),
    Field("since", "u64", comment="jiffies; 0 = not to be used"),
    Field("packets", "u32", comment="that the flow's connection does not count yet"),
    Field("bytes", "u32"),
), "What one CPU notes about one direction of a connection that it was just asked about."))  # fmt: skip
HOT_FLOWS_BITS = 7
"""2 to the power of this: notes per CPU."""
CONNECTION_INGRESS = 1
"""The initiator is the remote party: its packets travel towards the endpoint."""
CONNECTION_REPLIED = 2
CONNECTION_DENIED = 4
"""A TCP connection that its generation cut. The entry stays, else the next packet would count as one of a connection
older than the table."""
CONNECTION_GUESSED = 8
"""The table met the connection in its middle: who opened it is a guess, so both directions are asked when it is
decided again.
"""

CONNECTION_HOST = 16
"""The node itself is a party: on the own side at a host's interface, on the remote side at a workload's."""

# Bits of ``connection.state``.
TCP_ESTABLISHED = 1
TCP_FIN_INITIATOR = 2
TCP_FIN_RESPONDER = 4
TCP_RESET = 8

TIMEOUTS = {
    "TCP_ESTABLISHED": 8000,
    "TCP_OPENING": 60,
    "TCP_CLOSING": 10,
    "UDP": 60,
    "UDP_UNREPLIED": 30,
    "ICMP": 30,
    "OTHER": 600,
}
"""Seconds without a packet after which a flow is over; the programs choose by ``flags`` and ``state``."""

FRAGMENT_KEY = check_layout(Struct("fragment_key", (
    Field("source", "be32", 4, "IPv4 in the first word, the rest zero"),
    Field("destination", "be32", 4),
    Field("id", "be32", comment="identification; IPv4 in the low bytes"),
    Field("ifindex", "u32"),
    Field("direction", "u8", comment="0 egress, 1 ingress"),
    Field("protocol", "u8", comment="0 with IPv6, where later fragments may name another header"),
    Field("family", "u8"),
    Field("reserved", "u8"),
), "A datagram whose first fragment was allowed; the value says when, and how far its headers reach."))  # fmt: skip

REASONS = (
    "allowed",
    "denied",
    "source-check",
    "malformed",
    "fragment",
    "tail-call",
    "unknown-endpoint",
    "untracked",
    "ct-failure",
    "table-error",
    "not-ip",
    "stale",
)
"""Index into ``counters`` and ``endpoint_counts``: packets by outcome. ``PASSING`` are not drops."""
PASSING = frozenset({"allowed", "unknown-endpoint", "untracked", "not-ip"})
"""``unknown-endpoint``: the slot has no endpoint for the interface; ``not-ip``: ARP and other ethertypes.
``stale``: was let in by a generation that is gone."""
COUNTED_REASONS = 16
"""Room for reasons in ``endpoint_counts``, a power of two."""
ENDPOINT_COUNTS = check_layout(Struct("endpoint_counts", (
    Field("packets", "u64", COUNTED_REASONS, "by REASON_*"),
), "Packets of one endpoint by outcome, on one CPU."))  # fmt: skip
