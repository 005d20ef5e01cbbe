"""What a transaction is asked for, and what it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpfence.loader.node import NodePaths
from bpfence.loader.state import PendingConfirmation, user_name

if TYPE_CHECKING:
    from bpfence.loader.expected import Expected


@dataclass(frozen=True, slots=True)
class ApplySettings:
    """``dry_run``: everything up to and including the proof, then undo. ``force``: the lock-out guard lets it pass.
    ``repeats``: the earlier generation whose artefact this is; ``takes_back``: the generation that it is brought back
    in place of. ``confirm_within``: seconds until it is taken back unless it is confirmed, 0 for never. ``refreshes``:
    the artefact is the one in force, only the node has changed. ``by``: who wants it. ``wait``: seconds to wait for
    another transaction. ``expected``: the node as a change plan found it; another one is refused. ``replaces``:
    contents of artefacts, one of which has to be in force (see `content_in_force`), None for any.
    """

    paths: NodePaths = field(default_factory=NodePaths)
    dry_run: bool = False
    force: bool = False
    repeats: int = 0
    takes_back: int = 0
    confirm_within: float = 0.0
    refreshes: bool = False
    by: str = field(default_factory=user_name)
    wait: float = 0.0
    expected: Expected | None = None
    replaces: frozenset[str] | None = None


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
    programs_ahead: int
    """loaded after the commit, for the next change"""
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
    pending: PendingConfirmation | None = None
    """what happens unless the generation is confirmed"""
