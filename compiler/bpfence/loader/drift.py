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
from bpfence.loader.attach import Attachment, Hooks, is_named_ours, own_attachments
from bpfence.loader.bpffs import WORKLOAD_DIRECTIONS, program_place
from bpfence.loader.host_status import HostFacts, hook_drift, host_statuses, known_addresses, place_drift
from bpfence.loader.interfaces import Discovery, discover, own_addresses, read_interface_table
from bpfence.loader.netlink import FILTER_HANDLES, FILTER_PRIORITY, HOOK_PARENT, Filter, Netlink
from bpfence.loader.node import Node, NodePaths, Slot
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
    lines = [*_table_lines(view, tables), *_program_lines(view), *_named_otherwise(view)]
    if view.manifest is None:
        return Drift((*lines, *_foreign_lines(view, known)))
    facts = HostFacts(view.manifest, view.slot, known, view.hooks, attached)
    indices = {endpoint: index for index, endpoint in known.items()}
    warnings, moved, discovery = _places(facts, indices, view.netlink)
    lines += _missing_lines(view, indices, attached)
    lines += hook_drift(host_statuses(facts), view.record)
    lines += _foreign_lines(view, known)
    if discovery is not None:
        lines += _own_address_lines(view, facts, discovery)
    return Drift((*lines, *moved), tables.drift if tables else (), warnings, discovery)


def _table_lines(view: NodeView, tables: SlotTables | None) -> Iterator[str]:
    if tables is None:
        return
    yield from (item.line for item in tables.drift)
    if tables.header_generation != view.node.active.generation:
        yield f"the slot's header says generation {tables.header_generation}"


def _program_lines(view: NodeView) -> Iterator[str]:
    """The program array must hold what is pinned, and what is pinned must be what was loaded."""
    tags = view.record.tags if view.record is not None else {}
    for name, program in view.slot.programs.items():
        array, index = program_place(view.slot.number, name)
        held = view.node.maps[array].lookup(index.to_bytes(4, "little"))
        info = program.info
        if held is None or int.from_bytes(held, "little") != info.id:
            yield f"program {name} is not where the dispatchers jump to"
        if tags.get(name, info.tag) != info.tag:
            yield f"program {name} is not the one that was loaded: its tag is {info.tag}, not {tags[name]}"
    for program in (*view.node.dispatchers.values(), view.node.idle):
        tag = program.info.tag
        if tags.get(program.name, tag) != tag:
            yield f"program {program.name} is not the one that was loaded: its tag is {tag}, not {tags[program.name]}"


def program_tags(node: Node, slot: Slot) -> dict[str, str]:
    """The tags of the programs that serve, to be written down when a generation comes into force."""
    programs = (*node.dispatchers.values(), node.idle, *slot.programs.values())
    return {program.name: program.info.tag for program in programs}


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


def _named_otherwise(view: NodeView) -> Iterator[str]:
    """Filters with a dispatcher's name that are another program, or stand in another place than ours do."""
    ours = view.node.program_ids
    for item in view.hooks.filters:
        name = view.hooks.names.get(item.index, str(item.index))
        if not is_named_ours(item):
            continue
        if item.program != ours.get(item.direction):
            yield f"{name}: another program stands under the {item.direction} dispatcher's name: {item.title}"
        elif (item.priority, item.handle) != (FILTER_PRIORITY, FILTER_HANDLES[item.direction]):
            yield f"{name}: the {item.direction} dispatcher was moved from where it was attached: {item.title}"


def _foreign_lines(view: NodeView, interfaces: Mapping[int, int]) -> Iterator[str]:
    """Foreign programs that are asked before our dispatchers, at interfaces that the tables know."""
    for index, value in interfaces.items():
        if index not in view.hooks.names:
            continue
        name = view.hooks.names[index]
        for item, ours in _before_ours(view.hooks.at(index)):
            yield f"{name}: foreign filter {item.title} is asked before the {ours.direction} dispatcher"
        for direction in WORKLOAD_DIRECTIONS:
            programs = tcx_programs(index, direction)
            if programs:
                ids = ", ".join(map(str, programs))
                yield f"{name}: foreign tcx programs (ids {ids}) are asked before the {direction} dispatcher"
        if value & HOST_INTERFACE:
            yield from _foreign_xdp(view, index, name)


def _before_ours(filters: tuple[Filter, ...]) -> Iterator[tuple[Filter, Filter]]:
    """(foreign filter, dispatcher behind it). Filters come in the order in which the kernel asks them."""
    for place, ours in enumerate(filters):
        if is_named_ours(ours):
            parent = HOOK_PARENT[ours.direction]
            ahead = (item for item in filters[:place] if HOOK_PARENT[item.direction] == parent)
            yield from ((item, ours) for item in ahead if not is_named_ours(item))


def _foreign_xdp(view: NodeView, index: int, name: str) -> Iterator[str]:
    """Where ours stood; elsewhere XDP is none of our business."""
    had = {item.index for item in view.record.interfaces if item.xdp} if view.record is not None else set()
    ours = view.node.program_ids.get("host-xdp")
    for item in view.hooks.xdp:
        if item.index == index and index in had and item.program != ours:
            yield f"{name}: a foreign XDP program (id {item.program}, {item.mode}) stands in the dispatcher's place"


def _places(
    facts: HostFacts, indices: Mapping[int, int], netlink: Netlink
) -> tuple[tuple[str, ...], tuple[str, ...], Discovery | None]:
    """(warnings, drift, where endpoints are): those without an interface, and those whose interface is now another."""
    try:
        discovery = discover(facts.manifest, netlink)
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
