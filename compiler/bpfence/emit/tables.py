"""Table images: the exact bytes that the loader copies into the maps.

In: `PlannedTables` and the classification's rows. Out: name -> bytes, each exactly as large as the plan says,
little-endian, unused room zero.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import numpy as np

from bpfence.classify.classification import Classification
from bpfence.plan.build import PlannedTables, endpoint_rows
from bpfence.plan.hosts import local_table
from bpfence.plan.layout import (
    ADDRESS6_LENGTH,
    CELL_NARROW_SHIFT,
    FAILSAFE_EGRESS,
    FAILSAFE_INGRESS,
    HEADER,
    UNRESTRICTED,
    address6_length_mix,
    address6_mask,
    endpoint_struct,
)
from bpfence.plan.plan import TableSpec


def emit_tables(planned: PlannedTables, classification: Classification) -> dict[str, bytes]:
    """Every table's image. ``interfaces`` and ``header.generation`` stay zero: they are facts of the node."""
    contents = {
        "header": _header(planned),
        "interfaces": b"",
        "endpoints": _endpoints(planned, classification),
        "address4_l1": planned.address4.level1.astype("<u4" if planned.plan.features.fine_blocks else "<u2").tobytes(),
        "address4_l2": planned.address4.level2.astype("<u4" if planned.plan.features.wide_blocks else "<u2").tobytes(),
        "address4_l3": planned.address4.level3.astype("<u2").tobytes(),
        "address6_lengths": _lengths6(planned),
        "address6_displacements": planned.address6.displacements.astype("<u2").tobytes(),
        "address6": planned.address6.entries.tobytes(),
        "address6_blocks": planned.address6.blocks.astype("<u2").tobytes(),
        "ports": planned.l4.ports.astype("<u2").tobytes(),
        "source_ports": b"" if planned.l4.source_ports is None else planned.l4.source_ports.astype("<u2").tobytes(),
        "port_pairs": b"" if planned.l4.pairs is None else planned.l4.pairs.astype("<u2").tobytes(),
        "icmp": planned.l4.icmp.astype("<u2").tobytes(),
        "protocols": planned.l4.protocols.astype("<u2").tobytes(),
        **_cell_contents(planned),
        **_host_contents(planned),
    }
    return {spec.name: _padded(spec, contents[spec.name]) for spec in planned.plan.tables()}


def used_elements(planned: PlannedTables, spec: TableSpec) -> int:
    """How many of a table's elements carry something."""
    used = {
        "interfaces": 0,
        "endpoints": len(planned.endpoints),
        "address4_l2": planned.address4.level2.size,
        "address4_l3": planned.address4.level3.size,
        "address6_lengths": len(planned.address6.lengths),
        "address6": planned.address6.used,
        "address6_blocks": planned.address6.blocks.size,
        "port_pairs": 0 if planned.l4.pairs is None else planned.l4.pairs.size,
        "policy_rows": len(planned.cells.policy_rows),
        "row_peers": planned.cells.row_peers.size,
        "row_l4": planned.cells.row_l4.size,
        "cells": planned.cells.cells.size,
        "hosts": len(planned.hosts.table),
        "failsafes": len(planned.hosts.failsafes),
        "local_addresses": len(planned.hosts.own),
        "own_rows": planned.hosts.own_rows.size,
    }
    return used.get(spec.name, spec.count)


def _host_contents(planned: PlannedTables) -> dict[str, bytes]:
    """``local_addresses`` has the inventory's; the loader adds those of the node's interfaces."""
    hosts = planned.hosts
    if not hosts.present:
        return {}
    return {
        "hosts": hosts.table.tobytes(),
        "failsafes": hosts.failsafes.tobytes(),
        "failsafe_ports": hosts.failsafe_ports.tobytes(),
        "local_addresses": local_table(hosts.own, planned.plan.geometry.local_addresses),
        "node_ports": hosts.node_ports.tobytes(),
        "own_rows": hosts.own_rows.astype("<u4").tobytes(),
    }


def _padded(spec: TableSpec, content: bytes) -> bytes:
    if len(content) > spec.size:
        raise AssertionError(f"table {spec.name}: {len(content)} bytes for {spec.size} bytes of room")
    return content.ljust(spec.size, b"\0")


def _header(planned: PlannedTables) -> bytes:
    header = np.zeros(1, dtype=HEADER.dtype)
    header["l4_stride"] = planned.l4_classes
    header["peer6_default"] = planned.address6.default
    header["address6_seed"] = planned.address6.seed
    header["address6_lengths"] = len(planned.address6.lengths)
    header["source_stride"] = planned.l4.source_stride
    header["own_stride"] = planned.peers
    header["node_host"], header["every_host"] = planned.hosts.node, planned.hosts.every
    header["host_flags"], header["failsafes"] = planned.hosts.flags, len(planned.hosts.failsafes)
    for name, direction in (("failsafe_ingress", FAILSAFE_INGRESS), ("failsafe_egress", FAILSAFE_EGRESS)):
        header[name] = planned.hosts.failsafe_bits(direction)
    return header.tobytes()


def _cell_contents(planned: PlannedTables) -> dict[str, bytes]:
    """The cells and, in two levels, what finds them."""
    tables, features = planned.cells, planned.plan.features
    narrow = (tables.cells >> CELL_NARROW_SHIFT).astype("u1")
    return {
        "policy_rows": tables.policy_rows.tobytes(),
        "row_peers": tables.row_peers.astype("<u2" if features.wide_row_peers else "u1").tobytes(),
        "row_l4": tables.row_l4.astype("<u2").tobytes(),
        "cells": (narrow if features.narrow_cells else tables.cells.astype("<u2")).tobytes(),
    }


def _lengths6(planned: PlannedTables) -> bytes:
    lengths = planned.address6.lengths
    table = np.zeros(len(lengths), dtype=ADDRESS6_LENGTH.dtype)
    for place, node in enumerate(lengths):
        mask = address6_mask(node.length)
        mix = address6_length_mix(node.length, planned.address6.seed)
        table[place] = (mask >> 64, mask & (1 << 64) - 1, mix, node.length, node.longer or 0, node.shorter or 0)
    return table.tobytes()


def _endpoints(planned: PlannedTables, classification: Classification) -> bytes:
    geometry = planned.plan.geometry
    struct = endpoint_struct(geometry.own4, geometry.own6)
    table = np.zeros(geometry.endpoints, dtype=struct.dtype)
    for own in ("own4", "own6"):
        for row in ("egress_row", "ingress_row"):
            table[own][row] = UNRESTRICTED
    for number, entity in enumerate(planned.endpoints):
        record = table[number]
        record["id"] = number
        counts = {4: 0, 6: 0}
        for address in entity.addresses:
            slot = record[f"own{address.version}"][counts[address.version]]
            counts[address.version] += 1
            slot["address"] = _own_address(address)
            slot["egress_row"], slot["ingress_row"] = endpoint_rows(planned, classification, entity, str(address))
        record["own4_count"], record["own6_count"] = counts[4], counts[6]
    return table.tobytes()


def _own_address(address: IPv4Address | IPv6Address) -> int | tuple[int, int, int, int]:
    """Network order bytes as the machine reads them."""
    if address.version == 4:
        return int.from_bytes(address.packed, "little")
    first, second, third, fourth = (int.from_bytes(address.packed[at : at + 4], "little") for at in (0, 4, 8, 12))
    return first, second, third, fourth
