"""What is in force on this node, read from the kernel and compared with the artefact it came from. Changes nothing."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from bpfence.emit.artefact import EndpointEntry, Manifest, TableEntry
from bpfence.emit.folder import MANIFEST
from bpfence.errors import KernelError
from bpfence.loader.attach import Attachment, own_attachments, survey_hooks
from bpfence.loader.bpffs import WORKLOAD_DIRECTIONS, program_place
from bpfence.loader.connections import ConnectionsFill, connections_fill
from bpfence.loader.counts import Counts, endpoint_counts, shared_counts, slot_counts, sum_counts
from bpfence.loader.host_status import HostFacts, HostStatus, hook_drift, host_statuses, place_drift
from bpfence.loader.interfaces import discover, read_interface_table
from bpfence.loader.kernel import require_kernel
from bpfence.loader.maps import read_array
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import GENERATION_SIZE, Node, NodePaths, Slot, open_node
from bpfence.loader.programs import program_info
from bpfence.loader.state import NodeState
from bpfence.loader.transaction import check_same_network
from bpfence.plan.layout import PASSING

FACTS_OF_THE_NODE = ("interfaces", "local_addresses")
"""Tables that the loader fills."""


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """A local endpoint; ``interface`` is empty when none is in force. ``hooks``: directions with a dispatcher.
    ``passed``, ``drops``: its packets by reason since the generation is in force.
    """

    name: str
    addresses: tuple[str, ...]
    interface: str
    index: int
    hooks: tuple[str, ...]
    passed: dict[str, int]
    drops: dict[str, int]


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
class StatusReport:
    """``since``: seconds of the Unix epoch, 0 when unknown. ``passed``, ``drops``: packets by reason since bpfence was
    loaded. ``drift``: one line for each difference between kernel and artefact.
    """

    loaded: bool
    generation: int = 0
    slot: int = 0
    since: float = 0.0
    node: str = ""
    policies: tuple[str, ...] = ()
    endpoints: tuple[EndpointStatus, ...] = ()
    hosts: tuple[HostStatus, ...] = ()
    programs: tuple[ProgramStatus, ...] = ()
    tables: tuple[TableStatus, ...] = ()
    connections: ConnectionsFill | None = None
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
    interfaces = read_interface_table(read_array(slot.tables["interfaces"]))
    indices = {endpoint: index for index, endpoint in interfaces.items()}
    hooks = survey_hooks(netlink)
    attached = own_attachments(hooks, node.program_ids)
    facts = HostFacts(manifest, slot, interfaces, hooks, attached) if manifest else None
    hosts = host_statuses(facts) if facts else ()
    known = manifest.endpoints if manifest else ()
    endpoints = tuple(_endpoint(entry, indices.get(entry.id, 0), hooks.names, attached, slot) for entry in known)
    passed, drops = by_verdict(all_counts(node, state))
    connections = connections_fill(node.maps["connections"])
    warnings, moved = (
        _places(facts, indices, netlink) if facts else (("the artefact in force is no longer on disk",), ())
    )
    drift = (
        *(_drift(slot, active.generation, manifest) if manifest else ()),
        *_program_drift(node, slot),
        *_hook_drift(endpoints),
        *hook_drift(hosts, record),
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
        hosts=hosts,
        programs=_programs(node, slot),
        tables=tuple(_table(entry, len(interfaces)) for entry in (manifest.tables if manifest else ())),
        connections=connections,
        passed=passed,
        drops=drops,
        standby=other.generation if other else 0,
        drift=drift,
        warnings=(*warnings, *_crowd(connections)),
    )


def _manifest(paths: NodePaths, generation: int) -> Manifest | None:
    try:
        return Manifest.model_validate_json((paths.folder.generation(generation) / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None


def _endpoint(
    entry: EndpointEntry, index: int, names: Any, attached: frozenset[Attachment], slot: Slot
) -> EndpointStatus:
    hooks = tuple(direction for direction in WORKLOAD_DIRECTIONS if Attachment(index, direction) in attached)
    name = names.get(index, "") if index else ""
    passed, drops = by_verdict(endpoint_counts(slot.counters, entry.id))
    return EndpointStatus(entry.name, entry.addresses, name, index, hooks, passed, drops)


def _programs(node: Node, slot: Slot) -> tuple[ProgramStatus, ...]:
    programs = (*node.dispatchers.values(), *slot.programs.values())
    infos = ((program.name, program_info(program.fd)) for program in programs)
    return tuple(ProgramStatus(name, info.id, info.tag, info.machine_code) for name, info in infos)


def _table(entry: TableEntry, interfaces: int) -> TableStatus:
    return TableStatus(entry.name, entry.size, interfaces if entry.name == "interfaces" else entry.used, entry.count)


def _crowd(fill: ConnectionsFill) -> tuple[str, ...]:
    if not fill.crowded:
        return ()
    return (
        f"{fill.live} live flows for {fill.capacity} places in the connection table: those idle longest are forgotten",
    )


def all_counts(node: Node, state: NodeState) -> Counts:
    """Packets since bpfence was loaded, without those of proofs: of nobody, of both slots, of generations before."""
    slots = (slot for slot in node.slots.values() if slot.generation not in (0, state.folded_generation))
    probes = {reason: -count for reason, count in state.probes.items()}
    counts = sum_counts(
        shared_counts(node.maps["counters"]), probes, state.folded, *(slot_counts(slot.counters) for slot in slots)
    )
    return {reason: max(0, count) for reason, count in counts.items()}


def by_verdict(counts: Counts) -> tuple[Counts, Counts]:
    """Packets that passed and packets that were dropped, by reason."""
    passed = {reason: count for reason, count in counts.items() if reason in PASSING}
    return passed, {reason: count for reason, count in counts.items() if reason not in PASSING}


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
        if entry.name not in FACTS_OF_THE_NODE and hashlib.sha256(image).hexdigest() != entry.sha256:
            lines.append(f"table {entry.name} differs from the artefact")
    return tuple(lines)


def _program_drift(node: Node, slot: Slot) -> tuple[str, ...]:
    """The program array must hold what is pinned."""
    lines = []
    for name, program in slot.programs.items():
        array, index = program_place(slot.number, name)
        held = node.maps[array].lookup(index.to_bytes(4, "little"))
        if held is None or int.from_bytes(held, "little") != program_info(program.fd).id:
            lines.append(f"program {name} is not where the dispatchers jump to")
    return tuple(lines)


def _hook_drift(endpoints: tuple[EndpointStatus, ...]) -> tuple[str, ...]:
    return tuple(
        f"{item.name}: no dispatcher at the {direction} hook of {item.interface or f'interface {item.index} (gone)'}"
        for item in endpoints
        for direction in WORKLOAD_DIRECTIONS
        if item.index and direction not in item.hooks
    )


def _places(facts: HostFacts, indices: dict[int, int], netlink: Netlink) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(warnings, drift): endpoints without an interface, and endpoints whose interface is now another one."""
    try:
        discovery = discover(facts.manifest, netlink)
    except KernelError as error:
        return (str(error),), ()
    moved = tuple(
        f"{item.endpoint.name}: its interface is now {item.name}, which the tables in force do not know; apply again"
        for item in discovery.found
        if indices.get(item.endpoint.id) != item.index
    )
    return discovery.warnings, (*moved, *place_drift(facts, discovery))
