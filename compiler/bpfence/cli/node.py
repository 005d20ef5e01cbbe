"""What the commands on a node share: where state and pins are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from bpfence.loader.node import NodePaths

Command = TypeVar("Command", bound=Callable[..., Any])

LOCK_SECONDS = 2.0
"""How long a command waits for another one that holds the node's lock; a watch holds it for moments."""


def node_options(command: Command) -> Command:
    """``--state`` and ``--bpffs``; `paths_from` reads them."""
    state = click.option("--state", metavar="DIR", help="Artefacts and node.json (BPFENCE_STATE, /var/lib/bpfence).")
    bpffs = click.option("--bpffs", metavar="DIR", help="Pins (BPFENCE_BPFFS, /sys/fs/bpf/bpfence).")
    return state(bpffs(command))


def paths_from(state: str | None, bpffs: str | None) -> NodePaths:
    """The folders of this node: options, then environment, then defaults."""
    return NodePaths.chosen(Path(bpffs) if bpffs else None, Path(state) if state else None)
