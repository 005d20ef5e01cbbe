"""What an earlier command left behind, seen and put in order before a transaction begins."""

from __future__ import annotations

from bpfence.errors import KernelError
from bpfence.loader.attach import Hooks, detach_dispatchers, displaced_filters, own_attachments, runs_ours
from bpfence.loader.bpffs import Pins, missing_mount
from bpfence.loader.interfaces import read_interface_table
from bpfence.loader.maps import read_array
from bpfence.loader.namespaces import current_inode
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import Node
from bpfence.loader.state import NodeState, boot_id


def new_state(old: NodeState, pins: Pins) -> NodeState:
    """What is known of a node where nothing is loaded.

    INVARIANT: written before the file system is mounted and before anything is pinned, so that a crash can't lose
    what is ours.
    """
    boot = boot_id()
    mounted = missing_mount(pins) or (old.mounted if old.boot == boot and old.network == current_inode() else "")
    return NodeState(boot=boot, network=current_inode(), mounted=mounted, last_generation=old.last_generation)


def adopted_state(state: NodeState, node: Node, hooks: Hooks) -> NodeState:
    """What is known of a node that is loaded. Without node.json its history begins anew, and which qdiscs are ours is
    forgotten. KernelError when it may be another network namespace that is enforced.
    """
    if state.network:
        return state
    ours = node.program_ids
    serves = own_attachments(hooks, ours) or any(runs_ours(item, ours) for item in hooks.filters)
    if active_interfaces(node) and not serves:
        raise KernelError(
            "node.json is missing, and no interface here has the dispatchers that are pinned: they may serve another "
            "network namespace; enter that one, or run `bpfence unload --force` and apply again"
        )
    return state.model_copy(update={"network": current_inode(), "boot": boot_id()})


def detach_strays(netlink: Netlink, hooks: Hooks, node: Node, state: NodeState) -> bool:
    """Take off dispatchers that an interrupted transaction left on interfaces the active slot does not know. Whether
    there were any. When the pins of that slot are lost, nobody can tell what it knows, and all stay.
    """
    active = node.active
    if active.generation and active.slot not in node.slots:
        return False
    known = active_interfaces(node)
    strays = [item for item in own_attachments(hooks, node.program_ids) if item.index not in known]
    displaced = [item for item in displaced_filters(hooks, node.program_ids) if item.index not in known]
    if strays or displaced:
        detach_dispatchers(netlink, strays, set(state.qdiscs) - known.keys(), displaced)
    return bool(strays or displaced)


def active_interfaces(node: Node) -> dict[int, int]:
    """Interface index -> endpoint of the generation in force, as the kernel's own table says."""
    active = node.active
    slot = node.slots.get(active.slot)
    return read_interface_table(read_array(slot.tables["interfaces"])) if active.generation and slot else {}
