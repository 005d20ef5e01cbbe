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

WORKLOAD_PROGRAMS: tuple[str, ...] = ("workload_egress", "workload_ingress")
HOST_PROGRAMS: tuple[str, ...] = ("host_ingress", "host_egress")
XDP_PROGRAMS: tuple[str, ...] = ("host_xdp",)
SLOT_PROGRAMS = (*WORKLOAD_PROGRAMS, *HOST_PROGRAMS, *XDP_PROGRAMS)
"""Every program that a slot may hold."""
DISPATCHER_PROGRAMS = ("dispatch_egress", "dispatch_ingress", "dispatch_host_ingress", "dispatch_host_egress")
XDP_DISPATCHER = "dispatch_xdp"
IDLE_PROGRAM = "no_hosts"
"""In the dispatchers' text: stands at the host hooks of a slot without `HOST_PROGRAMS`."""
ENDPOINT_COUNTERS = "endpoint_counters"
"""A map of the slot beside its tables: what its programs count."""
SHARED_BY_SLOTS = ("connections", "fragments", "counters")
"""Shared maps that a slot's programs use, beside the slot's own tables."""
ENDPOINT_TABLES = ("interfaces", "endpoints")
"""Tables that say whose packet it is; the others decide."""
SHARED_BY_DISPATCHERS = ("active", "programs", "xdp_programs", "counters")

XDP_FRAME = "frame_xdp.h"
_HIGH_ENTRIES = 1 << 16
"""What the text says about the size of a shared hash. The pinned map's own size holds; the loader chooses it."""


def slot_programs(features: Features) -> dict[str, tuple[str, ...]]:
    """File name -> the programs that its text holds, for a slot with these features."""
    texts = {"workload.c": WORKLOAD_PROGRAMS}
    if features.hosts:
        texts["host.c"] = HOST_PROGRAMS
    if features.untracked:
        texts["xdp.c"] = XDP_PROGRAMS
    return texts


def emit_slot_programs(plan: Plan) -> dict[str, str]:
    """File name -> C text of a slot's programs (see `slot_programs`)."""
    texts = {"workload.c": emit_workload_program(plan)}
    if plan.features.hosts:
        texts["host.c"] = emit_host_program(plan)
    if plan.features.untracked:
        texts["xdp.c"] = emit_xdp_program(plan)
    return texts


def emit_workload_program(plan: Plan, notes: Sequence[str] = ()) -> str:
    """The programs `WORKLOAD_PROGRAMS`, in one text. ``notes``: lines for the reader, after the facts of the plan."""
    at_hosts = ("hosts.h", "decide_workload.h") if plan.features.hosts_at_workloads else ("decide_alone.h",)
    state = "stateless.h" if plan.features.stateless else "stateful.h"
    deciders = (*at_hosts, "connections.h", "hot.h", state, "flow.h", "fragments.h", "verdict.h")
    return _slot_text(plan, "frame_skb.h", (*deciders, "hopeless.h", "workload.h"), notes)


def emit_host_program(plan: Plan) -> str:
    """The programs `HOST_PROGRAMS`, in one text."""
    deciders = ("hosts.h", "decide_host.h", "connections.h", "hot.h", "stateful.h", "flow.h")
    return _slot_text(plan, "frame_skb.h", (*deciders, "fragments.h", "verdict.h", "untracked.h", "host.h"))


def emit_xdp_program(plan: Plan) -> str:
    """The programs `XDP_PROGRAMS`, in one text."""
    return _slot_text(plan, XDP_FRAME, ("hosts.h", "connections.h", "untracked.h", "plain_xdp.h", "host_xdp.h"))


def _slot_text(plan: Plan, frame: str, programs: Sequence[str], notes: Sequence[str] = ()) -> str:
    """``frame``: the fragment that says what a frame is; ``programs``: those that follow the decision."""
    header = [
        f"Written by bpfence {__version__} for one shape of policy; the policies themselves are in the tables.",
        *_shape_facts(plan),
        *notes,
    ]
    parts = [
        comment_block(header),
        fragment("protocols.h"),
        constants(_slot_constants(plan)),
        _element_types(plan.features),
        *(struct.c_text() for struct in _structs(plan)),
        *(pinned_map("array", "__u32", table.size, table.name, 1, table.comment) for table in plan.tables()),
        _endpoint_counters_map(plan),
        *_slot_shared_maps(),
        *(fragment(name) for name in (*_fragments(plan.features, frame), *programs)),
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
        constants(_slot_constants(plan)),
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
        pinned_map("array", "__u32", "__u64", "active", 1, "generation, its number, its slot; 0 = nothing committed"),
        pinned_map("prog", "__u32", "__u32", "programs", 16, "slot * HOOKS_PER_SLOT + hook"),
        pinned_map("prog", "__u32", "__u32", "xdp_programs", 2, "slot"),
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
        *(("rows over classes of their own",) if features.two_level else ()),
        *(("hosts",) if features.hosts else ()),
        *(("what hosts say about workloads",) if features.hosts_at_workloads else ()),
        *(("no flow that needs no state",) if features.stateless else ()),
    ]
    return [
        f"Holds: {', '.join(held)}.",
        f"Room for {geometry.endpoints} endpoints, {geometry.cells} cells,"
        f" {geometry.l2_blocks} + {geometry.l3_blocks} IPv4 blocks.",
    ]


def _fragments(features: Features, frame: str) -> tuple[str, ...]:
    """The files of ``bpf/`` in the order in which C needs them."""
    return (
        "counters.h",
        "endpoint_counters.h",
        "scratch.h",
        frame,
        "packet.h",
        "endpoint.h",
        "exempt.h",
        *_decision_fragments(features, sources=frame != XDP_FRAME or features.early_sources),
    )


def _decision_fragments(features: Features, *, sources: bool = True) -> tuple[str, ...]:
    """``sources``: whether the program looks at source ports where rows tell them apart."""
    ports = ("l4_source_ports.h" if sources else "l4_any_source.h") if features.source_ports else "l4_ports.h"
    return (
        "peer4.h",
        "peer6.h" if features.address6 else "peer6_default.h",
        "port_place.h",
        ports,
        "l4.h",
        "cell.h",
        "cells_two_level.h" if features.two_level else "cells_flat.h",
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
        *((layout.POLICY_ROW,) if plan.features.two_level else ()),
        *((layout.HOST, layout.FAILSAFE, layout.LOCAL_ADDRESS) if plan.features.hosts else ()),
        layout.CONNECTION_KEY,
        layout.CONNECTION,
        layout.HOT_FLOW,
        layout.FRAGMENT_KEY,
        layout.ENDPOINT_COUNTS,
    )


def _slot_constants(plan: Plan) -> dict[str, int | str]:
    geometry, codes = plan.geometry, plan.features.icmp_codes
    second, third = layout.address4_bits(plan.features.fine_blocks)
    sizes: dict[str, int | str] = {
        "INTERFACES": geometry.interfaces,
        "ENDPOINTS": geometry.endpoints,
        "OWN4_ADDRESSES": geometry.own4,
        "OWN6_ADDRESSES": geometry.own6,
        "L2_BITS": second,
        "L3_BITS": third,
        "L2_BLOCKS": geometry.l2_blocks,
        "L3_BLOCKS": geometry.l3_blocks,
        "CELLS": geometry.cells,
        "ICMP_TYPES": 65536 if codes else 256,
        "ICMP_INDEX(type, code)": "((__u64)(type) << 8 | (code))" if codes else "((__u64)(type))",
        "L4_UNKNOWN": "0xffffffff",
        "COUNTED_REASONS": layout.COUNTED_REASONS,
    }
    if plan.features.address6:
        sizes |= {f"ADDRESS6_MIX{place}": f"{mix:#x}ULL" for place, mix in enumerate(layout.ADDRESS6_MIX, 1)}
        sizes["ADDRESS6_SHIFT"] = 65 - geometry.address6_slots.bit_length()
        sizes["ADDRESS6_GROUPS"] = geometry.address6_groups
        sizes["ADDRESS6_BLOCKS"] = geometry.address6_blocks
        sizes["ADDRESS6_LENGTHS"] = geometry.address6_lengths
        sizes["ADDRESS6_STEPS"] = layout.ADDRESS6_STEPS
    if plan.features.source_ports:
        sizes["PORT_PAIRS"] = geometry.port_pairs
    if plan.features.two_level:
        sizes |= {"POLICY_ROWS": geometry.policy_rows, "ROW_PEERS": geometry.row_peers, "ROW_L4": geometry.row_l4}
    if plan.features.hosts:
        sizes |= _host_constants(plan)
    return {**_reasons(), **sizes, **_layout_constants()}


def _host_constants(plan: Plan) -> dict[str, int | str]:
    geometry = plan.geometry
    points = {
        f"POINT_{point.upper().replace('-', '_')}_{'IN' if direction == 'ingress' else 'OUT'}": index
        for index, (direction, point) in enumerate(layout.HOST_POINTS)
    }
    names = ("HOST_ROWS", "HOST_DROPS_WORKLOADS", "FAILSAFE_INGRESS", "FAILSAFE_EGRESS", "LOCAL_PROBES")
    return {
        "HOSTS": geometry.hosts,
        "OWN_ROWS": geometry.own_rows,
        "OWN_UNTRACKED": int(plan.features.own_untracked),
        "FAILSAFES": geometry.failsafes,
        "LOCAL_ADDRESSES": geometry.local_addresses,
        "NODE_PORTS_BYTES": layout.NODE_PORTS_BYTES,
        **points,
        **{name: getattr(layout, name) for name in names},
        **{f"LOCAL_MIX{place}": f"{mix:#x}U" for place, mix in enumerate(layout.LOCAL_MIX, 1)},
    }


def _layout_constants() -> dict[str, int | str]:
    names = (
        "INTERFACE_PROBES",
        "HOT_FLOWS_BITS",
        "CONNECTION_INGRESS",
        "CONNECTION_REPLIED",
        "CONNECTION_DENIED",
        "CONNECTION_GUESSED",
        "CONNECTION_HOST",
        "TCP_ESTABLISHED",
        "TCP_FIN_INITIATOR",
        "TCP_FIN_RESPONDER",
        "TCP_RESET",
    )
    hexadecimal = (
        "INTERFACE_HASH",
        "HOST_INTERFACE",
        "CELL_ALLOW",
        "CELL_NEXT",
        "CELL_SPARES_HOST",
        "CELL_STATELESS",
        "UNRESTRICTED",
        "MARK_UNTRACKED",
    )
    return {
        **{name: getattr(layout, name) for name in names},
        **{name: f"{getattr(layout, name):#x}" for name in hexadecimal},
        **{f"TIMEOUT_{name}": f"({seconds}ULL * HZ)" for name, seconds in layout.TIMEOUTS.items()},
    }


def _dispatcher_constants() -> dict[str, int | str]:
    return {
        "MARK_MASK": f"{layout.MARK_MASK:#010x}",
        "ACTIVE_STANDBY": layout.ACTIVE_STANDBY,
        "HOOKS_PER_SLOT": layout.HOOKS_PER_SLOT,
        "HOOK_EGRESS": layout.HOOK_EGRESS,
        "HOOK_INGRESS": layout.HOOK_INGRESS,
        "HOOK_HOST_INGRESS": layout.HOOK_HOST_INGRESS,
        "HOOK_HOST_EGRESS": layout.HOOK_HOST_EGRESS,
    }


def _reasons() -> dict[str, int | str]:
    return {f"REASON_{name.upper().replace('-', '_')}": index for index, name in enumerate(layout.REASONS)}


def _element_types(features: Features) -> str:
    top, block = ("__u32" if wide else "__u16" for wide in (features.fine_blocks, features.wide_blocks))
    cell, shift = ("__u8", layout.CELL_NARROW_SHIFT) if features.narrow_cells else ("__u16", 0)
    lines = [
        "/* Number of a second-level block, and of a third-level one. */",
        f"typedef {top} address4_l1_block;",
        f"typedef {block} address4_l2_block;",
        "/* What is kept of a cell: its bits from CELL_SHIFT on. */",
        f"typedef {cell} kept_cell;",
        f"#define CELL_SHIFT {shift}",
    ]
    if features.two_level:
        lines += [
            "/* A row's own class of peers. */",
            f"typedef {'__u16' if features.wide_row_peers else '__u8'} row_peer;",
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


def _endpoint_counters_map(plan: Plan) -> str:
    value = f"struct {layout.ENDPOINT_COUNTS.name}"
    entries = plan.geometry.counted
    return pinned_map("percpu_array", "__u32", value, ENDPOINT_COUNTERS, entries, "packets of endpoints, then of hosts")


def _counters_map() -> str:
    return pinned_map("percpu_array", "__u32", "__u64", "counters", len(layout.REASONS), "packets by REASON_*")
