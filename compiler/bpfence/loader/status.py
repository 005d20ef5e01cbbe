"""What is in force on this node, read from the kernel and compared with the artefact it came from. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from bpfence.emit.artefact import EndpointEntry, TableEntry
from bpfence.errors import KernelError
from bpfence.loader.attach import Attachment, Hooks, named_attachments, own_attachments, runs_ours, survey_hooks
from bpfence.loader.bpffs import WORKLOAD_DIRECTIONS
from bpfence.loader.connections import ConnectionsFill, connections_fill
from bpfence.loader.counts import Counts, endpoint_counts, shared_counts, slot_counts, sum_counts
from bpfence.loader.drift import NodeView, find_drift, read_manifest
from bpfence.loader.host_status import HostFacts, HostStatus, host_statuses
from bpfence.loader.interfaces import read_interface_table
from bpfence.loader.kernel import require_kernel
from bpfence.loader.maps import read_array
from bpfence.loader.namespaces import current_inode
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import Node, NodePaths, Slot, check_same_network, open_node
from bpfence.loader.refusals import node_refusals
from bpfence.loader.state import NodeState, PendingConfirmation, boot_id
from bpfence.plan.layout import PASSING


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
    loaded. ``drift``: one line for each difference between kernel and artefact. ``pending``: what happens unless the
    generation is confirmed.
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
    pending: PendingConfirmation | None = None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        pending = self.pending.model_dump() if self.pending else None
        return {"format_version": "1.0", **asdict(replace(self, pending=None)), "pending": pending}


@node_refusals()
def read_status(paths: NodePaths) -> StatusReport:
    """The state of the current network namespace's node. Raises KernelError when it can't be read."""
    require_kernel()
    with ExitStack() as stack:
        node = open_node(paths.pins, stack)
        if node is None or not node.active.generation:
            return _not_loaded(paths, node, stack.enter_context(Netlink()))
        state = paths.folder.read()
        check_same_network(node, state)
        if node.active.slot not in node.slots:
            raise KernelError(
                f"generation {node.active.generation} is in force, but the pins of its slot are gone; apply again"
            )
        return _read(paths, node, state, stack.enter_context(Netlink()))


def _read(paths: NodePaths, node: Node, state: NodeState, netlink: Netlink) -> StatusReport:
    active = node.active
    slot = node.slots[active.slot]
    record = state.record(active.generation)
    manifest, problem = read_manifest(paths, active.generation, record)
    other = node.slots.get(1 - active.slot)
    image = read_array(slot.tables["interfaces"])
    interfaces = read_interface_table(image)
    indices = {endpoint: index for index, endpoint in interfaces.items()}
    hooks = survey_hooks(netlink)
    attached = own_attachments(hooks, node.program_ids)
    facts = HostFacts(manifest, slot, interfaces, hooks, attached) if manifest else None
    hosts = host_statuses(facts) if facts else ()
    known = manifest.endpoints if manifest else ()
    endpoints = tuple(_endpoint(entry, indices.get(entry.id, 0), hooks.names, attached, slot) for entry in known)
    passed, drops = by_verdict(all_counts(node, state))
    connections = connections_fill(node.maps["connections"])
    view = NodeView(paths, node, state, manifest, hooks, netlink)
    drift = find_drift(view, view.tables(), image)
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
        drift=(*((problem,) if problem else ()), *drift.lines),
        warnings=(*drift.warnings, *_crowd(connections)),
        pending=state.pending if state.pending and state.pending.generation == active.generation else None,
    )


def _not_loaded(paths: NodePaths, node: Node | None, netlink: Netlink) -> StatusReport:
    """Dispatchers that stand here all the same are a difference when something was in force since the last boot."""
    try:
        state = paths.folder.read()
    except KernelError:
        state = NodeState()
    had = bool(state.generations) and (state.boot, state.network) == (boot_id(), current_inode())
    hooks = survey_hooks(netlink)
    lost = _lost(node, hooks)
    if node is None:
        return StatusReport(loaded=False, drift=lost if had else (), warnings=() if had else lost)
    return StatusReport(loaded=False, drift=tuple(_open(node, hooks, had)), warnings=lost)


def _open(node: Node, hooks: Hooks, had: bool) -> Iterator[str]:
    """Our own dispatchers, for which nothing is in force."""
    if node.word:
        yield f"the word that says what is in force has bits without a meaning: {node.word:#x}"
    elif had and any(runs_ours(item, node.program_ids) for item in hooks.filters):
        yield "nothing is in force though dispatchers stand here: every packet passes; apply again"


def _lost(node: Node | None, hooks: Hooks) -> tuple[str, ...]:
    """Dispatchers that stand at hooks though nothing is in force: they go on with what their slot had last."""
    ours = own_attachments(hooks, node.program_ids) if node else frozenset()
    indices = sorted({item.index for item in named_attachments(hooks) - ours})
    return tuple(
        f"{hooks.names.get(index, str(index))}: dispatchers of another bpfence, or of lost pins, stand here and "
        "enforce what they had last; `bpfence unload --force` takes them off"
        for index in indices
    )


def _endpoint(
    entry: EndpointEntry, index: int, names: Any, attached: frozenset[Attachment], slot: Slot
) -> EndpointStatus:
    hooks = tuple(direction for direction in WORKLOAD_DIRECTIONS if Attachment(index, direction) in attached)
    name = names.get(index, "") if index else ""
    passed, drops = by_verdict(endpoint_counts(slot.counters, entry.id))
    return EndpointStatus(entry.name, entry.addresses, name, index, hooks, passed, drops)


def _programs(node: Node, slot: Slot) -> tuple[ProgramStatus, ...]:
    programs = (*node.dispatchers.values(), *slot.programs.values())
    infos = ((program.name, program.info) for program in programs)
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
