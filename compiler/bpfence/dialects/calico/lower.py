"""Calico's policies and tiers in, IR tiers in order out, by the point where they are asked.

Kubernetes' own policies join them elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.calico.check import BUILT_IN_TIERS, UNSUPPORTED_TIER
from bpfence.dialects.calico.context import Context, lowering_context
from bpfence.dialects.calico.host_checks import check_hosts
from bpfence.dialects.calico.hosts import host_endpoints
from bpfence.dialects.calico.input_checks import check_inventory, check_tiers
from bpfence.dialects.calico.labels import label_expression
from bpfence.dialects.calico.lower_profiles import lower_profiles
from bpfence.dialects.calico.model import DEFAULT_TIER, Rule, Tier
from bpfence.dialects.calico.rules import lower_rule
from bpfence.dialects.calico.selectors import subject_selector
from bpfence.dialects.calico.sources import PolicySource, policy_sources
from bpfence.dialects.calico.staged import pending_objects
from bpfence.dialects.calico.unsupported import unsupported_features
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory
from bpfence.ir import nodes
from bpfence.ir.expressions import (
    ANYONE,
    POD,
    HasObject,
    LabelExpr,
    LabelOperator,
    LabelTest,
    OnOwnNode,
    all_labels,
    kind_is,
)
from bpfence.ir.nodes import ANY_L4, Action, Direction, Origin, Point, Section
from bpfence.options import Options
from bpfence.source.spans import Span

ENDS = {"Deny": Action.DENY, "Pass": Action.PASS}

_BUILT_IN = Origin("built-in", "host to own pod", Span("<built-in>", 1, 1, 1, 1))
OWN_NODE = nodes.Rule(Action.ALLOW, OnOwnNode(), ANY_L4, _BUILT_IN)
"""What a node sends to its own pods is allowed before any policy is asked."""

OWN_NODE_TO_POD = nodes.Rule(Action.ALLOW, OnOwnNode(), ANY_L4, _BUILT_IN, HasObject(POD))
"""The same where host endpoints are subjects too: an outsider who writes the node's own address gains nothing."""

_EARLY = (Point.UNTRACKED, Point.PRE_DNAT)
_HOST = kind_is("hostendpoint")
_POD_OR_HOST = kind_is("hostendpoint", "pod")


@dataclass(frozen=True, slots=True)
class Lowered:
    """Tiers by point, sorted by order and name. ``endpoint`` holds ``default`` always; ``profiles``: what decides
    after it about host endpoints and about pods with profiles of their own; None without either.
    """

    endpoint: tuple[nodes.Tier, ...]
    profiles: nodes.Tier | None
    untracked: tuple[nodes.Tier, ...]
    pre_dnat: tuple[nodes.Tier, ...]
    forward: tuple[nodes.Tier, ...]


def lower(
    objects: Sequence[PolicyObject],
    options: Options,
    inventory: Inventory,
    diagnostics: Diagnostics,
) -> Lowered:
    """All tiers that have policies.

    Policies that can't be enforced form the tier ``unsupported`` ahead of all others, where they deny everything.
    Errors that need other objects (a missing tier, missing inventory, host policies) are reported here.
    """
    check_tiers(objects, diagnostics)
    check_inventory(objects, inventory, diagnostics)
    hosts = host_endpoints(objects, inventory, diagnostics)
    sources = policy_sources(objects)
    found = Diagnostics()
    for policies in (sources, policy_sources(pending_objects(objects))):
        check_hosts(policies, objects, hosts, options, found)
    diagnostics.extend(dict.fromkeys(found.items))
    context = lowering_context(objects, options, inventory, hosts)
    settings = tier_settings(objects)
    by_point = {point: _tiers(sources, point, context.at(point), settings) for point in Point}
    return Lowered(
        endpoint=by_point[Point.ENDPOINT],
        profiles=lower_profiles(objects, context, own_node_rules(context)),
        untracked=by_point[Point.UNTRACKED],
        pre_dnat=by_point[Point.PRE_DNAT],
        forward=by_point[Point.FORWARD],
    )


TierSettings = Mapping[str, tuple[float, Action]]


def tier_settings(objects: Iterable[PolicyObject]) -> TierSettings:
    """Order and end of every tier: the built-in ones and those of the input."""
    settings = {name: (order, ENDS[action]) for name, (order, action) in BUILT_IN_TIERS.items()}
    for item in objects:
        if isinstance(item.model, Tier) and item.name not in BUILT_IN_TIERS:
            spec = item.model.spec
            settings[item.name] = (spec.order, ENDS[spec.default_action or "Deny"])
    return settings


def _tiers(
    sources: Iterable[PolicySource], point: Point, context: Context, settings: TierSettings
) -> tuple[nodes.Tier, ...]:
    by_tier: dict[str, list[nodes.Policy]] = {DEFAULT_TIER: []} if point is Point.ENDPOINT else {}
    refused: list[nodes.Policy] = []
    for source in sources:
        if point not in source.points:
            continue
        subject = _subject(source, point, context)
        if unsupported_features(source.spec):
            refused.append(_deny_everything(source, subject))
        else:
            by_tier.setdefault(source.spec.tier_name, []).append(_lower_policy(source, subject, context))
    tiers = [_tier(name, policies, point, settings, context) for name, policies in by_tier.items()]
    if refused:
        tiers.append(_new_tier(UNSUPPORTED_TIER, -inf, Action.DENY, refused, _exempt(point, context)))
    return tuple(sorted(tiers, key=lambda tier: (tier.order, tier.name)))


def _tier(
    name: str, policies: list[nodes.Policy], point: Point, settings: TierSettings, context: Context
) -> nodes.Tier:
    # A tier that the input lacks has been reported; denying at its end keeps what is built from it closed.
    order, end = settings.get(name, (inf, Action.DENY))
    return _new_tier(name, order, Action.PASS if point in _EARLY else end, policies, _exempt(point, context))


def _exempt(point: Point, context: Context) -> tuple[nodes.Rule, ...]:
    return () if point is not Point.ENDPOINT else own_node_rules(context)


def own_node_rules(context: Context) -> tuple[nodes.Rule, ...]:
    """What a node sends to its own pods, also from addresses that only its host endpoints tell of."""
    if not context.hosts:
        return (OWN_NODE,)
    known = {address for node in context.inventory.nodes for address in node.addresses}
    more = sorted({host.node for host in context.hosts if set(host.addresses) - known})
    return (OWN_NODE_TO_POD, *map(_from_host_endpoints, more))


def _from_host_endpoints(node: str) -> nodes.Rule:
    on_node = LabelTest(("meta:node",), LabelOperator.IN, (node,))
    own, peer = HasObject(all_labels(POD, on_node)), HasObject(all_labels(_HOST, on_node))
    return nodes.Rule(Action.ALLOW, peer, ANY_L4, _BUILT_IN, own)


def _new_tier(
    name: str, order: float, end: Action, policies: list[nodes.Policy], exempt: tuple[nodes.Rule, ...]
) -> nodes.Tier:
    ordered = tuple(sorted(policies, key=lambda policy: policy.order))
    return nodes.Tier(name, order, end, ordered, exempt_ingress=exempt)


def _lower_policy(source: PolicySource, subject: LabelExpr, context: Context) -> nodes.Policy:
    ingress, egress = source.spec.directions
    return nodes.Policy(
        source.item.title,
        subject,
        _section(source, Direction.INGRESS, source.spec.ingress, context) if ingress else None,
        _section(source, Direction.EGRESS, source.spec.egress, context) if egress else None,
        source.item.origin(),
        source.order,
    )


def _subject(source: PolicySource, point: Point, context: Context) -> LabelExpr:
    selector = label_expression(subject_selector(source.spec, source.namespace), context.exceptions)
    if point is not Point.ENDPOINT:
        return all_labels(_HOST, selector)
    return all_labels(POD if source.namespace or not context.hosts else _POD_OR_HOST, selector)


def _section(source: PolicySource, direction: Direction, rules: tuple[Rule, ...], context: Context) -> Section:
    lowered = [
        new
        for index, rule in enumerate(rules)
        for new in lower_rule(
            rule, direction, source.namespace, source.item.origin("spec", str(direction), index), context
        )
    ]
    return Section(tuple(lowered), True, source.item.origin("spec", str(direction)))


def _deny_everything(source: PolicySource, subject: LabelExpr) -> nodes.Policy:
    """For a policy that can't be enforced as written: nothing passes in the directions it has."""
    origin = source.item.origin("spec")
    section = Section((nodes.Rule(Action.DENY, ANYONE, ANY_L4, origin),), True, origin)
    ingress, egress = source.spec.directions
    return nodes.Policy(
        source.item.title,
        subject,
        section if ingress else None,
        section if egress else None,
        source.item.origin(),
        source.order,
    )
