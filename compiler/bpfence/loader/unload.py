"""Taking bpfence off a node: dispatchers, qdiscs of ours, pins, files. The machine is then as it was before the
first apply.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from bpfence.loader.attach import detach_dispatchers, named_attachments, own_attachments, survey_hooks
from bpfence.loader.bpffs import remove_root, unmount_unused
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
            paths.folder.discard_damaged()
        state, node = paths.folder.read(), open_node(paths.pins, stack)
        if not force:
            check_same_network(node, state)
        hooks = survey_hooks(netlink)
        generation = node.active.generation if node else 0
        if node is not None:
            # from here on every packet passes, on all interfaces at once
            node.set_active(Active(0, 0))
        ours = own_attachments(hooks, node.program_ids if node else {})
        named = named_attachments(hooks)
        going = named | ours if force else ours
        qdiscs = {*state.qdiscs, *(item.index for item in going)} if force else state.qdiscs
        detach_dispatchers(netlink, going, qdiscs)
        remove_root(paths.pins)
        if state.mounted:
            unmount_unused(state.mounted)
        paths.folder.remove()
        names = tuple(hooks.names.get(index, str(index)) for index in sorted({item.index for item in going}))
        left = tuple(hooks.names.get(index, str(index)) for index in sorted({item.index for item in named - going}))
        return UnloadReport(generation, names, left)
