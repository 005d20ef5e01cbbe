"""What is in force, known by the content of its artefact: for who has read it before getting the node's lock.

In: where a node keeps what it has. Out: contents, or a refusal when another command was faster.
"""

from __future__ import annotations

from collections.abc import Collection

from bpfence.errors import KernelError
from bpfence.loader.kept import kept_manifest
from bpfence.loader.node import NodePaths, active_word
from bpfence.loader.pending import pending_confirmation


class NoLongerInForce(KernelError):  # noqa: N818 - a state, like LockHeld
    """Another command has brought something else into force since the caller looked."""


def content_in_force(paths: NodePaths) -> str:
    """The content hash of the artefact in force; empty when nothing is. Raises KernelError."""
    return _content(paths, active_word(paths).generation)


def replaceable_contents(paths: NodePaths) -> frozenset[str]:
    """What may be in force when a change of now is seen to: what is in force now, and what comes back unless that is
    confirmed. Raises KernelError.
    """
    pending = pending_confirmation(paths)
    now = content_in_force(paths)
    return frozenset({now} if pending is None else {now, _content(paths, pending.back_to)})


def refuse_other(paths: NodePaths, contents: Collection[str]) -> None:
    """Raise NoLongerInForce unless one of the contents is in force. The caller holds the node's lock."""
    if content_in_force(paths) not in contents:
        raise NoLongerInForce("another command has just brought something else into force, or taken it off")


def _content(paths: NodePaths, generation: int) -> str:
    """Of a generation that is in force or was. When node.json is lost, its artefact says it; when that is, too, what
    comes out is no hash, and equal to nothing but itself.
    """
    if not generation:
        return ""
    record = paths.folder.read().record(generation)
    if record is not None:
        return record.content
    manifest = kept_manifest(paths.folder, generation)
    return manifest.content if manifest is not None else f"generation {generation}"
