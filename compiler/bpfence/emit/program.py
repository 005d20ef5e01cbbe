"""A plan -> the C text of a slot's programs.

Put together from the fragments in ``bpf/``: only those that the plan needs, with its sizes as constants.

INVARIANT: the text depends on the plan and the notes alone, never on what the policies say.
"""

from __future__ import annotations

from collections.abc import Sequence

from bpfence import __version__
from bpfence.emit.c_text import comment_block, constants, fragment, pinned_map
from bpfence.plan import layout
from bpfence.plan.layout import Struct, endpoint_struct
from bpfence.plan.plan import Features, Plan

SLOT_PROGRAMS = ("workload_egress", "workload_ingress")
DISPATCHER_PROGRAMS = ("dispatch_egress", "dispatch_ingress")
SHARED_BY_SLOTS = ("connections", "fragments", "counters")
"""Shared maps that a slot's programs use, beside the slot's own tables."""
ENDPOINT_TABLES = ("interfaces", "endpoints")
"""Tables that say whose packet it is; the others decide."""
SHARED_BY_DISPATCHERS = ("active", "programs", "counters")

_HIGH_ENTRIES = 1 << 16
"""What the text says about the size of a shared hash. The pinned map's own size holds; the loader chooses it."""


def emit_workload_program(plan: Plan, notes: Sequence[str] = ()) -> str:
    """The programs `SLOT_PROGRAMS`, in one text. ``notes``: lines for the reader, after the facts of the plan."""
    header = [
        f"Written by bpfence {__version__} for one shape of policy; the policies themselves are in the tables.",
        *_shape_facts(plan),
        *notes,
    ]
    parts = [
        comment_block(header),
        fragment("protocols.h"),
        constants(_workload_constants(plan)),
        _element_types(plan.features),
        *(struct.c_text() for struct in _structs(plan)),
        *(pinned_map("array", "__u32", table.size, table.name, 1, table.comment) for table in plan.tables()),
        *_slot_shared_maps(),
        *(fragment(name) for name in _fragments(plan.features)),
    ]
    return "\n".join(parts)


def emit_decision(plan: Plan) -> str:
    """What decides, without what surrounds it: ``struct packet``, ``peer_class`` and ``decide`` as in
    `emit_workload_program`.

    Uses the plan's tables except `ENDPOINT_TABLES`. For measuring; no program of its own.
    """
    tables = [table for table in plan.tables() if table.name not in ENDPOINT_TABLES]
    parts = [
        fragment("protocols.h"),
        constants(_workload_constants(plan)),
        _element_types(plan.features),
        *(struct.c_text() for struct in _structs(plan)),
        *(pinned_map("array", "__u32", table.size, table.name, 1, table.comment) for table in tables),
        fragment("scratch.h"),
        *(fragment(name) for name in _decision_fragments(plan.features)),
    ]
    return "\n".join(parts)


def emit_dispatcher_program() -> str:
    """The programs `DISPATCHER_PROGRAMS`. The same for every policy."""
    parts = [
        comment_block([f"Written by bpfence {__version__}: the dispatchers, attached once on every interface."]),
        fragment("protocols.h"),
        constants({**_reasons(), **_dispatcher_constants()}),
        pinned_map("array", "__u32", "__u64", "active", 1, "generation << 1 | slot; 0 = nothing committed"),
        pinned_map("prog", "__u32", "__u32", "programs", 16, "slot * HOOKS_PER_SLOT + hook"),
        _counters_map(),
        fragment("counters.h"),
        fragment("dispatcher.h"),
    ]
    return "\n".join(parts)


def _shape_facts(plan: Plan) -> list[str]:
    features, geometry = plan.features, plan.geometry
    held = [
        "IPv6 prefixes" if features.address6 else "IPv6 peers of one class",
        "source ports" if features.source_ports else "destination ports only",
        "ICMP codes" if features.icmp_codes else "ICMP types only",
    ]
    return [
        f"Holds: {', '.join(held)}.",
        f"Room for {geometry.endpoints} endpoints, {geometry.cells} cells,"
        f" {geometry.l2_blocks} + {geometry.l3_blocks} IPv4 blocks.",
    ]


def _fragments(features: Features) -> tuple[str, ...]:
    """The files of ``bpf/`` in the order in which C needs them."""
    return (
        "counters.h",
        "scratch.h",
        "packet.h",
        "endpoint.h",
        "exempt.h",
        *_decision_fragments(features),
        "connections.h",
        "flow.h",
        "fragments.h",
        "workload.h",
    )


def _decision_fragments(features: Features) -> tuple[str, ...]:
    return (
        "peer4.h",
        "peer6.h" if features.address6 else "peer6_default.h",
        "port_place.h",
        "l4_source_ports.h" if features.source_ports else "l4_ports.h",
        "l4.h",
        "decide.h",
    )


def _structs(plan: Plan) -> tuple[Struct, ...]:
    """Every structure that is used, those that others contain first."""
    endpoint = endpoint_struct(plan.geometry.own4, plan.geometry.own6)
    return (
        layout.HEADER,
        layout.INTERFACE,
        layout.OWN4,
        layout.OWN6,
        endpoint,
        *((layout.ADDRESS6_LENGTH, layout.ADDRESS6_ENTRY) if plan.features.address6 else ()),
        layout.CONNECTION_KEY,
        layout.CONNECTION,
        layout.FRAGMENT_KEY,
    )


def _workload_constants(plan: Plan) -> dict[str, int | str]:
    geometry, codes = plan.geometry, plan.features.icmp_codes
    sizes: dict[str, int | str] = {
        "INTERFACES": geometry.interfaces,
        "ENDPOINTS": geometry.endpoints,
        "OWN4_ADDRESSES": geometry.own4,
        "OWN6_ADDRESSES": geometry.own6,
        "L2_BLOCKS": geometry.l2_blocks,
        "L3_BLOCKS": geometry.l3_blocks,
        "CELLS": geometry.cells,
        "ICMP_TYPES": 65536 if codes else 256,
        "ICMP_INDEX(type, code)": "((__u64)(type) << 8 | (code))" if codes else "((__u64)(type))",
        "L4_UNKNOWN": "0xffffffff",
    }
    if plan.features.address6:
        sizes |= {f"ADDRESS6_MIX{place}": f"{mix:#x}ULL" for place, mix in enumerate(layout.ADDRESS6_MIX, 1)}
        sizes["ADDRESS6_SHIFT"] = 65 - geometry.address6_slots.bit_length()
        sizes["ADDRESS6_GROUPS"] = geometry.address6_groups
        sizes["ADDRESS6_BLOCKS"] = geometry.address6_blocks
        sizes["ADDRESS6_LENGTHS"] = geometry.address6_lengths
    if plan.features.source_ports:
        sizes["PORT_PAIRS"] = geometry.port_pairs
    return {**_reasons(), **sizes, **_layout_constants()}


def _layout_constants() -> dict[str, int | str]:
    names = (
        "INTERFACE_PROBES",
        "CONNECTION_INGRESS",
        "CONNECTION_REPLIED",
        "CONNECTION_DENIED",
        "CONNECTION_GUESSED",
        "TCP_ESTABLISHED",
        "TCP_FIN_INITIATOR",
        "TCP_FIN_RESPONDER",
        "TCP_RESET",
    )
    hexadecimal = ("INTERFACE_HASH", "CELL_ALLOW", "UNRESTRICTED")
    return {
        **{name: getattr(layout, name) for name in names},
        **{name: f"{getattr(layout, name):#x}" for name in hexadecimal},
    }


def _dispatcher_constants() -> dict[str, int | str]:
    return {
        "MARK_MASK": f"{layout.MARK_MASK:#010x}",
        "MARK_SLOT0": f"{layout.MARK_SLOT0:#010x}",
        "MARK_SLOT1": f"{layout.MARK_SLOT1:#010x}",
        "HOOKS_PER_SLOT": layout.HOOKS_PER_SLOT,
        "HOOK_EGRESS": layout.HOOK_EGRESS,
        "HOOK_INGRESS": layout.HOOK_INGRESS,
    }


def _reasons() -> dict[str, int | str]:
    return {f"REASON_{name.upper().replace('-', '_')}": index for index, name in enumerate(layout.REASONS)}


def _element_types(features: Features) -> str:
    block = "__u32" if features.wide_blocks else "__u16"
    cell, shift = ("__u8", layout.CELL_NARROW_SHIFT) if features.narrow_cells else ("__u16", 0)
    lines = [
        "/* Number of a third-level block. */",
        f"typedef {block} address4_l2_block;",
        "/* What is kept of a cell: its bits from CELL_SHIFT on. */",
        f"typedef {cell} kept_cell;",
        f"#define CELL_SHIFT {shift}",
    ]
    return "\n".join(lines) + "\n"


def _slot_shared_maps() -> list[str]:
    return [
        pinned_map(
            "lru_hash",
            "struct connection_key",
            "struct connection",
            "connections",
            _HIGH_ENTRIES,
            "flows, of every generation",
        ),
        pinned_map("lru_hash", "struct fragment_key", "__u64", "fragments", _HIGH_ENTRIES, "first fragments allowed"),
        _counters_map(),
    ]


def _counters_map() -> str:
    return pinned_map("percpu_array", "__u32", "__u64", "counters", len(layout.REASONS), "packets by REASON_*")
