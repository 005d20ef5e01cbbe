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
CELL_DECISION_MASK = 0x0FFF
"""Decision number inside the row; 0 = kept out of the cell, look the rule up in the artefact."""

CELL_NARROW_SHIFT = 8
"""A narrow cell is the upper byte of a cell."""

UNRESTRICTED = 0xFFFFFFFF
"""A row that is not there: nothing restricts the endpoint in that direction."""

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
    Field("length", "u32"),
    Field("reserved", "u32"),
), "A prefix length that occurs."))  # fmt: skip
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
    Field("address6_seed", "u32"),
    Field("address6_lengths", "u32", comment="how many prefix lengths are listed"),
    Field("source_stride", "u32", comment="source port classes per destination port class"),
    Field("reserved", "u32"),
), "Facts about one slot's tables."))  # fmt: skip

# The word that commits, the marks that keep a packet with its generation, and the program array.
MARK_MASK = 0x00C00000
MARK_SLOT0 = 0x00400000
MARK_SLOT1 = 0x00800000
"""Bits of ``skb->mark``: the slot that the packet's first dispatcher chose; neither or both = not chosen yet."""
HOOKS_PER_SLOT = 8
HOOK_EGRESS = 0
HOOK_INGRESS = 1
"""Index into ``programs``: slot * HOOKS_PER_SLOT + hook."""


_WORD = (1 << 64) - 1


def address6_mask(length: int) -> int:
    """The mask of a prefix length as a 128-bit integer."""
    return ((1 << 128) - 1) >> (128 - length) << (128 - length)


def address6_hash(prefix: int, length: int, seed: int) -> int:
    """The 64-bit hash of a masked IPv6 address (a 128-bit integer); the C code does the same.

    Its remainder by the number of groups (a power of two) names the group.
    """
    value = ((prefix & _WORD) ^ seed) * ADDRESS6_MIX[0] & _WORD
    value ^= value >> 32
    value = (value ^ prefix >> 64 ^ length) * ADDRESS6_MIX[1] & _WORD
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

# Bits of ``connection.state``.
TCP_ESTABLISHED = 1
TCP_FIN_INITIATOR = 2
TCP_FIN_RESPONDER = 4
TCP_RESET = 8

FRAGMENT_KEY = check_layout(Struct("fragment_key", (
    Field("source", "be32", 4, "IPv4 in the first word, the rest zero"),
    Field("destination", "be32", 4),
    Field("id", "be32", comment="identification; IPv4 in the low bytes"),
    Field("ifindex", "u32"),
    Field("direction", "u8", comment="0 egress, 1 ingress"),
    Field("protocol", "u8", comment="0 with IPv6, where later fragments may name another header"),
    Field("family", "u8"),
    Field("reserved", "u8"),
), "A datagram whose first fragment was allowed; the value is the jiffies of that moment."))  # fmt: skip

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
)
"""Index of the per-CPU ``counters`` map: packets by outcome. ``PASSING`` are not drops."""
PASSING = frozenset({"allowed", "unknown-endpoint", "untracked", "not-ip"})
"""``unknown-endpoint``: the slot has no endpoint for the interface; ``not-ip``: ARP and other ethertypes."""
