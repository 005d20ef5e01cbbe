"""What bringing an artefact into force would change on this node: `LiveDiff`. Reads the kernel, changes nothing.

In: the artefact, and the world it was compiled from where that is known. Out: verdicts, tables, programs, interfaces,
drift and live connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from bpfence.analyse.rule_finder import RuleFinder
from bpfence.analyse.table_diff import VerdictChanges, diff_tables
from bpfence.analyse.table_names import known_names
from bpfence.analyse.table_rows import Rules
from bpfence.emit.artefact import Artefact, Manifest
from bpfence.emit.program import slot_programs
from bpfence.identity.world import World
from bpfence.ir.nodes import Program
from bpfence.loader.attach import Attachment, foreign_filters, own_attachments, survey_hooks
from bpfence.loader.cut_flows import CUT, FlowChange, State, changed_flows
from bpfence.loader.drift import Drift
from bpfence.loader.expected import Expected, expected
from bpfence.loader.interfaces import Discovery, discover, own_tables
from bpfence.loader.kernel import require_kernel
from bpfence.loader.known_interfaces import known_interfaces
from bpfence.loader.live import Live, make_state, read_live
from bpfence.loader.maps import read_array
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import GENERATION_SIZE, NodePaths
from bpfence.loader.slot_pins import same_shape
from bpfence.loader.spare import spare_fits
from bpfence.loader.stage import check_artefact, choose_slot
from bpfence.loader.table_drift import differing
from bpfence.plan.plan import Features


@dataclass(frozen=True, slots=True)
class TableChange:
    """A table that would not be what it is in force now. Sizes in bytes, 0 = there is none. ``differing``: bytes that
    differ, of tables of the same size.
    """

    name: str
    old_size: int
    new_size: int
    differing: int


@dataclass(frozen=True, slots=True)
class Writes:
    """What `apply` would write into the slot that is not in force. ``bytes``: of the tables that differ there;
    ``loaded``: programs compiled and loaded; ``reused``: those that stay, for the slot holds the same shape.
    """

    slot: int
    bytes: int
    loaded: tuple[str, ...]
    reused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LiveDiff:
    """``generation`` 0: nothing is in force. ``drifted``: verdicts that are others than those applied, because tables
    were changed behind bpfence's back. ``attached``, ``detached``: interfaces as ``name (endpoint)``. ``live``,
    ``new``: what was compared.
    """

    live: Live
    artefact: Artefact
    verdicts: VerdictChanges
    drifted: VerdictChanges
    tables: tuple[TableChange, ...]
    programs_changed: bool
    writes: Writes
    attached: tuple[str, ...]
    detached: tuple[str, ...]
    flows: tuple[FlowChange, ...]
    flows_seen: int
    policies_added: tuple[str, ...]
    policies_removed: tuple[str, ...]
    warnings: tuple[str, ...]
    rules: Rules = field(repr=False)
    """who finds the rules that large tables do not keep"""
    expected: Expected = field(repr=False)
    """the node as it was found"""

    @property
    def generation(self) -> int:
        return self.live.generation

    @property
    def drift(self) -> Drift:
        return self.live.drift

    @property
    def cut(self) -> tuple[FlowChange, ...]:
        return tuple(flow for flow in self.flows if flow.outcome == CUT)

    @property
    def empty(self) -> bool:
        """Whether nothing would change, and nothing has been changed behind bpfence's back."""
        moved = self.attached or self.detached or self.flows
        return not (
            self.verdicts or self.verdicts.endpoints_added or self.verdicts.endpoints_removed
            or self.tables or self.programs_changed or moved or self.drift.lines
        )  # fmt: skip


def live_diff(
    paths: NodePaths, artefact: Artefact, world: World | None = None, program: Program | None = None
) -> LiveDiff:
    """Compare the current network namespace's node with an artefact. ``world``, ``program``: what it was compiled from,
    where that is known. Raises KernelError.
    """
    require_kernel()
    check_artefact(artefact)
    with ExitStack() as stack:
        netlink = stack.enter_context(Netlink())
        live = read_live(paths, netlink, stack, (artefact.manifest,))
        return compare(live, artefact, netlink, world, program)


def compare(
    live: Live, artefact: Artefact, netlink: Netlink, world: World | None = None, program: Program | None = None
) -> LiveDiff:
    """The same of a node that has been read."""
    manifest = artefact.manifest
    rules = Rules(RuleFinder(live.program, world), RuleFinder(lambda: program, world))
    discovery = _discovery(live, manifest, netlink)
    images = {**artefact.tables, **own_tables(manifest, discovery)}
    old, new = live.state(), make_state(manifest, images, {item.index: item.title for item in discovery.places})
    applied = live.applied_state()
    verdicts = drifted = VerdictChanges()
    same = _same(live, old, new, images)
    if applied is not None or not same:
        manifests = [one for one in (manifest, live.manifest) if one is not None]
        known = known_names(() if world is None else (world,), manifests)
        verdicts = diff_tables(old.side, new.side, known)
        drifted = drifted if applied is None else diff_tables(applied.side, old.side, known)
    attached, detached, names = _hooks(live, discovery, netlink)
    before = set(live.manifest.policies) if live.manifest else set()
    flows = live.flows()
    changed = () if flows is None or same else changed_flows(flows, old, new, names, rules.after)
    hooks = survey_hooks(netlink) if live.view is None else live.view.hooks
    return LiveDiff(
        live=live,
        artefact=artefact,
        verdicts=verdicts,
        drifted=drifted,
        tables=table_changes(live.images or {}, images),
        programs_changed=live.manifest is None or live.manifest.shape != manifest.shape,
        writes=_writes(live, artefact, images),
        attached=attached,
        detached=detached,
        flows=changed,
        flows_seen=0 if flows is None else len(flows),
        policies_added=tuple(sorted(set(manifest.policies) - before)),
        policies_removed=tuple(sorted(before - set(manifest.policies))),
        warnings=(*discovery.warnings, *foreign_filters(hooks, {item.index for item in discovery.places})),
        rules=rules,
        expected=expected(live, discovery, hooks),
    )


def _discovery(live: Live, manifest: Manifest, netlink: Netlink) -> Discovery:
    """Where the new endpoints are: where the old ones are, if they are the same."""
    known, old = live.drift.discovery, live.manifest
    alike = old is not None and (old.endpoints, old.hosts, old.node_addresses) == (
        manifest.endpoints, manifest.hosts, manifest.node_addresses
    )  # fmt: skip
    if known is not None and alike:
        return known
    view = live.view
    remembered = {} if view is None else known_interfaces(view.node, view.state, view.hooks, view.paths.folder)
    return discover(manifest, netlink, remembered)


def _same(live: Live, old: State, new: State, images: Mapping[str, bytes]) -> bool:
    """Whether no verdict can differ: the same bytes, laid out in the same way, in force for the same endpoints."""
    if live.manifest is None or new.side.manifest is None or old.interfaces != new.interfaces:
        return False
    alike = _layout(live.manifest) == _layout(new.side.manifest) and live.images == images
    return alike and (old.side.places, old.side.host_places) == (new.side.places, new.side.host_places)


def _layout(manifest: Manifest) -> tuple[object, ...]:
    return manifest.features, manifest.geometry


def table_changes(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> tuple[TableChange, ...]:
    """Tables that differ, in the order of the new ones. The header's generation does not count."""
    found = []
    for name in dict.fromkeys((*new, *old)):
        before, after = old.get(name, b""), new.get(name, b"")
        if before == after:
            continue
        count = differing(before, after)[1] if len(before) == len(after) else max(len(before), len(after))
        found.append(TableChange(name, len(before), len(after), count))
    return tuple(found)


def _writes(live: Live, artefact: Artefact, images: Mapping[str, bytes]) -> Writes:
    """As `bpfence.loader.stage` would do it."""
    programs = tuple(name for names in slot_programs(Features(**artefact.manifest.features)).values() for name in names)
    everything = sum(len(image) for image in images.values())
    node = live.node
    if node is None:
        return Writes(0, everything, programs, ())
    number = choose_slot(node.active)
    slot = node.slots.get(number)
    if slot is None or not same_shape(slot, artefact):
        return (
            Writes(number, everything, (), programs)
            if spare_fits(node, artefact)
            else Writes(number, everything, programs, ())
        )
    written = 0
    for name, table in slot.tables.items():
        image = read_array(table)
        if name == "header":
            image = bytes(GENERATION_SIZE) + image[GENERATION_SIZE:]
        written += len(image) if image != images[name] else 0
    return Writes(number, written, (), programs)


def _hooks(
    live: Live, discovery: Discovery, netlink: Netlink
) -> tuple[tuple[str, ...], tuple[str, ...], Mapping[int, str]]:
    """(interfaces that get a dispatcher, those that lose one, names of all)."""
    hooks = survey_hooks(netlink) if live.view is None else live.view.hooks
    ours = own_attachments(hooks, live.node.program_ids) if live.node is not None else frozenset()
    wanted = {Attachment(item.index, way) for item in discovery.places for way in item.directions}
    titles = {item.index: f"{item.name} ({item.title})" for item in discovery.places}
    attached = tuple(titles[index] for index in sorted({item.index for item in wanted - ours}))
    gone = sorted({item.index for item in ours - wanted})
    return attached, tuple(hooks.names.get(index, str(index)) for index in gone), hooks.names
