"""What is in force on this node, read from the kernel and compared with the artefact it came from. Changes nothing."""

from __future__ import annotations

import hashlib
import itertools
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from bpfence.emit.artefact import EndpointEntry, Manifest, TableEntry
from bpfence.emit.folder import MANIFEST
from bpfence.errors import KernelError
from bpfence.loader.attach import DIRECTIONS, Attachment, own_attachments, survey_hooks
from bpfence.loader.bpffs import program_index
from bpfence.loader.interfaces import discover_interfaces, read_interface_table
from bpfence.loader.kernel import require_kernel
from bpfence.loader.maps import Map, read_array, read_per_cpu
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import GENERATION_SIZE, Node, NodePaths, Slot, open_node
from bpfence.loader.programs import program_info
from bpfence.loader.state import NodeState
from bpfence.loader.transaction import check_same_network
from bpfence.plan.layout import PASSING, REASONS

MOST_COUNTED = 50_000
"""Connections are counted one by one; beyond this many the count is given as a lower bound."""


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """A local endpoint; ``interface`` is empty when none is in force. ``hooks``: directions with a dispatcher."""

    name: str
    addresses: tuple[str, ...]
    interface: str
    index: int
    hooks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    """A program in the kernel. ``machine_code``: bytes."""

    name: str
    id: int
    tag: str
    machine_code: int


@dataclass(frozen=True, slots=True)
class TableStatus:
    """A table of the slot in force: bytes in the kernel, elements in use and in all."""

    name: str
    bytes: int
    used: int
    count: int


@dataclass(frozen=True, slots=True)
class ConnectionsStatus:
    """``complete`` False: at least so many."""

    count: int
    capacity: int
    complete: bool


@dataclass(frozen=True, slots=True)
class StatusReport:
    """``since``: seconds of the Unix epoch, 0 when unknown. ``drift``: one line for each difference between kernel
    and artefact.
    """

    loaded: bool
    generation: int = 0
    slot: int = 0
    since: float = 0.0
    node: str = ""
    policies: tuple[str, ...] = ()
    endpoints: tuple[EndpointStatus, ...] = ()
    programs: tuple[ProgramStatus, ...] = ()
    tables: tuple[TableStatus, ...] = ()
    connections: ConnectionsStatus | None = None
    passed: dict[str, int] | None = None
    drops: dict[str, int] | None = None
    standby: int = 0
    drift: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"format_version": "1.0", **asdict(self)}


def read_status(paths: NodePaths) -> StatusReport:
    """The state of the current network namespace's node. Raises KernelError when it can't be read."""
    require_kernel()
    with ExitStack() as stack:
        node = open_node(paths.pins, stack)
        if node is None or not node.active.generation:
            return StatusReport(loaded=False)
        state = paths.folder.read()
        check_same_network(node, state)
        return _read(node, state, _manifest(paths, node.active.generation), stack.enter_context(Netlink()))


def _read(node: Node, state: NodeState, manifest: Manifest | None, netlink: Netlink) -> StatusReport:
    active = node.active
    slot = node.slots[active.slot]
    record = state.record(active.generation)
    other = node.slots.get(1 - active.slot)
    indices = {
        endpoint: index for index, endpoint in read_interface_table(read_array(slot.tables["interfaces"])).items()
    }
    hooks = survey_hooks(netlink)
    attached = own_attachments(hooks, node.program_ids)
    known = manifest.endpoints if manifest else ()
    endpoints = tuple(_endpoint(entry, indices.get(entry.id, 0), hooks.names, attached) for entry in known)
    passed, drops = _counters(node.maps["counters"], state.probes)
    warnings, moved = (
        _places(known, indices, netlink) if manifest else (("the artefact in force is no longer on disk",), ())
    )
    drift = (
        *(_drift(slot, active.generation, manifest) if manifest else ()),
        *_program_drift(node, slot),
        *_hook_drift(endpoints),
        *moved,
    )
    return StatusReport(
        loaded=True,
        generation=active.generation,
        slot=active.slot,
        since=record.since if record else 0.0,
        node=manifest.node if manifest else "",
        policies=manifest.policies if manifest else (),
        endpoints=endpoints,
        programs=_programs(node, slot),
        tables=tuple(_table(entry, len(indices)) for entry in (manifest.tables if manifest else ())),
        connections=_connections(node.maps["connections"]),
        passed=passed,
        drops=drops,
        standby=other.generation if other else 0,
        drift=drift,
        warnings=warnings,
    )


def _manifest(paths: NodePaths, generation: int) -> Manifest | None:
    try:
        return Manifest.model_validate_json((paths.folder.generation(generation) / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None


def _endpoint(entry: EndpointEntry, index: int, names: Any, attached: frozenset[Attachment]) -> EndpointStatus:
    hooks = tuple(direction for direction in DIRECTIONS if Attachment(index, direction) in attached)
    return EndpointStatus(entry.name, entry.addresses, names.get(index, "") if index else "", index, hooks)


def _programs(node: Node, slot: Slot) -> tuple[ProgramStatus, ...]:
    programs = (*node.dispatchers.values(), *slot.programs.values())
    infos = ((program.name, program_info(program.fd)) for program in programs)
    return tuple(ProgramStatus(name, info.id, info.tag, info.machine_code) for name, info in infos)


def _table(entry: TableEntry, interfaces: int) -> TableStatus:
    return TableStatus(entry.name, entry.size, interfaces if entry.name == "interfaces" else entry.used, entry.count)


def _connections(connections: Map) -> ConnectionsStatus:
    count = sum(1 for _ in itertools.islice(connections.iterate(), MOST_COUNTED + 1))
    return ConnectionsStatus(min(count, MOST_COUNTED), connections.info.entries, count <= MOST_COUNTED)


def _counters(counters: Map, probes: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Packets that passed and packets that were dropped, by reason; without those that proofs sent."""
    seen = {
        reason: max(0, read_per_cpu(counters, place) - probes.get(reason, 0)) for place, reason in enumerate(REASONS)
    }
    passed = {reason: count for reason, count in seen.items() if reason in PASSING}
    return passed, {reason: count for reason, count in seen.items() if reason not in PASSING}


def _drift(slot: Slot, generation: int, manifest: Manifest) -> tuple[str, ...]:
    """Kernel bytes against the artefact's hashes. The interface table is a fact of the node, checked by `_places`."""
    lines = []
    for entry in manifest.tables:
        table = slot.tables.get(entry.name)
        if table is None:
            lines.append(f"table {entry.name} is not there")
            continue
        image = read_array(table)
        if entry.name == "header":
            if slot.generation != generation:
                lines.append(f"the slot's header says generation {slot.generation}")
            image = bytes(GENERATION_SIZE) + image[GENERATION_SIZE:]
        if entry.name != "interfaces" and hashlib.sha256(image).hexdigest() != entry.sha256:
            lines.append(f"table {entry.name} differs from the artefact")
    return tuple(lines)


def _program_drift(node: Node, slot: Slot) -> tuple[str, ...]:
    """The program array must hold what is pinned."""
    lines = []
    for name, program in slot.programs.items():
        held = node.maps["programs"].lookup(program_index(slot.number, name).to_bytes(4, "little"))
        if held is None or int.from_bytes(held, "little") != program_info(program.fd).id:
            lines.append(f"program {name} is not where the dispatchers jump to")
    return tuple(lines)


def _hook_drift(endpoints: tuple[EndpointStatus, ...]) -> tuple[str, ...]:
    return tuple(
        f"{item.name}: no dispatcher at the {direction} hook of {item.interface or f'interface {item.index} (gone)'}"
        for item in endpoints
        for direction in DIRECTIONS
        if item.index and direction not in item.hooks
    )


def _places(
    known: tuple[EndpointEntry, ...], indices: dict[int, int], netlink: Netlink
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(warnings, drift): endpoints without an interface, and endpoints whose interface is now another one."""
    try:
        discovery = discover_interfaces(known, netlink)
    except KernelError as error:
        return (str(error),), ()
    moved = tuple(
        f"{item.endpoint.name}: its interface is now {item.name}, which the tables in force do not know; apply again"
        for item in discovery.found
        if indices.get(item.endpoint.id) != item.index
    )
    return discovery.warnings, moved
