"""One form for ClusterNetworkPolicy and its predecessors: policy object in, `ClusterPolicy` out.

v1alpha1 is read as v1alpha2: ``Allow`` is ``Accept``, ``ports`` are ``protocols``, the kind gives the tier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bpfence.dialects.kubernetes.admin_model import (
    AdminEgressRule,
    AdminIngressRule,
    AdminNetworkPolicy,
    AdminPort,
    BaselineAdminNetworkPolicy,
)
from bpfence.dialects.kubernetes.check import PROTOCOLS
from bpfence.dialects.kubernetes.cluster_model import (
    ClusterEgressRule,
    ClusterIngressPeer,
    ClusterIngressRule,
    ClusterNetworkPolicy,
    ProtocolItem,
    Subject,
)
from bpfence.dialects.kubernetes.report import Path
from bpfence.dialects.objects import PolicyObject
from bpfence.ir.nodes import Direction

AFTER_EVERY_PRIORITY = 1001.0
"""Where BaselineAdminNetworkPolicy stands in the Baseline tier: priorities end at 1000."""

Rule = ClusterIngressRule | ClusterEgressRule | AdminIngressRule | AdminEgressRule


@dataclass(frozen=True, slots=True)
class PortItem:
    """One alternative: a port range (inclusive) of one protocol, or a container port name of any protocol."""

    protocols: tuple[int, ...]
    ports: tuple[int, int] | None
    name: str = ""


@dataclass(frozen=True, slots=True)
class ClusterRule:
    """``action``: Accept, Deny or Pass. ``items`` None = every protocol and port.

    ``closed``: a peer or a protocol item shows no known member. The rule then fails closed: an Accept rule matches
    nothing, any other denies everything.
    """

    action: str
    peers: tuple[ClusterIngressPeer, ...]
    items: tuple[PortItem, ...] | None
    closed: bool
    path: Path


@dataclass(frozen=True, slots=True)
class ClusterPolicy:
    """``direction`` without rules: not touched."""

    source: PolicyObject
    baseline: bool
    priority: float
    subject: Subject
    ingress: tuple[ClusterRule, ...]
    egress: tuple[ClusterRule, ...]

    def rules(self, direction: Direction) -> tuple[ClusterRule, ...]:
        return self.ingress if direction is Direction.INGRESS else self.egress

    @property
    def order(self) -> tuple[float, str]:
        """Position in its tier; the name decides between equal priorities."""
        return self.priority, f"{self.source.name}/{self.source.kind}"


def cluster_form(source: PolicyObject) -> ClusterPolicy:
    """Read a checked object. Raises TypeError for an object of another kind."""
    model = source.model
    match model:
        case ClusterNetworkPolicy():
            baseline, priority = model.spec.tier == "Baseline", float(model.spec.priority)
        case AdminNetworkPolicy():
            baseline, priority = False, float(model.spec.priority)
        case BaselineAdminNetworkPolicy():
            baseline, priority = True, AFTER_EVERY_PRIORITY
        case _:
            raise TypeError(f"{source.title} is no cluster policy")
    spec = model.spec
    ingress, egress = _rules(spec.ingress, "ingress"), _rules(spec.egress, "egress")
    return ClusterPolicy(source, baseline, priority, spec.subject, ingress, egress)


def _rules(rules: Sequence[Rule], direction: str) -> tuple[ClusterRule, ...]:
    return tuple(_rule(rule, ("spec", direction, index)) for index, rule in enumerate(rules))


def _rule(rule: Rule, path: Path) -> ClusterRule:
    if isinstance(rule, ClusterIngressRule | ClusterEgressRule):
        action = rule.action
        items = None if rule.protocols is None else [_protocol_item(item) for item in rule.protocols]
    else:
        action = "Accept" if rule.action == "Allow" else rule.action
        items = None if rule.ports is None else [_admin_port(item) for item in rule.ports]
    known = None if items is None else tuple(item for item in items if item is not None)
    closed = any(map(_is_closed, rule.peers)) or (items is not None and None in items)
    return ClusterRule(action, rule.peers, known, closed, path)


def _is_closed(peer: ClusterIngressPeer) -> bool:
    return not given_members(peer)


def given_members(model: ClusterIngressPeer | ProtocolItem | AdminPort | Subject) -> tuple[str, ...]:
    """The members of a union that the object gives, by their names in the file."""
    fields = type(model).model_fields
    return tuple(field.alias or name for name, field in fields.items() if getattr(model, name) is not None)


def _protocol_item(item: ProtocolItem) -> PortItem | None:
    if item.destination_named_port is not None:
        return PortItem(tuple(PROTOCOLS.values()), None, item.destination_named_port)
    for number, ports in ((6, item.tcp), (17, item.udp), (132, item.sctp)):
        if ports is None or ports.destination_port is None:
            continue
        place = ports.destination_port
        if place.range is not None:
            return PortItem((number,), (place.range.start, place.range.end))
        if place.number is not None:
            return PortItem((number,), (place.number, place.number))
    return None


def _admin_port(item: AdminPort) -> PortItem | None:
    if item.named_port is not None:
        return PortItem(tuple(PROTOCOLS.values()), None, item.named_port)
    if item.port_range is not None:
        span = (item.port_range.start, item.port_range.end)
        return PortItem((PROTOCOLS[item.port_range.protocol or "TCP"],), span)
    if item.port_number is not None:
        number = item.port_number
        return PortItem((PROTOCOLS[number.protocol or "TCP"],), (number.port, number.port))
    return None
