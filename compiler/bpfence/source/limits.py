"""How much input is accepted. Input is hostile until shown otherwise; every limit is far above what clusters have."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes per file, nodes per file, levels of nesting per document.

    ``alias_nodes``: what all aliases of a file may add together. ``json_nodes`` bounds an estimate from the text.
    """

    yaml_bytes: int = 32 * MIB
    json_bytes: int = 1024 * MIB
    depth: int = 64
    yaml_nodes: int = 4_000_000
    json_nodes: int = 60_000_000
    alias_nodes: int = 250_000
