"""Pods that may go somewhere and can't find it: egress is isolated and nothing that answers names is within reach.

NetworkPolicies are left alone, their own lint speaks of names.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bpfence.analyse.lint import codes
from bpfence.analyse.lint.groups import GroupRow, policies_of
from bpfence.analyse.lint.tables import Marks, Matrix, RowTable
from bpfence.analyse.lint.walk import walk
from bpfence.classify.rows import ActiveLayer, Row
from bpfence.diagnostics import Diagnostics
from bpfence.identity.world import World
from bpfence.ir.expressions import (
    ANYONE,
    POD,
    HasObject,
    LabelOperator,
    LabelTest,
    PeerAny,
    PeerExpr,
    PeerNot,
)
from bpfence.ir.nodes import Action, Direction, L4Match, Origin, Point, Program, Section
from bpfence.source.spans import Span

DNS_PORT = ((53, 53),)
QUERIES = (L4Match(((17, 17),), destination_ports=DNS_PORT), L4Match(((6, 6),), destination_ports=DNS_PORT))
DNS_KEY = "label:k8s-app"
DNS_PODS = LabelTest((DNS_KEY,), LabelOperator.IN, ("coredns", "kube-dns", "node-local-dns"))


def dns_marks(world: World) -> Marks:
    """What the tables must tell apart for `DnsLint`."""
    return Marks((_resolvers(world),), QUERIES)


def _resolvers(world: World) -> PeerExpr:
    """Who may answer: the cluster's DNS pods and whatever is no pod; without such pods in the input, anybody."""
    known = any(pod.labels.get(DNS_KEY) in DNS_PODS.values for pod in world.pods)
    return PeerAny((HasObject(DNS_PODS), PeerNot(HasObject(POD)))) if known else ANYONE


class DnsLint:
    """Collects, over rows, the policies that leave pods without names."""

    def __init__(self, program: Program, world: World, spoken_of: frozenset[Span]) -> None:
        self._resolvers = _resolvers(world)
        spoken = (policy for policy in policies_of(program) if policy.origin.span in spoken_of)
        self._spoken_of = frozenset(id(policy.egress) for policy in spoken)
        self._found: dict[tuple[str, str], tuple[Origin, GroupRow]] = {}

    def add(self, item: GroupRow, table: RowTable) -> None:
        """Look at one row of a group."""
        row = item.row
        if row.direction is not Direction.EGRESS or row.point is not Point.ENDPOINT:
            return
        isolating = [section.origin for section in _isolating(row) if id(section) not in self._spoken_of]
        if item.group.members[0].kind != "pod" or not isolating or not _opens_something(row) or _filters_names(row):
            return
        peers = np.flatnonzero(table.peers[self._resolvers])
        queries = np.flatnonzero(np.logical_or.reduce([table.l4[match] for match in QUERIES]))
        if not _allowed(table)[np.ix_(peers, queries)].any():
            for origin in isolating:
                self._found.setdefault((origin.policy, origin.field), (origin, item))

    def report(self, diagnostics: Diagnostics) -> None:
        """One warning per policy."""
        for origin, item in self._found.values():
            message = f"egress is isolated and nothing opens port 53: {item.group.words} can't resolve names"
            hint = "allow egress to the cluster's DNS pods on port 53, UDP and TCP"
            diagnostics.warning(codes.NO_DNS, origin.span, message, hint, origin.policy)


def _isolating(row: Row) -> Iterator[Section]:
    for layer in row.layers:
        for tier in layer.tiers:
            if tier.tier.end is Action.DENY:
                yield from tier.isolating


def _opens_something(row: Row) -> bool:
    """Pods that may go nowhere at all need no names."""
    return all(
        any(rule.action is not Action.DENY and rule not in tier.tier.exempt_egress for rule in tier.rules)
        for layer in row.layers
        for tier in layer.tiers
        if tier.isolating and tier.tier.end is Action.DENY
    )


def _filters_names(row: Row) -> bool:
    """Whether a rule opens queries for some names; the tables show nothing of those."""
    rules = (rule for layer in row.layers for tier in layer.tiers for rule in tier.rules)
    return any(match.dns_names is not None for rule in rules if rule.action is Action.ALLOW for match in rule.l4)


def _allowed(table: RowTable) -> Matrix:
    """What every layer allows, exemptions left out."""
    result = np.ones(table.shape, dtype=bool)
    for layer in table.row.layers:
        result &= _layer_allows(layer, table)
    return result


def _layer_allows(layer: ActiveLayer, table: RowTable) -> Matrix:
    """By a rule, or because no tier decides."""
    allowed = np.ones(table.shape, dtype=bool)
    for step in walk(layer, table):
        if step.action is Action.DENY or step.exempt:
            allowed &= ~step.hit
    return allowed
