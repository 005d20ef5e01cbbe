"""Taking bpfence off a node: dispatchers, qdiscs of ours, pins, files. The machine is then as it was before the
first apply.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from bpfence.loader.attach import (
    Hooks,
    detach_dispatchers,
    is_named_ours,
    named_attachments,
    own_attachments,
    runs_ours,
    survey_hooks,
)
from bpfence.loader.bpffs import XDP_HOOK, remove_root, unmount_unused
from bpfence.loader.kernel import require_kernel
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import Active, NodePaths, check_same_network, open_node
from bpfence.loader.refusals import node_refusals
from bpfence.loader.state import locked_folder


@dataclass(frozen=True, slots=True)
class UnloadReport:
    """What was there. ``generation`` 0: nothing was in force."""

    generation: int
    detached: tuple[str, ...]
    left: tuple[str, ...]


@node_refusals()
def unload(paths: NodePaths, force: bool = False, wait: float = 0.0) -> UnloadReport:
    """Remove everything of bpfence from the current network namespace, its pins and its files.

    ``force``: also dispatchers of a bpfence whose pins are elsewhere or lost, each with a clsact that nobody else uses;
    and without knowing, from a damaged node.json or a network namespace that is gone, what else may be left. Raises
    KernelError; running it again goes on. ``wait``: seconds to wait for another transaction.
    """
    require_kernel()
    if not paths.state.exists() and not paths.pins.root.exists() and not force:
        return UnloadReport(0, (), ())
    with locked_folder(paths.folder, wait):
        return unload_locked(paths, force)


@node_refusals()
def unload_locked(paths: NodePaths, force: bool = False) -> UnloadReport:
    """The same, for a caller who holds the node's lock. The lock's file is gone afterwards."""
    with ExitStack() as stack:
        netlink = stack.enter_context(Netlink())
        if force or not paths.pins.exist:
            paths.folder.discard_damaged(loaded=paths.pins.exist)
        state, node = paths.folder.read(), open_node(paths.pins, stack)
        if not force:
            check_same_network(node, state)
        hooks = survey_hooks(netlink)
        generation = node.active.generation if node else 0
        if node is not None:
            # from here on every packet passes, on all interfaces at once
            node.set_active(Active(0, 0))
        programs = node.program_ids if node else {}
        # each by its own place: nobody vouches that it stands where we attach ours
        filters = {f for f in hooks.filters if runs_ours(f, programs) or (force and is_named_ours(f))}
        named = {item for item in named_attachments(hooks) if item.direction == XDP_HOOK}
        early = {item for item in own_attachments(hooks, programs) if item.direction == XDP_HOOK}
        early |= named if force else set()
        going = {item.index for item in filters} | {item.index for item in early}
        detach_dispatchers(netlink, early, {*state.qdiscs, *going} if force else state.qdiscs, filters)
        remove_root(paths.pins)
        if state.mounted:
            unmount_unused(state.mounted)
        paths.folder.remove()
        staying = {item for item in hooks.filters if is_named_ours(item)} - filters
        left = {item.index for item in staying} | {item.index for item in named - early}
        return UnloadReport(generation, _names(hooks, going), _names(hooks, left))


def _names(hooks: Hooks, indices: Iterable[int]) -> tuple[str, ...]:
    return tuple(hooks.names.get(index, str(index)) for index in sorted(indices))
