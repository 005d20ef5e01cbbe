"""The evaluator's answer."""

from __future__ import annotations

from dataclasses import dataclass

from bpfence.source.spans import Span


@dataclass(frozen=True, slots=True)
class LayerVerdict:
    """One layer, one direction, at one endpoint. ``span`` is the deciding rule's (the policy's, when isolation
    decided); None when nothing selects.

    ``reason``: ``rule``, ``default-deny``, ``exempt``, ``not-selected``, ``unmatched`` (selected, but no default
    deny), ``failsafe``, ``profile`` (a host endpoint's; nothing named when it has none), ``undecided`` (the next
    point is asked), ``no-backend`` (a service without a ready one) or ``workload-to-host``.
    ``endpoint``: ``namespace/pod``, ``hep/NAME`` or ``node/NAME``. ``point``: ``endpoint``, ``untracked``,
    ``pre-dnat`` or ``forward``.
    """

    layer: str
    allowed: bool
    reason: str
    policy: str = ""
    span: Span | None = None
    endpoint: str = ""
    point: str = "endpoint"


@dataclass(frozen=True, slots=True)
class SideVerdict:
    """Egress at the source, or ingress at the destination. No layers: the party is no policed endpoint."""

    allowed: bool
    layers: tuple[LayerVerdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    egress: SideVerdict
    ingress: SideVerdict

    @property
    def allowed(self) -> bool:
        return self.egress.allowed and self.ingress.allowed
