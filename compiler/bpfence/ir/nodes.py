"""The policy program: layers > tiers > policies > rules. Immutable, ordered, every node with its origin.

Meaning, for one endpoint and one direction (design: a packet must be allowed by every layer):

- a layer asks its tiers in order; the first tier that decides is final; when none does, the layer allows;
- a tier is *active* when at least one of its policies selects the endpoint and has a section for the direction; an
inactive tier
  decides nothing;
- an active tier tries its rules in evaluation order (`tier_rules`); the first match decides: ALLOW and DENY are
final, PASS
  leaves the tier undecided, LOG notes the packet and goes on;
- an active tier without a matching rule ends: if some selecting policy's section ``isolates`` and the tier's ``end``
is DENY, the packet is
  denied, else the next tier is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, assert_never

from bpfence.ir.expressions import ANYONE, LabelExpr, PeerExpr
from bpfence.options import NameProfile
from bpfence.source.spans import Span

Ranges = tuple[tuple[int, int], ...]
"""Inclusive integer ranges: sorted, disjoint, not adjacent. ``()`` is the empty set."""


class Direction(StrEnum):
    INGRESS = "ingress"
    EGRESS = "egress"


class Action(StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    PASS = "pass"
    LOG = "log"


class Point(StrEnum):
    """Where on a packet's way a layer is asked.

    ENDPOINT: at the workload, or for traffic that ends or begins in the host itself. The others are points of host
    endpoints: UNTRACKED before connection tracking, every packet alone; PRE_DNAT for new flows that enter, with the
    destination they had on the wire; FORWARD for flows that the host passes on. At UNTRACKED and PRE_DNAT a packet
    that no rule decides goes on to the next point; elsewhere it is allowed.
    """

    ENDPOINT = "endpoint"
    UNTRACKED = "untracked"
    PRE_DNAT = "pre-dnat"
    FORWARD = "forward"


Side = Literal["source", "destination"]


@dataclass(frozen=True, slots=True)
class NamedPort:
    """A container port name, to be resolved on the endpoint at ``side`` of the packet: its number and protocol."""

    name: str
    protocol: int
    side: Side


@dataclass(frozen=True, slots=True)
class DnsNames:
    """Names that a DNS query may ask for: those that one of the patterns matches (canonical, sorted, unique).

    ``profile``: whose pattern language it is (`bpfence.selectors.fqdn`); match-all takes every name here.
    """

    patterns: tuple[str, ...]
    profile: NameProfile


@dataclass(frozen=True, slots=True)
class L4Match:
    """One alternative of a rule's L4 part: all criteria given must hold; None = no criterion.

    ``protocols``: IP protocol numbers, 0-255. ``destination_ports``, ``source_ports``: host order, 0-65535; a packet
    without readable ports
    never satisfies them. ``icmp_types``, ``icmp_codes``: a packet without a readable ICMP header never satisfies them.
    ``named_ports``: at least one of these (or of the numeric ports of the same side) must match; ``not_named_ports``:
    none may.
    ICMP and ICMPv6 are different protocols (1, 58). ``dns_names``: only DNS queries for such a name match. No table of
    this version reads queries: there it matches nothing.
    """

    protocols: Ranges | None = None
    destination_ports: Ranges | None = None
    source_ports: Ranges | None = None
    icmp_types: Ranges | None = None
    icmp_codes: Ranges | None = None
    named_ports: tuple[NamedPort, ...] = ()
    not_named_ports: tuple[NamedPort, ...] = ()
    dns_names: DnsNames | None = None


ANY_L4: tuple[L4Match, ...] = (L4Match(),)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a node comes from: the object it is part of, and the place in the file. ``field`` is the path inside the
    object.
    """

    policy: str
    field: str
    span: Span


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``peer``: the remote address; ``own``: the subject's own address (nearly always ANYONE); ``l4``: ORed
    alternatives.
    """

    action: Action
    peer: PeerExpr
    l4: tuple[L4Match, ...]
    origin: Origin
    own: PeerExpr = ANYONE


@dataclass(frozen=True, slots=True)
class Section:
    """What a policy says for one direction. ``isolates``: an endpoint it selects meets the tier's end when nothing
    matches.
    """

    rules: tuple[Rule, ...]
    isolates: bool
    origin: Origin


@dataclass(frozen=True, slots=True)
class Policy:
    """``subject``: label expression over endpoints. A direction without a section is not touched.

    ``order``: (order, tie): position in the tier, ascending; order-free tiers sort by it too, for stable output.
    """

    name: str
    subject: LabelExpr
    ingress: Section | None
    egress: Section | None
    origin: Origin
    order: tuple[float, str] = (0.0, "")

    def section(self, direction: Direction) -> Section | None:
        match direction:
            case Direction.INGRESS:
                return self.ingress
            case Direction.EGRESS:
                return self.egress
            case _:
                assert_never(direction)


@dataclass(frozen=True, slots=True)
class Tier:
    """``order_free``: denies, then exemptions, then allows, whatever the policies' order; else exemptions, then
    policies in order.

    ``exempt_ingress`` / ``exempt_egress``: allow rules every *active* tier tries first (own node and the like).
    ``spares_itself``: before everything else, an active tier allows what an endpoint sends to itself through a service.
    """

    name: str
    order: float
    end: Action
    policies: tuple[Policy, ...]
    order_free: bool = False
    exempt_ingress: tuple[Rule, ...] = ()
    exempt_egress: tuple[Rule, ...] = ()
    spares_itself: bool = False

    def exemptions(self, direction: Direction) -> tuple[Rule, ...]:
        return self.exempt_ingress if direction is Direction.INGRESS else self.exempt_egress


@dataclass(frozen=True, slots=True)
class Layer:
    """``unmatched``: why the layer allows what no tier decided, in the words of `explain`."""

    name: str
    tiers: tuple[Tier, ...]
    unmatched: str = "no policy selects the endpoint"
    point: Point = Point.ENDPOINT

    @property
    def decides_all(self) -> bool:
        """Whether what no tier decides is allowed; else the next point is asked."""
        return self.point in (Point.ENDPOINT, Point.FORWARD)


@dataclass(frozen=True, slots=True)
class Program:
    layers: tuple[Layer, ...]


def tier_rules(tier: Tier, selecting: tuple[Policy, ...], direction: Direction) -> tuple[Rule, ...]:
    """The rules of an active tier in evaluation order. ``selecting``: its policies with a section for the direction,
    in tier order.
    """
    rules = [rule for policy in selecting if (section := policy.section(direction)) for rule in section.rules]
    exempt = tier.exemptions(direction)
    if not tier.order_free:
        return (*exempt, *rules)
    denies = [rule for rule in rules if rule.action is Action.DENY]
    others = [rule for rule in rules if rule.action is not Action.DENY]
    return (*denies, *exempt, *others)
