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
    FAILSAFE,
    HEADER,
    HOST,
    HOST_ROWS,
    INTERFACE,
    LOCAL_ADDRESS,
    NODE_PORTS_BYTES,
    POLICY_ROW,
    Struct,
    address4_bits,
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
    fine_blocks: bool = False
    """IPv4 levels of 20, 6 and 6 bits, not of 16, 8 and 8; ``address4_l1`` holds 32-bit block numbers."""
    narrow_cells: bool = False
    """Cells carry no decision numbers, so their upper byte is all of them that is kept."""
    two_level: bool = False
    """Every row has classes of its own (see `bpfence.plan.cells`)."""
    wide_row_peers: bool = False
    """With ``two_level``: some row has more classes of peers than a byte can number."""
    hosts: bool = False
    """There are host endpoints, or policies that select the node."""
    hosts_at_workloads: bool = False
    """Hosts have a say in what workloads send and receive."""
    untracked: bool = False
    """Some host endpoint drops packets before connection tracking: a program for XDP."""
    own_rows: bool = False
    """Some host's row depends on the own address."""
    stateless: bool = False
    """Workloads' flows that need no state are not remembered."""
    own_untracked: bool = False
    """One before connection tracking does."""
    early_sources: bool = False
    """What comes in is told apart by source ports before connection tracking; without it the program for XDP looks at
    no source port, whatever ``source_ports`` says."""


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
    policy_rows: int = 0
    row_peers: int = 0
    row_l4: int = 0
    hosts: int = 0
    own_rows: int = 0
    failsafes: int = 0
    local_addresses: int = 0
    """slots of the table of the node's own addresses, a power of two"""

    @property
    def address6_groups(self) -> int:
        """Displacements of the hash over IPv6 prefixes, a power of two."""
        return self.address6_slots // ADDRESS6_GROUP

    @property
    def counted(self) -> int:
        """Places where packets are counted: endpoints by their number, then hosts by theirs."""
        return self.endpoints + self.hosts


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
            *_address4_tables(g, f),
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
        ]
        specs += _cell_tables(g, f)
        if f.hosts:
            specs += _host_tables(g, f)
        return tuple(specs)


def _address4_tables(g: Geometry, f: Features) -> tuple[TableSpec, ...]:
    second, third = address4_bits(f.fine_blocks)
    top, block = 4 if f.fine_blocks else 2, 4 if f.wide_blocks else 2
    blocks1, blocks2, classes = 1 << 32 - second - third, g.l2_blocks << second, g.l3_blocks << third
    middle = f"bits {second + third - 1}-{third}"
    return (
        TableSpec(
            "address4_l1",
            f"u{top * 8}",
            blocks1,
            blocks1 * top,
            f"IPv4 bits 31-{second + third} to second-level block",
        ),
        TableSpec("address4_l2", f"u{block * 8}", blocks2, blocks2 * block, f"{middle} to third-level block"),
        TableSpec("address4_l3", "u16", classes, classes * 2, f"bits {third - 1}-0 to peer class"),
    )


def _cell_tables(g: Geometry, f: Features) -> list[TableSpec]:
    cell, place = 1 if f.narrow_cells else 2, 2 if f.wide_row_peers else 1
    purpose = "row + peer class * l4_stride + L4 class to verdict"
    specs = []
    if f.two_level:
        purpose = "row's first + row's peer class * row's width + row's L4 class to verdict"
        rows = g.policy_rows * POLICY_ROW.size
        specs = [
            TableSpec("policy_rows", f"struct {POLICY_ROW.name}", g.policy_rows, rows, "row to where its parts begin"),
            TableSpec("row_peers", f"u{place * 8}", g.row_peers, g.row_peers * place, "peer class to the row's own"),
            TableSpec("row_l4", "u16", g.row_l4, g.row_l4 * 2, "L4 class to the row's own"),
        ]
    return [*specs, TableSpec("cells", f"u{cell * 8}", g.cells, g.cells * cell, purpose)]


def _host_tables(g: Geometry, f: Features) -> list[TableSpec]:
    def table(name: str, struct: Struct, count: int, comment: str) -> TableSpec:
        return TableSpec(name, f"struct {struct.name}", count, count * struct.size, comment)

    specs = [
        table("hosts", HOST, g.hosts, "host endpoints and the node itself: their rows by point"),
        table("failsafes", FAILSAFE, g.failsafes, "ports that policies of hosts never close"),
        TableSpec("failsafe_ports", "u8", 3 * 65536, 3 * 65536, "TCP, UDP, SCTP port to directions with a failsafe"),
        table("local_addresses", LOCAL_ADDRESS, g.local_addresses, "the node's own addresses"),
        TableSpec("node_ports", "u8", NODE_PORTS_BYTES, NODE_PORTS_BYTES, "a bit per TCP, UDP, SCTP port of a service"),
    ]
    if f.own_rows:
        comment = f"(host * {HOST_ROWS} + point) * own_stride + class of the own address to row"
        specs.append(TableSpec("own_rows", "u32", g.own_rows, g.own_rows * 4, comment))
    return specs


def _address6_tables(g: Geometry) -> tuple[TableSpec, ...]:
    def table(name: str, struct: Struct, count: int, comment: str) -> TableSpec:
        return TableSpec(name, f"struct {struct.name}", count, count * struct.size, comment)

    def shorts(name: str, count: int, comment: str) -> TableSpec:
        return TableSpec(name, "u16", count, count * 2, comment)

    return (
        table(
            "address6_lengths", ADDRESS6_LENGTH, g.address6_lengths, "IPv6 prefix lengths, in the order of their tree"
        ),
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


def elements(needed: int, least: int) -> int:
    """Room for ``needed`` elements of a table that may become large: a `capacity`, and from 8 times ``least`` on eight
    steps to the next power of two, so that a large table has at most an eighth more than it needs.

    ``least``: a power of two.
    """
    room = capacity(needed, least)
    step = max(room // 16, 1)
    return room if room <= 8 * least else -(-needed // step) * step
