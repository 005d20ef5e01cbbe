"""Table images made by hand: a few endpoints, address ranges, ports and cells, written where the layout says."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import numpy as np

from bpfence.plan.address6 import add_signposts, gather_blocks, place_entries
from bpfence.plan.layout import (
    ADDRESS6_LENGTH,
    CELL_ALLOW,
    HEADER,
    INTERFACE,
    INTERFACE_HASH,
    INTERFACE_PROBES,
    UNRESTRICTED,
    address6_length_mix,
    endpoint_struct,
)
from bpfence.plan.lengths6 import order_lengths
from bpfence.plan.plan import Features, Geometry, Plan

PEERS, L4_STRIDE = 8, 16
ROW = PEERS * L4_STRIDE
SEED = 0x1234
PORT_TABLE = {6: 0, 17: 1, 132: 2}

PLAIN = Plan(Features(), Geometry(16, 4, 2, 2, 4, 16, 4, 1, 1, 1024))
FULL = Plan(
    Features(address6=True, source_ports=True, icmp_codes=True, wide_blocks=True),
    Geometry(16, 4, 2, 2, 4, 16, 1024, 129, 64, 1024, address6_blocks=4),
)


class Tables:
    """The images of one slot. Row n begins at cell n * ROW. Every class is 0 until set, every cell a deny."""

    def __init__(self, plan: Plan, generation: int = 1) -> None:
        self.plan = plan
        self.images = {table.name: np.zeros(table.size, np.uint8) for table in plan.tables()}
        self.header = self.images["header"].view(HEADER.dtype)[0]
        self.header["generation"] = generation
        self.header["l4_stride"] = L4_STRIDE
        self.header["address6_seed"] = SEED
        self.header["source_stride"] = 8
        self.blocks = [1, 1]

    def endpoint(
        self, number: int, ifindex: int, addresses: list[str], egress: int = UNRESTRICTED, ingress: int = UNRESTRICTED
    ) -> None:
        """A local endpoint; ``egress`` and ``ingress`` are row numbers."""
        geometry = self.plan.geometry
        entry = self.images["endpoints"].view(endpoint_struct(geometry.own4, geometry.own6).dtype)[number]
        entry["id"] = number
        rows = [row if row == UNRESTRICTED else row * ROW for row in (egress, ingress)]
        for address in addresses:
            family = 6 if ":" in address else 4
            count = int(entry[f"own{family}_count"])
            entry[f"own{family}_count"] = count + 1
            own = entry[f"own{family}"][count]
            own["address"] = words(address) if family == 6 else words(address)[0]
            own["egress_row"], own["ingress_row"] = rows
        self._interface(ifindex, number)

    def _interface(self, ifindex: int, number: int) -> None:
        table = self.images["interfaces"].view(INTERFACE.dtype)
        start = (ifindex * INTERFACE_HASH & 0xFFFFFFFF) >> 16
        for probe in range(INTERFACE_PROBES):
            slot = table[(start + probe) % len(table)]
            if slot["ifindex"] in (0, ifindex):
                slot["ifindex"], slot["endpoint"] = ifindex, number
                return
        raise ValueError("the interface table is full")

    def peer4(self, network: str, peer: int) -> None:
        """Addresses of a /24 to /32 network get a class."""
        prefix = IPv4Network(network)
        first = int(prefix.network_address)
        table1 = self.images["address4_l1"].view(np.uint16)
        table2 = self.images["address4_l2"].view(np.uint32 if self.plan.features.wide_blocks else np.uint16)
        table3 = self.images["address4_l3"].view(np.uint16)
        block2 = self._block(table1, first >> 16, 0)
        block3 = self._block(table2, block2 * 256 + (first >> 8 & 255), 1)
        low = block3 * 256 + (first & 255)
        table3[low : low + prefix.num_addresses] = peer

    def _block(self, table: np.ndarray, index: int, level: int) -> int:
        if not table[index]:
            table[index] = self.blocks[level]
            self.blocks[level] += 1
        return int(table[index])

    def peer6(self, prefixes: dict[str, int], default: int = 0) -> None:
        """IPv6 prefixes get their classes."""
        networks = {IPv6Network(text): peer for text, peer in prefixes.items()}
        rows = sorted(((int(n.network_address), n.prefixlen), peer) for n, peer in networks.items())
        entries, blocks = gather_blocks(rows, default)
        lengths = order_lengths({entry.prefix[1] for entry in entries})
        entries = add_signposts(entries, lengths, default)
        self.header["peer6_default"] = default
        self.header["address6_lengths"] = len(lengths)
        for place, node in zip(self.images["address6_lengths"].view(ADDRESS6_LENGTH.dtype), lengths, strict=False):
            mask = int(IPv6Network((0, node.length)).netmask)
            place["upper"], place["lower"], place["length"] = mask >> 64, mask & (1 << 64) - 1, node.length
            place["mix"] = address6_length_mix(node.length, SEED)
            place["longer"], place["shorter"] = node.longer or 0, node.shorter or 0
        placed = place_entries(entries, self.plan.geometry.address6_slots, SEED)
        assert placed is not None
        self.images["address6_blocks"].view(np.uint16)[: blocks.size] = blocks.reshape(-1)
        for name, content in zip(("address6", "address6_displacements"), placed, strict=True):
            self.images[name][:] = content.view(np.uint8)

    def port(self, protocol: int, port: int, number: int) -> None:
        self.images["ports"].view(np.uint16)[PORT_TABLE[protocol] * 65536 + port] = number

    def source_port(self, protocol: int, port: int, number: int) -> None:
        self.images["source_ports"].view(np.uint16)[PORT_TABLE[protocol] * 65536 + port] = number

    def pair(self, to: int, source: int, number: int) -> None:
        self.images["port_pairs"].view(np.uint16)[to * 8 + source] = number

    def icmp(self, family: int, kind: int, number: int, code: int | None = None) -> None:
        """Without ``code``: every code."""
        table = self.images["icmp"].view(np.uint16).reshape(2, 256, -1)
        table[int(family == 6), kind, slice(None) if code is None else code] = number

    def protocol(self, protocol: int, number: int) -> None:
        self.images["protocols"].view(np.uint16)[protocol] = number

    def cell(self, row: int, peer: int, l4: int, value: int = CELL_ALLOW) -> None:
        self.images["cells"].view(np.uint16)[row * ROW + peer * L4_STRIDE + l4] = value


def words(address: str) -> tuple[int, int, int, int]:
    """The address as the tables hold it: its bytes read as little-endian words, IPv4 in the first."""
    packed = IPv6Address(address).packed if ":" in address else IPv4Address(address).packed + bytes(12)
    one, two, three, four = (int.from_bytes(packed[at : at + 4], "little") for at in (0, 4, 8, 12))
    return one, two, three, four
