"""The transaction on the node: an artefact in, the node enforcing it out - or the node as it was.

Preflight touches nothing. Staging, proof and attachment each leave their reverse on an undo stack. The commit is
one store; what comes after it only tidies up. A crash anywhere leaves the old or the new generation wholly in
force; the next command removes what is left over. A signal that would end the process is asked for between two steps
and undoes what was done; after the commit it changes nothing.

An interface that has no dispatcher yet gets one before the commit. Until then its packets pass: the generation in
force does not know it. An interface that is no longer policed loses its dispatcher after the commit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bpfence.collection import collection_paused
from bpfence.emit.artefact import Artefact, Manifest
from bpfence.errors import BpfenceError, KernelError
from bpfence.loader.apply_report import ApplyReport, ApplySettings
from bpfence.loader.attach import (
    Attachment,
    Hooks,
    attach_dispatchers,
    detach_dispatchers,
    displaced_filters,
    foreign_filters,
    own_attachments,
    refuse_conflicts,
    refuse_xdp_conflicts,
    replaced_filters,
    survey_hooks,
)
from bpfence.loader.bpffs import XDP_HOOK, ensure_root, missing_mount
from bpfence.loader.counts import slot_counts, sum_counts
from bpfence.loader.guard import refuse_lock_out
from bpfence.loader.in_force import refuse_other
from bpfence.loader.interfaces import Discovery, discover, own_tables
from bpfence.loader.interrupts import Interrupts, deferred_interrupts
from bpfence.loader.kept import kept_artefact
from bpfence.loader.kernel import require_root
from bpfence.loader.known_interfaces import known_interfaces
from bpfence.loader.netlink import Filter, Netlink
from bpfence.loader.node import Node, NodePaths, check_same_network, open_node
from bpfence.loader.objects import ObjectStore
from bpfence.loader.pending import (
    Timer,
    make_pending,
    overdue_confirmation,
    refuse_pending,
    start_timer,
)
from bpfence.loader.probe_flows import drop_probe_flows
from bpfence.loader.probes import Probe
from bpfence.loader.prove import Proof, prove
from bpfence.loader.ready import Ready, make_ready, nothing_ready
from bpfence.loader.recovery import active_interfaces, adopted_state, detach_strays, new_state
from bpfence.loader.refresh import fits_standby, is_in_force, refreshing_probes
from bpfence.loader.refusals import node_refusals, told_with
from bpfence.loader.runtime import check_runtime, create_runtime
from bpfence.loader.serving import kernel_ids, program_tags
from bpfence.loader.spare import provide_spare
from bpfence.loader.stage import Staged, check_artefact, choose_slot, drop_leftovers, stage
from bpfence.loader.standby import Standby
from bpfence.loader.state import (
    AUTOMATIC,
    AttachedInterface,
    GenerationRecord,
    NodeState,
    PendingConfirmation,
    StateFolder,
    locked_folder,
)
from bpfence.loader.unload import unload_locked
from bpfence.timing import Stopwatch

__all__ = ["ApplyReport", "ApplySettings", "apply", "refresh", "settled_node", "take_back", "transact"]


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
    interrupts: Interrupts
    proofs: list[Proof]
    timer: Timer | None
    ready: Ready
    pending: PendingConfirmation | None = None
    programs_ahead: int = 0

    def write_state(self, *, durable: bool = False, **changes: object) -> None:
        changed = self.state.model_copy(update=changes)
        if changed != self.state:
            self.state = changed
            self.settings.paths.folder.write(changed, durable=durable)


@node_refusals()
def apply(artefact: Artefact, settings: ApplySettings, watch: Stopwatch | None = None) -> ApplyReport:
    """Bring an artefact into force in the current network namespace. Raises BpfenceError; the node is then as it
    was before.

    A generation whose confirmation is overdue is taken back first; while one still waits for its confirmation, this is
    refused.
    """
    watch = watch or Stopwatch()
    with watch.stage("preflight"):
        require_root()
        check_artefact(artefact)
    with settled_node(settings) as late:
        if settings.replaces is not None:
            refuse_other(settings.paths, settings.replaces)
        report = transact(artefact, settings, watch)
    return replace(report, warnings=(*late, *report.warnings))


@contextmanager
def settled_node(settings: ApplySettings) -> Iterator[tuple[str, ...]]:
    """Hold the lock of a node where nothing waits for a confirmation. Gives a line for what was taken back because
    its confirmation was overdue. Raises LockHeld, and KernelError while a confirmation is not overdue.
    """
    late: list[str] = []
    with told_with(late), node_refusals():
        while True:
            with locked_folder(settings.paths.folder, settings.wait):
                if not settings.paths.pins.exist:
                    settings.paths.folder.discard_damaged(loaded=False)
                overdue = overdue_confirmation(settings.paths)
                if overdue is None:
                    refuse_pending(settings.paths)
                    yield tuple(late)
                    return
                if settings.dry_run:
                    raise KernelError(
                        f"generation {overdue.generation} was not confirmed in time and is still in force; "
                        "run `bpfence rollback` first"
                    )
                take_back(settings.paths, overdue)
            # taking back may have removed the folder and the lock with it: start again
            late.append(f"generation {overdue.generation} was not confirmed in time and has been taken back first")


def take_back(paths: NodePaths, pending: PendingConfirmation, artefact: Artefact | None = None) -> None:
    """Put back what was in force before a generation that was not confirmed. The caller holds the node's lock.

    ``artefact``: that of the generation to go back to, if it was read before. No lock-out guard: this is the way out.
    Raises BpfenceError; the failure is noted for `status` too, and the next command tries again.
    """
    settings = ApplySettings(paths, force=True, repeats=pending.back_to, takes_back=pending.generation, by=AUTOMATIC)
    try:
        if not pending.back_to:
            unload_locked(paths)
            return
        earlier = artefact or kept_artefact(paths.folder, pending.back_to)
        check_artefact(earlier)
        transact(earlier, settings, Stopwatch())
    except BpfenceError as error:
        folder = paths.folder
        failed = pending.model_copy(update={"failure": str(error)})
        if folder.in_use and folder.read().pending != failed:
            folder.write(folder.read().model_copy(update={"pending": failed}))
        raise


@node_refusals()
def transact(artefact: Artefact, settings: ApplySettings, watch: Stopwatch) -> ApplyReport:
    """The transaction proper. The caller holds the node's lock and has checked the artefact."""
    with _begun(artefact, settings, watch) as t:
        report = _run(t)
    if not settings.dry_run and t.interrupts.caught:
        late = f"generation {report.generation} is in force: the signal that asked to stop came too late"
        return replace(report, warnings=(*report.warnings, late))
    return report


@node_refusals()
def refresh(artefact: Artefact, settings: ApplySettings) -> ApplyReport | None:
    """Follow the node: the artefact in force anew, for the interfaces and addresses that there are now. None when
    nothing has changed. Raises BpfenceError, among others `NoLongerInForce`, and `AwaitsConfirmation` while a
    confirmation is not settled; the node is then as it was.

    INVARIANT: the artefact is the one in force, which a transaction has checked, proved and asked the guard about: that
    is why none of it is done again.
    """
    settings = replace(settings, refreshes=True)
    with locked_folder(settings.paths.folder, settings.wait):
        refuse_pending(settings.paths)
        refuse_other(settings.paths, (artefact.manifest.content,))
        with _begun(artefact, settings, Stopwatch()) as t:
            moved = _missing(t) or _retired(t) or _displaced(t)
            if is_in_force(artefact, t.node, t.state, t.discovery) and not moved:
                return None
            return _run(t)


@contextmanager
def _begun(artefact: Artefact, settings: ApplySettings, watch: Stopwatch) -> Iterator[_Transaction]:
    """A transaction for the block, after the preflight. When the block fails, and after a dry run, all is undone."""
    with collection_paused(), deferred_interrupts() as interrupts, ExitStack() as stack, ExitStack() as undo:
        timer = start_timer(stack) if settings.confirm_within and not settings.dry_run else None
        proofs: list[Proof] = []
        # first of all, so that it comes after node.json is what it was
        undo.callback(_remember_probes, settings.paths.folder, proofs)
        with watch.stage("ready"):
            folder = settings.paths.folder
            ready = (
                nothing_ready(artefact)
                if settings.refreshes
                else make_ready(artefact, folder, undo, write=not settings.dry_run)
            )
        survey = _prepare(artefact, settings, undo, stack, watch)
        yield _Transaction(artefact, settings, *survey, undo, stack, watch, interrupts, proofs, timer, ready)
        if settings.dry_run:
            undo.close()
        undo.pop_all()


def _in_force(folder: StateFolder, node: Node | None) -> Artefact | None:
    """The artefact in force; None when there is none, or none that can be read."""
    if node is None or not node.active.generation:
        return None
    with suppress(KernelError):
        return kept_artefact(folder, node.active.generation)
    return None


def _prepare(
    artefact: Artefact, settings: ApplySettings, undo: ExitStack, stack: ExitStack, watch: Stopwatch
) -> tuple[Netlink, Node, NodeState, Hooks, Discovery]:
    """The rest of the preflight; then what a crash left is removed, and bpfence's shared state made when missing."""
    pins, folder = settings.paths.pins, settings.paths.folder
    netlink = stack.enter_context(Netlink())
    with watch.stage("kernel"), netlink.remembering():
        state = folder.read()
        node = open_node(pins, stack)
        check_same_network(node, state)
        hooks = survey_hooks(netlink)
        discovery = discover(artefact.manifest, netlink, known_interfaces(node, state, hooks, folder))
        own_tables(artefact.manifest, discovery)
        # what only follows the node's interfaces is in force already
        if not settings.force and not settings.refreshes:
            refuse_lock_out(artefact, discovery, netlink, os.environ, lambda: _in_force(folder, node))
        if settings.expected is not None:
            settings.expected.refuse_moved(settings.paths, node, state, hooks, netlink, discovery)
        ours = node.program_ids if node else {}
        refuse_conflicts(hooks, _indices(discovery), ours)
        refuse_xdp_conflicts(hooks, {item.index for item in discovery.hosts if item.drops_early}, ours)
    with watch.stage("kernel"):
        mounted = missing_mount(pins)
        folder.restore_on(undo, state, lambda: bool(mounted) and Path(mounted).is_mount())
        if node is None:
            state = new_state(state, pins)
            folder.write(state)
            ensure_root(pins, undo)
            node = create_runtime(pins, artefact.programs["dispatcher.c"], undo, stack)
        else:
            check_runtime(pins, artefact.programs["dispatcher.c"])
            state = adopted_state(state, node, hooks)
            if detach_strays(netlink, hooks, node, state):
                hooks = survey_hooks(netlink)
        drop_leftovers(pins)
        drop_probe_flows(node)
        folder.forget_unfinished(node.active.generation, state)
    return netlink, node, state, hooks, discovery


def _run(t: _Transaction) -> ApplyReport:
    """Stage, prove, attach, commit, tidy up."""
    active = t.node.active
    earlier = t.ready.manifest_of
    before = t.artefact.manifest if t.settings.refreshes else earlier(t.settings.paths.folder, active.generation)
    with t.watch.stage("kernel"):
        standby = Standby(t.node, t.state, t.undo)
        if t.settings.refreshes and fits_standby(t.artefact, t.node):
            probes = refreshing_probes(t.artefact, t.discovery, active_interfaces(t.node))
        else:
            probes = t.ready.probes.for_node(t.discovery, proved=fits_standby(t.artefact, t.node))
        standby.wait(t.netlink)
        own = own_tables(t.artefact.manifest, t.discovery)
        store = ObjectStore(t.settings.paths.folder.objects)
        number = choose_slot(active)
        _keep_counts(t, number)
        t.interrupts.check()
        staged = stage(t.node, number, t.artefact, own, t.undo, t.stack, store)
        t.interrupts.check()
        proof = prove(staged.slot, probes, t.node.maps["connections"])
        t.proofs.append(proof)
        missing, retired = _missing(t), _retired(t)
        generation = 1 + max(
            t.state.last_generation, active.generation, *(slot.generation for slot in t.node.slots.values()), 0
        )
        t.interrupts.check()
        late: tuple[str, ...] = ()
        if not t.settings.dry_run:
            late = _attach(t, missing, proof)
            t.interrupts.check()
            _commit(t, staged, generation)
    if not t.settings.dry_run:
        with t.watch.stage("tidy"):
            late = (*late, *_tidy(t, retired, generation))
        with t.watch.stage("spare"):
            late = (*late, *_provide_spare(t, staged, {**t.artefact.tables, **own}, probes, store))
    return _report(t, staged, (generation, active.generation), before, (missing, retired), late, proof.sent)


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

    places = _indices(t.discovery)
    displaced = [item for item in _displaced(t) if item.index in places]
    with replaced_filters(t.netlink, displaced, t.node.dispatchers, t.undo):
        return attach_dispatchers(t.netlink, missing, t.hooks, t.node.dispatchers, t.undo, record)


def _commit(t: _Transaction, staged: Staged, generation: int) -> None:
    """Write down what comes into force, then bring it into force with one store."""
    folder, manifest = t.settings.paths.folder, t.artefact.manifest
    t.undo.callback(folder.forget, generation)
    if not (t.settings.refreshes and folder.link_generation(t.node.active.generation, generation, manifest.content)):
        t.ready.place(folder, generation)
    xdp = _xdp_modes(t) if any(XDP_HOOK in one.directions for one in t.discovery.places) else {}
    interfaces = tuple(
        AttachedInterface(
            index=one.index, name=one.name, endpoint=one.title, xdp=xdp.get(one.index, ""), hardware=one.hardware
        )
        for one in t.discovery.places
    )
    before = t.node.active.generation
    coming = t.node.active.successor(generation, staged.slot.number)
    record = GenerationRecord(
        number=generation, since=time.time(), content=manifest.content, shape=manifest.shape,
        slot=staged.slot.number, interfaces=interfaces, repeats=t.settings.repeats, takes_back=t.settings.takes_back,
        refreshes=before if t.settings.refreshes else 0, by=t.settings.by, tags=program_tags(t.node, staged.slot),
        ids=kernel_ids(t.node, staged.slot), mark=coming.number, addresses=t.discovery.addresses
    )  # fmt: skip
    # a record beyond it was written by a command that died before its commit
    on_disk = folder.kept()
    kept = tuple(one for one in t.state.generations if one.number in on_disk and one.number <= before)
    t.pending = _armed(t, generation, before)
    committed = time.clock_gettime(time.CLOCK_BOOTTIME)
    moments = {"committed": committed, "committed_before": t.state.committed or committed}
    known = {
        "last_generation": generation,
        "generations": (*kept, record),
        "pending": t.pending or _still_pending(t.state, before),
        **moments,
    }
    t.write_state(durable=not t.settings.refreshes, **known)
    staged.slot.set_generation(generation)
    # once the word is stored, undoing would destroy what is in force
    t.node.set_active(coming, t.undo.pop_all)


def _still_pending(state: NodeState, before: int) -> PendingConfirmation | None:
    """The confirmation of the generation that is about to be taken back. INVARIANT: it goes after the commit only, so
    that a crash in between does not leave that generation in force for good.
    """
    return state.pending if state.pending is not None and state.pending.generation == before else None


def _xdp_modes(t: _Transaction) -> dict[int, str]:
    """Interface -> the mode in which our XDP dispatcher runs there."""
    ours = t.node.program_ids[XDP_HOOK]
    return {item.index: item.mode for item in t.netlink.xdp_programs() if item.program == ours}


def _armed(t: _Transaction, generation: int, before: int) -> PendingConfirmation | None:
    """The confirmation that the generation waits for, with a timer that is ready to take it back."""
    if t.timer is None:
        return None
    pending = make_pending(generation, before, t.settings.confirm_within)
    t.timer.arm(t.settings.paths, pending)
    return pending


def _tidy(t: _Transaction, retired: frozenset[Attachment], generation: int) -> tuple[str, ...]:
    """What the new generation no longer needs. It is in force already: a failure here is told, not undone."""
    try:
        places = _indices(t.discovery)
        strays = [item for item in _displaced(t) if item.index not in places]
        gone = detach_dispatchers(t.netlink, retired, set(t.state.qdiscs) - places, strays)
        there = t.netlink.ingress_qdiscs()  # those of interfaces that are gone went with them
        qdiscs = tuple(index for index in t.state.qdiscs if index in there and index not in gone)
        t.write_state(qdiscs=qdiscs, pending=t.pending)
        drop_leftovers(t.node.pins)
        t.settings.paths.folder.forget_generations(generation, t.state.generations)
    except Exception as error:  # noqa: BLE001 - whatever it is, what is in force must not be taken for failed
        return (f"generation {generation} is in force, but tidying up failed: {error}",)
    return ()


def _provide_spare(
    t: _Transaction, staged: Staged, images: dict[str, bytes], probes: tuple[Probe, ...], store: ObjectStore
) -> tuple[str, ...]:
    """Programs for the next change of bytes; a line when they could not be loaded."""
    if t.interrupts.caught:
        return ()
    try:
        standby = t.node.slots.get(1 - staged.slot.number)
        t.programs_ahead, proof = provide_spare(t.node, standby, t.artefact, images, probes, store)
        if proof is not None:
            t.write_state(probes=sum_counts(t.state.probes, proof.of_nobody))
    except Exception as error:  # noqa: BLE001 - the same; the next change will load its programs itself
        return (f"the next change will take longer: its programs could not be loaded ahead: {error}",)
    return ()


def _indices(discovery: Discovery) -> set[int]:
    return {item.index for item in discovery.places}


def _wanted(t: _Transaction) -> frozenset[Attachment]:
    return frozenset(Attachment(item.index, way) for item in t.discovery.places for way in item.directions)


def _missing(t: _Transaction) -> frozenset[Attachment]:
    return _wanted(t) - own_attachments(t.hooks, t.node.program_ids)


def _retired(t: _Transaction) -> frozenset[Attachment]:
    return own_attachments(t.hooks, t.node.program_ids) - _wanted(t)


def _displaced(t: _Transaction) -> tuple[Filter, ...]:
    return displaced_filters(t.hooks, t.node.program_ids)


def _remember_probes(folder: StateFolder, proofs: list[Proof]) -> None:
    """What is undone leaves no trace but packets in the shared counters; `status` takes them off again."""
    for proof in proofs:
        if proof.of_nobody and folder.in_use:
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
        programs_ahead=t.programs_ahead,
        table_bytes=staged.table_bytes,
        probes=counts,
        attached=tuple(owners[index] for index in sorted(attached)),
        detached=tuple(t.hooks.names.get(index, str(index)) for index in sorted(detached)),
        endpoints=len(t.discovery.found),
        policies=len(new),
        policies_added=tuple(sorted(new - old)),
        policies_removed=tuple(sorted(old - new)),
        warnings=(*t.discovery.warnings, *foreign_filters(t.hooks, _indices(t.discovery), t.node.program_ids), *late),
        seconds=dict(t.watch.seconds),
        pending=t.pending,
    )
