"""Why a cell says what it says: a decision number and the manifest's rows in, the deciding rule's place out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bpfence.emit.artefact import LayerDecision, Manifest, RowEntry
from bpfence.plan.layout import CELL_DECISION_MASK

NOT_RECORDED = "not-recorded"
"""The tables keep no decision numbers (they would be too large), and the row has several such decisions."""


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Who decided. ``reason``: those of `LayerDecision`, or ``unrestricted`` (no policy speaks about the direction),
    ``not-enforced`` (no dispatcher leads to the tables), ``source-check`` (not the endpoint's address),
    ``table-error`` (the tables contradict themselves), ``host-setting`` (``rule`` of the node's configuration),
    `NOT_RECORDED`. ``path`` is empty and ``line`` 0 without a rule.
    """

    verdict: str
    reason: str
    layer: str = ""
    tier: str = ""
    policy: str = ""
    rule: str = ""
    path: str = ""
    line: int = 0
    column: int = 0

    def document(self) -> dict[str, Any]:
        """As JSON. The place stands there twice: by itself, and as ``origin`` like in the answers of `explain`."""
        place = {"path": self.path, "line": self.line, "column": self.column} if self.path else None
        return {**asdict(self), "origin": place}

    @property
    def title(self) -> str:
        """For people: policy, rule and place, else the reason."""
        place = f" ({self.path}:{self.line})" if self.path else ""
        who = " ".join(part for part in (self.policy, self.rule) if part)
        why = "" if self.reason == "rule" else f"{self.reason} of "
        return f"{why}{who}{place}" if who else self.reason


def origin_of(layers: Sequence[LayerDecision], allowed: bool) -> Origin:
    """The layer that decides: of a denial the first that denies, else the first with a rule. Without layers nothing
    restricts the packet: it is for a service, and nothing speaks about its backends.
    """
    verdict = "allow" if allowed else "deny"
    if not layers:
        return Origin(verdict, "unrestricted")
    fitting = [layer for layer in layers if layer.verdict == verdict] or list(layers)
    chosen = next((layer for layer in fitting if layer.policy), fitting[0]) if allowed else fitting[0]
    at = chosen.origin
    path, line, column = ("", 0, 0) if at is None else (at.path, at.line, at.column)
    return Origin(verdict, chosen.reason, chosen.layer, chosen.tier, chosen.policy, chosen.rule, path, line, column)


def origin_of_cell(entry: RowEntry | None, cell: int, allowed: bool) -> Origin:
    """The rule behind a cell of a row. ``entry`` None: the manifest does not know the row."""
    number = cell & CELL_DECISION_MASK
    if entry is not None and 0 < number <= len(entry.decisions):
        return origin_of(entry.decisions[number - 1], allowed)
    return _only_one(entry.decisions if entry is not None else (), allowed)


def _only_one(decisions: Iterable[Sequence[LayerDecision]], allowed: bool) -> Origin:
    """Without a number: the decision, if just one of the row's has this verdict."""
    fitting = {
        origin_of(layers, allowed)
        for layers in decisions
        if layers and all(layer.verdict == "allow" for layer in layers) == allowed
    }
    return fitting.pop() if len(fitting) == 1 else Origin("allow" if allowed else "deny", NOT_RECORDED)


class RowEntries:
    """A manifest's rows, found by their place in the tables and who uses them."""

    def __init__(self, manifest: Manifest | None) -> None:
        self._rows = manifest.rows if manifest is not None else ()
        self._hosts = manifest.hosts if manifest is not None else ()
        self._found = {
            (row.direction, row.offset, user): number for number, row in enumerate(self._rows) for user in row.endpoints
        }

    def find(self, direction: str, offset: int, user: str) -> int:
        """Number of the entry, -1 when the manifest has none. ``user``: ``endpoint@own address``."""
        return self._found.get((direction, offset, user), -1)

    def find_host(self, host: int, direction: str, point: str, offset: int) -> int:
        """The same of a host, given by its number, at a point."""
        rows = self._hosts[host].rows if 0 <= host < len(self._hosts) else ()
        for known in rows:
            if (known.direction, known.point, known.offset) == (direction, point, offset):
                return self.find(direction, offset, f"{self._hosts[host].name}@{known.own}")
        return -1

    def entry(self, number: int) -> RowEntry | None:
        """None for -1."""
        return self._rows[number] if number >= 0 else None
