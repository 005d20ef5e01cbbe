"""Taking bpfence off a node: dispatchers, qdiscs of ours, pins, files. The machine is then as it was before the
first apply.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from bpfence.loader.attach import detach_dispatchers, named_attachments, own_attachments, survey_hooks
from bpfence.loader.bpffs import remove_root, unmount_unused
from bpfence.loader.kernel import require_kernel
from bpfence.loader.lock import node_lock
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import Active, NodePaths, open_node
from bpfence.loader.transaction import check_same_network


@dataclass(frozen=True, slots=True)
class UnloadReport:
    """What was there. ``generation`` 0: nothing was in force."""

    generation: int
    detached: tuple[str, ...]
    left: tuple[str, ...]


def unload(paths: NodePaths, force: bool = False) -> UnloadReport:
    """Remove everything of bpfence from the current network namespace, its pins and its files.

    ``force``: also dispatchers of a bpfence whose pins are elsewhere or lost. Raises KernelError; running it again
    goes on.
    """
    require_kernel()
    if not paths.state.exists() and not paths.pins.root.exists() and not force:
        return UnloadReport(0, (), ())
    with ExitStack() as stack:
        folder = paths.folder
        folder.ensure(stack)
        stack.enter_context(node_lock(paths.state))
        netlink = stack.enter_context(Netlink())
        state, node = folder.read(), open_node(paths.pins, stack)
        check_same_network(node, state)
        hooks = survey_hooks(netlink)
        generation = node.active.generation if node else 0
        if node is not None:
            # from here on every packet passes, on all interfaces at once
            node.set_active(Active(0, 0))
        ours = own_attachments(hooks, node.program_ids if node else {})
        named = named_attachments(hooks)
        going = named | ours if force else ours
        detach_dispatchers(netlink, going, state.qdiscs)
        remove_root(paths.pins)
        if state.mounted:
            unmount_unused(state.mounted)
        folder.remove()
        names = tuple(hooks.names.get(index, str(index)) for index in sorted({item.index for item in going}))
        left = tuple(hooks.names.get(index, str(index)) for index in sorted({item.index for item in named - going}))
        return UnloadReport(generation, names, left)
