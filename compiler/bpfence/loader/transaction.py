"""The transaction on the node: an artefact in, the node enforcing it out - or the node as it was.

Preflight touches nothing. Staging, proof and attachment each leave their reverse on an undo stack. The commit is
one store; what comes after it only tidies up. A crash anywhere leaves the old or the new generation wholly in
force; the next command removes what is left over.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from pydantic import ValidationError

from bpfence.emit.artefact import Artefact, Manifest
from bpfence.emit.folder import MANIFEST, write_artefact
from bpfence.errors import KernelError
from bpfence.loader.attach import (
    Attachment,
    Hooks,
    attach_dispatchers,
    detach_dispatchers,
    foreign_filters,
    own_attachments,
    refuse_conflicts,
    refuse_xdp_conflicts,
    survey_hooks,
)
from bpfence.loader.bpffs import XDP_HOOK, ensure_root
from bpfence.loader.counts import slot_counts, sum_counts
from bpfence.loader.guard import refuse_host_lock_out, refuse_lock_out
from bpfence.loader.host_probes import make_host_probes
from bpfence.loader.interfaces import Discovery, discover, own_addresses, own_tables, read_interface_table
from bpfence.loader.kernel import require_kernel
from bpfence.loader.lock import node_lock
from bpfence.loader.maps import read_array
from bpfence.loader.namespaces import current_inode
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import Active, Node, NodePaths, open_node
from bpfence.loader.objects import ObjectStore
from bpfence.loader.probes import make_probes
from bpfence.loader.prove import Proof, prove
from bpfence.loader.runtime import check_runtime, create_runtime
from bpfence.loader.stage import Staged, check_artefact, choose_slot, drop_leftovers, stage, wait_for_packets
from bpfence.loader.state import AttachedInterface, GenerationRecord, NodeState
from bpfence.timing import Stopwatch


@dataclass(frozen=True, slots=True)
class ApplySettings:
    """``dry_run``: everything up to and including the proof, then undo. ``force``: the lock-out guard lets it pass.
    ``repeats``: the earlier generation whose artefact this is.
    """

    paths: NodePaths = field(default_factory=NodePaths)
    dry_run: bool = False
    force: bool = False
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """What a transaction did. Interfaces are given as ``name (endpoint)``; ``before``: generation that was in
    force, 0 for none.
    """

    generation: int
    before: int
    slot: int
    dry_run: bool
    shape_reused: bool
    programs_loaded: int
    table_bytes: int
    probes: dict[str, int]
    attached: tuple[str, ...]
    detached: tuple[str, ...]
    endpoints: int
    policies: int
    policies_added: tuple[str, ...]
    policies_removed: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: dict[str, float]


@dataclass(slots=True)
class _Transaction:
    """What the steps of one transaction share."""

    artefact: Artefact
    settings: ApplySettings
    netlink: Netlink
    node: Node
    state: NodeState
    hooks: Hooks
    discovery: Discovery
    undo: ExitStack
    stack: ExitStack
    watch: Stopwatch

    def write_state(self, **changes: object) -> None:
        self.state = self.state.model_copy(update=changes)
        self.settings.paths.folder.write(self.state)


def apply(artefact: Artefact, settings: ApplySettings, watch: Stopwatch | None = None) -> ApplyReport:
    """Bring an artefact into force in the current network namespace. Raises BpfenceError; the node is then as it
    was before.
    """
    watch = watch or Stopwatch()
    with watch.stage("preflight"):
        require_kernel()
        check_artefact(artefact)
        if not settings.force:
            refuse_lock_out(artefact, os.environ)
    folder = settings.paths.folder
    with ExitStack() as stack, ExitStack() as undo:
        folder.ensure(undo)
        stack.enter_context(node_lock(settings.paths.state))
        transaction = _prepare(artefact, settings, undo, stack, watch)
        report, proof = _run(transaction)
        if settings.dry_run:
            undo.close()
            _remember_probes(transaction, report.before, proof)
        undo.pop_all()
    return report


def _prepare(
    artefact: Artefact, settings: ApplySettings, undo: ExitStack, stack: ExitStack, watch: Stopwatch
) -> _Transaction:
    """The rest of the preflight; then what a crash left is removed, and bpfence's shared state made when missing."""
    pins, folder = settings.paths.pins, settings.paths.folder
    netlink = stack.enter_context(Netlink())
    with watch.stage("preflight"):
        state = folder.read()
        discovery = discover(artefact.manifest, netlink)
        own_tables(artefact.manifest, discovery)
        if not settings.force:
            refuse_host_lock_out(artefact, discovery.hosts, netlink.own_addresses(), os.environ)
        node = open_node(pins, stack)
        check_same_network(node, state)
        hooks = survey_hooks(netlink)
        ours = node.program_ids if node else {}
        refuse_conflicts(hooks, _indices(discovery), ours)
        refuse_xdp_conflicts(hooks, {item.index for item in discovery.hosts if item.drops_early}, ours)
    with watch.stage("kernel"):
        folder.restore_on(undo)
        if node is None:
            mounted = ensure_root(pins, undo)
            state = NodeState(network=current_inode(), mounted=mounted, last_generation=state.last_generation)
            node = create_runtime(pins, artefact.programs["dispatcher.c"], undo, stack)
        else:
            check_runtime(pins, artefact.programs["dispatcher.c"])
            detach_strays(netlink, hooks, node, state)
        drop_leftovers(pins)
    return _Transaction(artefact, settings, netlink, node, state, survey_hooks(netlink), discovery, undo, stack, watch)


def _run(t: _Transaction) -> tuple[ApplyReport, Proof]:
    """Stage, prove, attach, commit, tidy up."""
    active = t.node.active
    before = _manifest_of(t, active.generation)
    with t.watch.stage("kernel"):
        wait_for_packets(t.state.committed)
        own = own_tables(t.artefact.manifest, t.discovery)
        store = ObjectStore(t.settings.paths.folder.objects)
        number = choose_slot(active)
        _keep_counts(t, number)
        staged = stage(t.node, number, t.artefact, own, t.undo, t.stack, store)
    with t.watch.stage("prove"):
        there = own_addresses(t.artefact.manifest, t.discovery)
        probes = (*make_probes(t.artefact, t.discovery.found, there), *make_host_probes(t.artefact, t.discovery))
        proof = prove(staged.slot, probes, t.node.maps["connections"])
    with t.watch.stage("kernel"):
        missing, retired = _missing(t), _retired(t)
        generation = 1 + max(
            t.state.last_generation, active.generation, *(slot.generation for slot in t.node.slots.values()), 0
        )
        late: tuple[str, ...] = ()
        if not t.settings.dry_run:
            late = _attach(t, missing, proof)
            _commit(t, staged, generation)
            late = (*late, *_tidy(t, retired, generation))
    report = _report(t, staged, (generation, active.generation), before, (missing, retired), late, proof.sent)
    return report, proof


def _keep_counts(t: _Transaction, number: int) -> None:
    """What the slot's generation has counted is written down before the slot gets another.

    The generation's number goes with it: whoever adds up knows then which slot is in the sum already.
    """
    slot = t.node.slots.get(number)
    generation = slot.generation if slot else 0
    if slot is None or generation in (0, t.state.folded_generation):
        return
    t.write_state(folded=sum_counts(t.state.folded, slot_counts(slot.counters)), folded_generation=generation)


def _attach(t: _Transaction, missing: frozenset[Attachment], proof: Proof) -> tuple[str, ...]:
    """Dispatchers on interfaces that have none. The active slot does not know these interfaces: their packets pass
    until the commit.
    """
    t.write_state(probes=sum_counts(t.state.probes, proof.of_nobody))

    def record(index: int) -> None:
        t.write_state(qdiscs=tuple(sorted({*t.state.qdiscs, index})))

    programs = {direction: program.fd for direction, program in t.node.dispatchers.items()}
    return attach_dispatchers(t.netlink, missing, t.hooks, programs, t.undo, record)


def _commit(t: _Transaction, staged: Staged, generation: int) -> None:
    """Write down what comes into force, then bring it into force with one store."""
    folder, manifest = t.settings.paths.folder, t.artefact.manifest
    t.undo.callback(folder.forget, generation)
    write_artefact(t.artefact, folder.generation(generation))
    xdp = {item.index: item.mode for item in t.netlink.xdp_programs() if item.program == t.node.program_ids[XDP_HOOK]}
    interfaces = tuple(
        AttachedInterface(index=one.index, name=one.name, endpoint=one.title, xdp=xdp.get(one.index, ""))
        for one in t.discovery.places
    )
    record = GenerationRecord(
        number=generation, since=time.time(), content=manifest.content, shape=manifest.shape,
        slot=staged.slot.number, interfaces=interfaces, repeats=t.settings.repeats
    )  # fmt: skip
    before = t.node.active.generation
    # a record beyond it was written by a command that died before its commit
    kept = tuple(one for one in t.state.generations if one.number in folder.kept() and one.number <= before)
    committed = time.clock_gettime(time.CLOCK_BOOTTIME)
    t.write_state(last_generation=generation, committed=committed, generations=(*kept, record))
    staged.slot.set_generation(generation)
    t.node.set_active(Active(generation, staged.slot.number))


def _tidy(t: _Transaction, retired: frozenset[Attachment], generation: int) -> tuple[str, ...]:
    """What the new generation no longer needs. It is in force already: a failure here is told, not undone."""
    try:
        gone = detach_dispatchers(t.netlink, retired, set(t.state.qdiscs) - _indices(t.discovery))
        t.write_state(qdiscs=tuple(index for index in t.state.qdiscs if index not in gone))
        drop_leftovers(t.node.pins)
        t.settings.paths.folder.forget_generations(generation)
    except (KernelError, OSError) as error:
        return (f"generation {generation} is in force, but tidying up failed: {error}",)
    return ()


def detach_strays(netlink: Netlink, hooks: Hooks, node: Node, state: NodeState) -> None:
    """Take off dispatchers that an interrupted transaction left on interfaces the active slot does not know."""
    known = active_interfaces(node)
    strays = [item for item in own_attachments(hooks, node.program_ids) if item.index not in known]
    if strays:
        detach_dispatchers(netlink, strays, set(state.qdiscs) - known.keys())


def active_interfaces(node: Node) -> dict[int, int]:
    """Interface index -> endpoint of the generation in force, as the kernel's own table says."""
    active = node.active
    slot = node.slots.get(active.slot)
    return read_interface_table(read_array(slot.tables["interfaces"])) if active.generation and slot else {}


def check_same_network(node: Node | None, state: NodeState) -> None:
    """Raise KernelError when the pins belong to another network namespace than the current one."""
    if node is not None and state.network not in (0, current_inode()):
        raise KernelError(
            "bpfence is loaded for another network namespace with these --bpffs and --state; enter that one "
            "(nsenter --net=...) or give this one folders of its own"
        )


def _indices(discovery: Discovery) -> set[int]:
    return {item.index for item in discovery.places}


def _wanted(t: _Transaction) -> frozenset[Attachment]:
    return frozenset(Attachment(item.index, way) for item in t.discovery.places for way in item.directions)


def _missing(t: _Transaction) -> frozenset[Attachment]:
    return _wanted(t) - own_attachments(t.hooks, t.node.program_ids)


def _retired(t: _Transaction) -> frozenset[Attachment]:
    return own_attachments(t.hooks, t.node.program_ids) - _wanted(t)


def _manifest_of(t: _Transaction, generation: int) -> Manifest | None:
    """The manifest of an earlier generation; None when its artefact is gone or unreadable."""
    path = t.settings.paths.folder.generation(generation) / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _remember_probes(t: _Transaction, before: int, proof: Proof) -> None:
    """A dry run on a loaded node leaves no trace but packets in the shared counters; `status` takes them off again."""
    if before and proof.of_nobody:
        folder = t.settings.paths.folder
        state = folder.read()
        folder.write(state.model_copy(update={"probes": sum_counts(state.probes, proof.of_nobody)}))


def _report(
    t: _Transaction,
    staged: Staged,
    generations: tuple[int, int],
    before: Manifest | None,
    moved: tuple[frozenset[Attachment], frozenset[Attachment]],
    late: tuple[str, ...],
    counts: dict[str, int],
) -> ApplyReport:
    owners = {item.index: f"{item.name} ({item.title})" for item in t.discovery.places}
    new, old = set(t.artefact.manifest.policies), set(before.policies if before else ())
    attached, detached = ({item.index for item in items} for items in moved)
    return ApplyReport(
        generation=generations[0],
        before=generations[1],
        slot=staged.slot.number,
        dry_run=t.settings.dry_run,
        shape_reused=staged.shape_reused,
        programs_loaded=staged.programs_loaded,
        table_bytes=staged.table_bytes,
        probes=counts,
        attached=tuple(owners[index] for index in sorted(attached)),
        detached=tuple(t.hooks.names.get(index, str(index)) for index in sorted(detached)),
        endpoints=len(t.discovery.found),
        policies=len(new),
        policies_added=tuple(sorted(new - old)),
        policies_removed=tuple(sorted(old - new)),
        warnings=(*t.discovery.warnings, *foreign_filters(t.hooks, _indices(t.discovery)), *late),
        seconds=dict(t.watch.seconds),
    )
