"""The state in force as the kernel has it: its own bytes, with names from the artefact on disk.

In: a node's paths. Out: `Live`. What is read here is what packets meet, not what somebody believes to have written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np

from bpfence.analyse.table_origins import RowEntries
from bpfence.analyse.table_sides import Side
from bpfence.emit.artefact import EndpointEntry, Manifest
from bpfence.errors import BpfenceError, BudgetError, KernelError
from bpfence.ir.nodes import Program
from bpfence.ir.parse import parse_program
from bpfence.loader.attach import survey_hooks
from bpfence.loader.cut_flows import State
from bpfence.loader.drift import Drift, NodeView, find_drift, read_manifest
from bpfence.loader.interfaces import read_interface_table
from bpfence.loader.live_flows import LiveFlows, live_flows
from bpfence.loader.maps import read_array
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import Node, NodePaths, check_same_network, open_node
from bpfence.loader.table_drift import SlotTables, applied_interfaces, read_tables
from bpfence.plan.layout import HOST_INTERFACE, INTERFACE, INTERFACE_HASH, INTERFACE_PROBES
from bpfence.simulate.arrays import TableArrays


@dataclass(frozen=True, slots=True)
class Live:
    """``generation`` 0: nothing is in force. ``view`` None: nothing is loaded. ``images``: the kernel's tables;
    ``applied``: those that were applied, None when they are the same or not known.
    """

    view: NodeView | None
    generation: int = 0
    slot: int = 0
    manifest: Manifest | None = None
    images: Mapping[str, bytes] | None = None
    applied: Mapping[str, bytes] | None = None
    drift: Drift = field(default_factory=lambda: Drift(()))

    @property
    def node(self) -> Node | None:
        return None if self.view is None else self.view.node

    def state(self) -> State:
        """What the kernel's tables enforce."""
        if self.manifest is None or self.images is None:
            return State(Side(None, {}), {})
        return self._state(self.images)

    def applied_state(self) -> State | None:
        """What was applied; None when the kernel's tables are just that, or it is not known."""
        return None if self.applied is None else self._state(self.applied)

    def _state(self, images: Mapping[str, bytes]) -> State:
        assert self.view is not None
        assert self.manifest is not None
        record = self.view.record
        places = applied_interfaces(self.manifest, record) if record is not None else ()
        return make_state(self.manifest, images, {item.index: item.title for item in places})

    def flows(self) -> LiveFlows | None:
        """What is remembered; None when nothing is loaded."""
        return None if self.node is None else live_flows(self.node.maps)

    def program(self) -> Program | None:
        """The program in force, by its text on disk; None when it can't be read. Nothing vouches for the text: what it
        says must agree with the tables.
        """
        if self.view is None:
            return None
        path = self.view.paths.folder.generation(self.generation) / "ir.txt"
        try:
            return parse_program(path.read_text())
        except (OSError, ValueError, BpfenceError):
            return None

    def kernel_hash(self) -> str:
        """Over the generation in force and every table's bytes."""
        digest = hashlib.sha256(f"{self.generation} {self.slot}\0".encode())
        for name, image in sorted((self.images or {}).items()):
            digest.update(f"{name}\0{len(image)}\0".encode())
            digest.update(image)
        return digest.hexdigest()


def read_live(paths: NodePaths, netlink: Netlink, stack: ExitStack, candidates: Iterable[Manifest] = ()) -> Live:
    """Read the node of the current network namespace. ``candidates``: manifests that may stand in for the one on disk
    when it is gone. Raises KernelError, also when nothing can be decoded.
    """
    node = open_node(paths.pins, stack)
    state = paths.folder.read()
    check_same_network(node, state)
    if node is None:
        return Live(None)
    hooks = survey_hooks(netlink)
    active = node.active
    if not active.generation:
        return Live(NodeView(paths, node, state, None, hooks, netlink))
    if active.slot not in node.slots:
        raise KernelError(f"generation {active.generation} is in force, but the pins of its slot are gone; apply again")
    live = live_of(NodeView(paths, node, state, None, hooks, netlink), candidates)
    if node.active != active:
        raise KernelError("another transaction changed the node while it was read; try again")
    return live


def live_of(view: NodeView, candidates: Iterable[Manifest] = ()) -> Live:
    """The same of a node that is open, and has something in force. ``view``: without a manifest."""
    active, paths = view.node.active, view.paths
    manifest, problem = read_manifest(paths, active.generation, view.record)
    problems = (problem,) if problem else ()
    if manifest is None:
        manifest = _stand_in(view, candidates)
        if manifest is None:
            raise KernelError(f"{problem}, and no other tells the layout of what the kernel holds; apply again")
    view = replace(view, manifest=manifest)
    tables = read_tables(view.slot, manifest, paths.folder.generation(active.generation), view.record)
    missing = [entry.name for entry in manifest.tables if entry.name not in tables.images]
    drift = find_drift(view, tables, read_array(view.slot.tables["interfaces"]))
    drift = replace(drift, lines=(*problems, *drift.lines))
    if missing or (tables.drift and not _can_be_compared(manifest, tables.images)):
        raise KernelError("the tables in force can't be decoded: " + "; ".join(drift.lines))
    applied = _applied(view, tables) if tables.drift else None
    return Live(view, active.generation, active.slot, manifest, tables.images, applied, drift)


def _can_be_compared(manifest: Manifest, images: Mapping[str, bytes]) -> bool:
    """Whether what somebody has put into the tables still makes ranges of addresses."""
    try:
        TableArrays(manifest, images).cuts4()
    except BudgetError:
        return False
    return True


def _applied(view: NodeView, tables: SlotTables) -> Mapping[str, bytes] | None:
    """The tables as they were applied, as far as the disk still has them."""
    kept = {item.table: item.wanted for item in tables.drift if item.wanted is not None}
    return {**tables.images, **kept} if kept else None


def make_state(manifest: Manifest, images: Mapping[str, bytes], titles: Mapping[int, str]) -> State:
    """Tables with what they are in force for. ``images``: the interface table among them; ``titles``: interface ->
    endpoint or host, as found when it was filled; where nothing is known, as the table itself says.
    """
    found = _as_found(images["interfaces"])
    titles = titles or {index: _owner(manifest, value) for index, value in found.items()}
    values = {title: found.get(index) for index, title in titles.items()}
    places = {entry.name: _number(values.get(entry.name)) for entry in manifest.endpoints}
    policed = {value for value in found.values() if value & HOST_INTERFACE}
    hosts = {
        host.name: number if _is_policed(host.name, number, policed) else None
        for number, host in enumerate(manifest.hosts)
    }
    side = Side(TableArrays(manifest, images), places, hosts, RowEntries(manifest))
    return State(side, {index: title for index, title in titles.items() if title and index in found})


def _number(value: int | None) -> int | None:
    """The endpoint that an interface's value names; None for the node's own interfaces."""
    return None if value is None or value & HOST_INTERFACE else value


def _is_policed(name: str, number: int, values: set[int]) -> bool:
    return bool(values) if name.startswith("node/") else HOST_INTERFACE | number + 1 in values


def _as_found(image: bytes) -> dict[int, int]:
    """The entries of an interface table that the programs find: near enough to their hash, the first of each."""
    table = np.frombuffer(image, dtype=INTERFACE.dtype)
    found: dict[int, int] = {}
    for index in read_interface_table(image):
        start = (index * INTERFACE_HASH & 0xFFFFFFFF) >> 16
        for step in range(INTERFACE_PROBES):
            entry = table[(start + step) & (len(table) - 1)]
            if int(entry["ifindex"]) == index:
                found[index] = int(entry["endpoint"])
                break
    return found


def _owner(manifest: Manifest, value: int) -> str:
    """Endpoint or host of a value of the interface table; empty when the manifest has none."""
    if value & HOST_INTERFACE:
        number = (value & ~HOST_INTERFACE) - 1
        if 0 <= number < len(manifest.hosts):
            return manifest.hosts[number].name
        return next((host.name for host in manifest.hosts if host.name.startswith("node/")), "")
    return next((entry.name for entry in manifest.endpoints if entry.id == value), "")


def _stand_in(view: NodeView, candidates: Iterable[Manifest]) -> Manifest | None:
    """A manifest of the same shape, with the endpoints that the kernel's own table tells of; without any rules."""
    slot = view.slot
    known = [*candidates, *(read_manifest(view.paths, number, None)[0] for number in view.paths.folder.kept())]
    fitting = next((one for one in known if one is not None and one.shape == slot.shape), None)
    if fitting is None or any(entry.name not in slot.tables for entry in fitting.tables):
        return None
    arrays = TableArrays(fitting, {entry.name: read_array(slot.tables[entry.name]) for entry in fitting.tables})
    names = fitting.workloads
    entries = []
    for number in sorted(set(read_interface_table(read_array(slot.tables["interfaces"])).values())):
        own = arrays.own(number) or ()
        name = next((names[one.address] for one in own if one.address in names), f"endpoint {number}")
        addresses = tuple(str(one.address) for one in own)
        if own:
            entries.append(EndpointEntry(id=number, name=name, identity=0, addresses=addresses))
    changes = {"endpoints": tuple(entries), "rows": (), "hosts": (), "policies": ()}
    return fitting.model_copy(update=changes)
