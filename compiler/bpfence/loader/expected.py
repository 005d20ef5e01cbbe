"""The node as a change plan found it: what must still be so when the plan is carried out.

In: what was read when the plan was made. Out: nothing, or a refusal that names what has moved since.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bpfence.errors import KernelError
from bpfence.loader.attach import Hooks, own_attachments
from bpfence.loader.drift import NodeView
from bpfence.loader.interfaces import Discovery
from bpfence.loader.live import Live, live_of
from bpfence.loader.namespaces import current_inode
from bpfence.loader.netlink import Netlink
from bpfence.loader.node import Node, NodePaths
from bpfence.loader.state import NodeState


class Moved(KernelError):  # noqa: N818 - a state, like AttachConflict
    """The node is no longer as the change plan found it."""


@dataclass(frozen=True, slots=True)
class Expected:
    """``generation`` 0: nothing was in force. ``content``: of the artefact in force, empty for none; ``kernel``: see
    `Live.kernel_hash`. ``interfaces``: index, name and endpoint of each that the new policy is for; ``hooks``: index
    and direction of each dispatcher.
    """

    network: int
    generation: int
    slot: int
    content: str
    kernel: str
    interfaces: tuple[tuple[int, str, str], ...]
    hooks: tuple[tuple[int, str], ...]

    def refuse_moved(
        self,
        paths: NodePaths,
        node: Node | None,
        state: NodeState,
        hooks: Hooks,
        netlink: Netlink,
        discovery: Discovery,
    ) -> None:
        """Raise Moved when the node is another one now. The caller holds the node's lock."""
        view = None if node is None else NodeView(paths, node, state, None, hooks, netlink)
        if current_inode() != self.network:
            raise Moved("the change plan was made in another network namespace; make it anew")
        generation = node.active.generation if node is not None else 0
        if generation != self.generation:
            raise Moved(
                f"the node has moved since the change plan was made: generation {generation} is in force, "
                f"not {self.generation}; make the plan anew (bpfence diff live ... -o FILE.json)"
            )
        live = Live(view) if view is None or not generation else live_of(view)
        problems = list(self._differences(expected(live, discovery, hooks)))
        if problems:
            raise Moved(
                f"the node has moved since the change plan was made: {'; '.join(problems)}; make the plan anew "
                "(bpfence diff live ... -o FILE.json)"
            )

    def _differences(self, now: Expected) -> Iterator[str]:
        if (now.slot, now.content) != (self.slot, self.content):
            yield "another artefact is in force"
        if now.kernel != self.kernel:
            yield "tables in the kernel have changed"
        if now.interfaces != self.interfaces:
            changed = sorted({name for _, name, _ in set(now.interfaces) ^ set(self.interfaces)})
            yield f"endpoints or their interfaces have changed ({', '.join(changed)})"
        if now.hooks != self.hooks:
            yield "dispatchers have been attached or taken off"


def expected(live: Live, discovery: Discovery, hooks: Hooks) -> Expected:
    """What a plan made now expects."""
    ours = own_attachments(hooks, live.node.program_ids) if live.node is not None else frozenset()
    return Expected(
        network=current_inode(),
        generation=live.generation,
        slot=live.slot,
        content=live.manifest.content if live.manifest is not None else "",
        kernel=live.kernel_hash(),
        interfaces=tuple(sorted((item.index, item.name, item.title) for item in discovery.places)),
        hooks=tuple(sorted((item.index, str(item.direction)) for item in ours)),
    )
