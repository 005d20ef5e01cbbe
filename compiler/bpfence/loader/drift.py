"""What on this node is no longer as it was applied: tables, programs, hooks, interfaces. Shared by `status` and `diff`.

In: the open node, its hooks and the artefact of the generation in force. Out: a line for each difference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from bpfence.emit.artefact import Manifest
from bpfence.emit.folder import MANIFEST, json_bytes
from bpfence.errors import KernelError
from bpfence.loader.attach import (
    Attachment,
    Hooks,
    displaced_filters,
    filters_ahead,
    is_named_ours,
    own_attachments,
    runs_ours,
)
from bpfence.loader.bpffs import WORKLOAD_DIRECTIONS
from bpfence.loader.host_status import HostFacts, hook_drift, host_statuses, known_addresses, place_drift
from bpfence.loader.interfaces import Discovery, discover, own_addresses, read_interface_table
from bpfence.loader.known_interfaces import KnownInterface, known_interfaces
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import Node, NodePaths, Slot
from bpfence.loader.serving import serving_drift
from bpfence.loader.state import GenerationRecord, NodeState
from bpfence.loader.table_drift import SlotTables, TableDrift, read_tables
from bpfence.loader.tcx import tcx_programs
from bpfence.plan.layout import HOST_INTERFACE


@dataclass(frozen=True, slots=True)
class Drift:
    """``lines``: every difference, in words. ``tables``: those of tables' bytes. ``warnings``: what is no difference
    and yet not as it should be. ``discovery``: where endpoints are now, None when it can't be told.
    """

    lines: tuple[str, ...]
    tables: tuple[TableDrift, ...] = ()
    warnings: tuple[str, ...] = ()
    discovery: Discovery | None = None


def read_manifest(paths: NodePaths, generation: int, record: GenerationRecord | None) -> tuple[Manifest | None, str]:
    """(the manifest of a generation's artefact on disk, what is wrong with it). None when it can't be used; a manifest
    that is not the one applied is given all the same.
    """
    path = paths.folder.generation(generation) / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None, "the artefact in force is no longer on disk"
    except (OSError, ValidationError) as error:
        return None, f"the artefact in force can't be read ({path}): {type(error).__name__}"
    content = hashlib.sha256(json_bytes({**manifest.model_dump(mode="json"), "content": ""})).hexdigest()
    if content != manifest.content or (record is not None and record.content != content):
        return manifest, f"the artefact on disk is not the one that was applied ({path}: its hash differs)"
    return manifest, ""


@dataclass(frozen=True, slots=True)
class NodeView:
    """What drift is looked for in. ``manifest`` None: it is gone, so only hooks and programs can be compared."""

    paths: NodePaths
    node: Node
    state: NodeState
    manifest: Manifest | None
    hooks: Hooks
    netlink: Netlink

    @property
    def slot(self) -> Slot:
        return self.node.slots[self.node.active.slot]

    @property
    def record(self) -> GenerationRecord | None:
        return self.state.record(self.node.active.generation)

    def tables(self) -> SlotTables | None:
        """The kernel's tables, compared with the artefact on disk."""
        if self.manifest is None:
            return None
        folder = self.paths.folder.generation(self.node.active.generation)
        return read_tables(self.slot, self.manifest, folder, self.record)


def find_drift(view: NodeView, tables: SlotTables | None, interfaces: bytes) -> Drift:
    """Every difference. ``interfaces``: the slot's interface table."""
    known = read_interface_table(interfaces)
    attached = own_attachments(view.hooks, view.node.program_ids)
    serving = serving_drift(view.paths, view.node, view.record, view.manifest)
    lines = [*_table_lines(tables), *serving, *_otherwise(view)]
    if view.manifest is None:
        return Drift((*lines, *_foreign_lines(view, known)))
    facts = HostFacts(view.manifest, view.slot, known, view.hooks, attached)
    indices = {endpoint: index for index, endpoint in known.items()}
    remembered = known_interfaces(view.node, view.state, view.hooks, view.paths.folder)
    warnings, moved, discovery = _places(facts, indices, view.netlink, remembered)
    lines += _missing_lines(view, indices, attached)
    lines += hook_drift(host_statuses(facts), view.record)
    lines += _foreign_lines(view, known)
    if discovery is not None:
        lines += _own_address_lines(view, facts, discovery)
    return Drift((*lines, *moved), tables.drift if tables else (), warnings, discovery)


def _table_lines(tables: SlotTables | None) -> Iterator[str]:
    if tables is None:
        return
    yield from (item.line for item in tables.drift)


def _missing_lines(view: NodeView, indices: Mapping[int, int], attached: frozenset[Attachment]) -> Iterator[str]:
    """Workloads' dispatchers that are no longer where they were attached."""
    assert view.manifest is not None
    for entry in view.manifest.endpoints:
        index = indices.get(entry.id, 0)
        where = view.hooks.names.get(index) or f"interface {index} (gone)"
        lost = "" if index in view.hooks.qdiscs or index not in view.hooks.names else " (its clsact qdisc is gone)"
        for direction in WORKLOAD_DIRECTIONS:
            if index and Attachment(index, direction) not in attached:
                yield f"{entry.name}: no dispatcher at the {direction} hook of {where}{lost}"


def _otherwise(view: NodeView) -> Iterator[str]:
    """Filters with a dispatcher's name that are another program, and dispatchers that stand otherwise than they were
    attached: they may not be asked, or not be heeded.
    """
    ours = view.node.program_ids
    displaced = frozenset(displaced_filters(view.hooks, ours))
    for item in view.hooks.filters:
        name = view.hooks.names.get(item.index, str(item.index))
        if item in displaced:
            yield f"{name}: the {item.direction} dispatcher does not stand as it was attached: {item.title}"
        elif is_named_ours(item) and item.program != ours.get(item.direction):
            yield f"{name}: another program stands under the {item.direction} dispatcher's name: {item.title}"


def _foreign_lines(view: NodeView, interfaces: Mapping[int, int]) -> Iterator[str]:
    """Foreign programs that are asked before our dispatchers, at interfaces that the tables know."""
    ahead = [pair for pair in filters_ahead(view.hooks) if not runs_ours(pair[0], view.node.program_ids)]
    for index, value in interfaces.items():
        if index not in view.hooks.names:
            continue
        name = view.hooks.names[index]
        for item, ours in (pair for pair in ahead if pair[0].index == index):
            yield f"{name}: foreign filter {item.title} is asked before the {ours.direction} dispatcher"
        for direction in WORKLOAD_DIRECTIONS:
            programs = tcx_programs(index, direction)
            if programs:
                ids = ", ".join(map(str, programs))
                yield f"{name}: foreign tcx programs (ids {ids}) are asked before the {direction} dispatcher"
        if value & HOST_INTERFACE:
            yield from _foreign_xdp(view, index, name)


def _foreign_xdp(view: NodeView, index: int, name: str) -> Iterator[str]:
    """Where ours stood; elsewhere XDP is none of our business."""
    had = {item.index for item in view.record.interfaces if item.xdp} if view.record is not None else set()
    ours = view.node.program_ids.get("host-xdp")
    for item in view.hooks.xdp:
        if item.index == index and index in had and item.program != ours:
            yield f"{name}: a foreign XDP program (id {item.program}, {item.mode}) stands in the dispatcher's place"


def _places(
    facts: HostFacts, indices: Mapping[int, int], netlink: Netlink, remembered: Mapping[str, KnownInterface]
) -> tuple[tuple[str, ...], tuple[str, ...], Discovery | None]:
    """(warnings, drift, where endpoints are): those without an interface, and those whose interface is now another."""
    try:
        discovery = discover(facts.manifest, netlink, remembered)
    except KernelError as error:
        return (str(error),), (), None
    moved = tuple(
        f"{item.endpoint.name}: its interface is now {item.name}, which the tables in force do not know; apply again"
        for item in discovery.found
        if indices.get(item.endpoint.id) != item.index
    )
    return discovery.warnings, (*moved, *place_drift(facts, discovery)), discovery


def _own_address_lines(view: NodeView, facts: HostFacts, discovery: Discovery) -> Iterator[str]:
    """Addresses that the tables take for the node's own, and that are not."""
    if "local_addresses" not in view.slot.tables:
        return
    for address in sorted(known_addresses(facts) - own_addresses(facts.manifest, discovery), key=str):
        yield f"the tables in force take {address} for an address of this node, which it is not (any more); apply again"
