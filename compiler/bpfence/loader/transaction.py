"""The transaction on the node: an artefact in, the node enforcing it out - or the node as it was.

Preflight touches nothing. Staging, proof and attachment each leave their reverse on an undo stack. The commit is one store; what comes
after it only tidies up. A crash anywhere leaves the old or the new generation wholly in force; the next command removes what is left over.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from bpfence.emit.artefact import Artefact, Manifest
from bpfence.emit.folder import write_artefact
from bpfence.errors import KernelError
from bpfence.loader.attach import (
    DIRECTIONS,
    Attachment,
    Hooks,
    attach_dispatchers,
    detach_dispatchers,
    foreign_filters,
    own_attachments,
    refuse_conflicts,
    survey_hooks,
)
from bpfence.loader.bpffs import ensure_root
from bpfence.loader.guard import refuse_lock_out
from bpfence.loader.interfaces import Discovery, discover_interfaces, interface_table, read_interface_table
from bpfence.loader.kernel import require_kernel
from bpfence.loader.lock import node_lock
from bpfence.loader.maps import read_array
from bpfence.loader.namespaces import current_inode
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import Active, Node, NodePaths, open_node
from bpfence.loader.prove import make_probes, prove
from bpfence.loader.runtime import create_runtime, remove_runtime
from bpfence.loader.stage import Staged, check_artefact, choose_slot, drop_leftovers, stage, wait_for_packets
from bpfence.loader.state import AttachedInterface, GenerationRecord, NodeState
from bpfence.timing import Stopwatch


@dataclass(frozen=True, slots=True)
class ApplySettings:
    """``dry_run``: everything up to and including the proof, then undo. ``force``: the lock-out guard lets it pass."""

    paths: NodePaths = field(default_factory=NodePaths)
    dry_run: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """What a transaction did. Interfaces are given as ``name (endpoint)``; ``before``: generation that was in force, 0 for none."""

    generation: int
    before: int
    slot: int
    dry_run: bool
    shape_reused: bool
    programs_loaded: int
    table_bytes: int
    probes: int
    attached: tuple[str, ...]
    detached: tuple[str, ...]
    endpoints: int
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
    """Bring an artefact into force in the current network namespace. Raises BpfenceError; the node is then as it was before."""
    watch = watch or Stopwatch()
    with watch.stage("preflight"):
        require_kernel()
        check_artefact(artefact)
        if not settings.force:
            refuse_lock_out(artefact, os.environ)
    paths = settings.paths
    with ExitStack() as undo, ExitStack() as stack:
        paths.folder.ensure(undo)
        stack.enter_context(node_lock(paths.state))
        netlink = stack.enter_context(Netlink())
        transaction = _prepare(artefact, settings, netlink, undo, stack, watch)
        report = _run(transaction)
        if not settings.dry_run:
            undo.pop_all()
    return report


def _prepare(
    artefact: Artefact, settings: ApplySettings, netlink: Netlink, undo: ExitStack, stack: ExitStack, watch: Stopwatch
) -> _Transaction:
    """The rest of the preflight, and bpfence's shared state, made when missing."""
    paths = settings.paths
    with watch.stage("preflight"):
        state = paths.folder.read()
        discovery = discover_interfaces(artefact.manifest.endpoints, netlink)
        interface_table(discovery.found, artefact.manifest.geometry["interfaces"])
        node = open_node(paths.pins, stack)
        _refuse_other_network(node, state)
        refuse_conflicts(survey_hooks(netlink), _indices(discovery), node.program_ids if node else {})
    with watch.stage("kernel"):
        if node is None:
            state = state.model_copy(update={"network": current_inode(), "qdiscs": (), "probes": {}, "generations": ()})
            mounted = ensure_root(paths.pins, undo)
            node, state = create_runtime(paths.pins, artefact, state, undo, stack), state.model_copy(update={"mounted": mounted})
        drop_leftovers(paths.pins)
    transaction = _Transaction(artefact, settings, netlink, node, state, survey_hooks(netlink), discovery, undo, stack, watch)
    detach_strays(netlink, node, state)
    transaction.hooks = survey_hooks(netlink)
    return transaction


def _run(t: _Transaction) -> ApplyReport:
    active = t.node.active
    number = choose_slot(active)
    before = _manifest_of(t, active.generation)
    with t.watch.stage("kernel"):
        wait_for_packets(t.state.committed)
        table = interface_table(t.discovery.found, t.artefact.manifest.geometry["interfaces"])
        staged = stage(t.node, number, t.artefact, table, t.undo, t.stack)
    with t.watch.stage("prove"):
        probes = make_probes(t.artefact, t.discovery.found)
        counts = prove(staged.slot, probes, t.node.maps["connections"])
    missing = _missing(t)
    generation = _next_generation(t)
    warnings = [*t.discovery.warnings, *foreign_filters(t.hooks, _indices(t.discovery))]
    retired = _retired(t)
    if not t.settings.dry_run:
        _attach(t, missing, counts)
        _commit(t, staged, generation)
        warnings += _tidy(t, retired, generation)
    elif active.generation:
        t.write_state(probes=_sum(t.state.probes, counts))
    return _report(t, staged, generation, active, before, missing, retired, warnings, sum(counts.values()))
