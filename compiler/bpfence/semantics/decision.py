"""What one rule, or one layer's own tiers, say about a packet, before a layer makes a verdict of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bpfence.semantics.verdict import LayerVerdict
from bpfence.source.spans import Span

Action = Literal["allow", "deny", "pass"]


@dataclass(frozen=True, slots=True)
class Decision:
    """A matching rule: its action, its policy's title and its place. ``reason`` as in `LayerVerdict`."""

    action: Action
    policy: str
    span: Span | None
    reason: str = "rule"

    def verdict(self, layer: str, endpoint: str, point: str = "endpoint") -> LayerVerdict:
        return LayerVerdict(layer, self.action == "allow", self.reason, self.policy, self.span, endpoint, point)


@dataclass(frozen=True, slots=True)
class Outcome:
    """``selected``: some policy applies to the pod in this direction. No decision: the next tier is asked."""

    selected: bool
    decision: Decision | None = None


EXEMPT = Decision("allow", "", None, "exempt")
NOT_SELECTED = Outcome(False)
UNMATCHED = Outcome(True)


def first(decisions: Iterable[Decision]) -> Decision | None:
    return next(iter(decisions), None)
