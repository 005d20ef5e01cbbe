"""The plan: which tables with which sizes and which features the programs need. Pure data; the C text is a function
of it.

INVARIANT: nothing here depends on rule contents, only on sizes and features, so a data-only change keeps the plan,
the C text and the shape
hash. Capacities are rounded up (see `capacity`) so that small growth does not change the shape.
"""

from __future__ import annotations

from dataclasses import dataclass

from bpfence.plan.layout import (
    ADDRESS6_ENTRY,
    ADDRESS6_GROUP,
    ADDRESS6_LENGTH,
    HEADER,
    INTERFACE,
    Struct,
    endpoint_struct,
)


@dataclass(frozen=True, slots=True)
class Features:
    """What the C text contains beyond the common path."""

    address6: bool = False
    """Some IPv6 address or prefix has a class of its own; without it every IPv6 peer has ``header.peer6_default``."""
    source_ports: bool = False
    """Some rule has a source port criterion: two port classes per packet, paired by ``port_pairs``."""
    icmp_codes: bool = False
    """Some rule has an ICMP code criterion: the icmp table is indexed by type and code."""
    wide_blocks: bool = False
    """More than 65,535 third-level IPv4 blocks: ``address4_l2`` holds 32-bit block numbers."""
    narrow_cells: bool = False
    """Cells carry no decision numbers, so their upper byte is all of them that is kept."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Capacities, in elements."""

    interfaces: int
    """slots of the interface table, a power of two"""
    endpoints: int
    own4: int
    own6: int
    l2_blocks: int
    l3_blocks: int
    address6_slots: int
    """a power of two"""
    address6_lengths: int
    """most prefix lengths the program probes, at most 129"""
    port_pairs: int
    cells: int
    address6_blocks: int = 1

    @property
    def address6_groups(self) -> int:
        """Displacements of the hash over IPv6 prefixes, a power of two."""
        return self.address6_slots // ADDRESS6_GROUP


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One table: an array map with a single value of ``size`` bytes, memory-mapped for filling. ``element``: what it
    is an array of.
    """

    name: str
    element: str
    count: int
    size: int
    comment: str


@dataclass(frozen=True, slots=True)
class Plan:
    features: Features
    geometry: Geometry

    def tables(self) -> tuple[TableSpec, ...]:
        """Every table of a slot, in the order of use by a packet."""
        g, f = self.geometry, self.features
        endpoint = endpoint_struct(g.own4, g.own6)
        block = 4 if f.wide_blocks else 2
        cell = 1 if f.narrow_cells else 2
        specs = [
            TableSpec("header", "struct slot_header", 1, HEADER.size, "facts about the slot"),
            TableSpec(
                "interfaces",
                "struct interface_entry",
                g.interfaces,
                g.interfaces * INTERFACE.size,
                "interface to endpoint",
            ),
            TableSpec("endpoints", "struct endpoint", g.endpoints, g.endpoints * endpoint.size, "addresses and rows"),
            TableSpec("address4_l1", "u16", 65536, 131072, "IPv4 bits 31-16 to second-level block"),
            TableSpec(
                "address4_l2",
                f"u{block * 8}",
                g.l2_blocks * 256,
                g.l2_blocks * 256 * block,
                "bits 15-8 to third-level block",
            ),
            TableSpec("address4_l3", "u16", g.l3_blocks * 256, g.l3_blocks * 512, "bits 7-0 to peer class"),
        ]
        if f.address6:
            specs += _address6_tables(g)
        specs.append(TableSpec("ports", "u16", 3 * 65536, 393216, "TCP, UDP, SCTP destination port to L4 class"))
        if f.source_ports:
            specs.append(
                TableSpec(
                    "source_ports",
                    "u16",
                    3 * 65536,
                    393216,
                    "TCP, UDP, SCTP source port to source port class",
                )
            )
            specs.append(
                TableSpec(
                    "port_pairs",
                    "u16",
                    g.port_pairs,
                    g.port_pairs * 2,
                    "port class * source_stride + source class to L4",
                )
            )
        types = 2 * 65536 if f.icmp_codes else 2 * 256
        index = "type << 8 | code" if f.icmp_codes else "type"
        specs += [
            TableSpec("icmp", "u16", types, types * 2, f"ICMP, then ICMPv6: {index} to L4 class"),
            TableSpec(
                "protocols",
                "u16",
                256,
                512,
                "protocol to L4 class when ports or types can't be read or do not exist",
            ),
            TableSpec(
                "cells",
                f"u{cell * 8}",
                g.cells,
                g.cells * cell,
                "row + peer class * l4_stride + L4 class to verdict",
            ),
        ]
        return tuple(specs)


def _address6_tables(g: Geometry) -> tuple[TableSpec, ...]:
    def table(name: str, struct: Struct, count: int, comment: str) -> TableSpec:
        return TableSpec(name, f"struct {struct.name}", count, count * struct.size, comment)

    def shorts(name: str, count: int, comment: str) -> TableSpec:
        return TableSpec(name, "u16", count, count * 2, comment)

    return (
        table("address6_lengths", ADDRESS6_LENGTH, g.address6_lengths, "IPv6 prefix lengths, longest first"),
        shorts("address6_displacements", g.address6_groups, "IPv6 prefix hash to displacement of its slot"),
        table("address6", ADDRESS6_ENTRY, g.address6_slots, "IPv6 prefix to peer class or block"),
        shorts("address6_blocks", g.address6_blocks * 256, "block and last 8 bits to peer class"),
    )


def capacity(needed: int, least: int) -> int:
    """Room for ``needed`` elements: the next power of two, at least ``least``."""
    size = max(least, 1)
    while size < needed:
        size *= 2
    return size
