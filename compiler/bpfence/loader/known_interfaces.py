"""Which interfaces the generation in force has its endpoints on: the node as it is loaded in, `KnownInterface`s out.

What leads to an endpoint may go while its interface stays: a neighbour entry ends when a pod does not answer, a bridge
forgets who is silent. So what was found once is remembered for as long as the interface is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfence.loader.attach import Hooks, own_attachments, runs_ours
from bpfence.loader.kept import kept_manifest
from bpfence.loader.node import Node
from bpfence.loader.recovery import active_interfaces
from bpfence.loader.state import NodeState, StateFolder
from bpfence.plan.layout import HOST_INTERFACE

if TYPE_CHECKING:
    from bpfence.loader.netlink import Link


@dataclass(frozen=True, slots=True)
class KnownInterface:
    """An endpoint's interface in the generation in force. ``attached``: one of our dispatchers stands there now.
    ``hardware``: its address, empty when nobody wrote it down.
    """

    index: int
    name: str
    hardware: str
    attached: bool

    def is_still(self, link: Link) -> bool:
        """Whether a link is this interface, and not another one that got its number.

        Filters go with their interface, so a dispatcher that stands there tells as much as a name or an address. Two
        of the three must agree: each of them can change, or be the same at every interface of a node.
        """
        same_address = bool(self.hardware) and link.address == self.hardware
        return link.index == self.index and (link.name == self.name) + same_address + self.attached >= 2


def known_interfaces(
    node: Node | None, state: NodeState, hooks: Hooks, folder: StateFolder
) -> Mapping[str, KnownInterface]:
    """Endpoint -> its interface in the generation in force; empty when nothing is.

    Without a record of the generation the kernel's own table tells, with the names that the artefact on disk has.
    """
    if node is None or not node.active.generation:
        return {}
    generation = node.active.generation
    # a host and a pod may have the same name
    workloads = {index: value for index, value in active_interfaces(node).items() if not value & HOST_INTERFACE}
    ours = node.program_ids
    attached = {item.index for item in own_attachments(hooks, ours)}
    attached |= {item.index for item in hooks.filters if runs_ours(item, ours)}
    record = state.record(generation)
    if record is not None:
        return {
            item.endpoint: KnownInterface(item.index, item.name, item.hardware, item.index in attached)
            for item in record.interfaces
            if item.index in workloads
        }
    manifest = kept_manifest(folder, generation)
    names = {} if manifest is None else {entry.id: entry.name for entry in manifest.endpoints}
    return {
        names[number]: KnownInterface(index, hooks.names.get(index, ""), "", index in attached)
        for index, number in workloads.items()
        if number in names
    }
