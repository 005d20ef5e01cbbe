"""Profiles of host endpoints in, the tier that decides after all others out. It never passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from bpfence.dialects.calico.check import PROFILE_TIER
from bpfence.dialects.calico.context import Context
from bpfence.dialects.calico.model import HostEndpoint, Rule
from bpfence.dialects.calico.profiles import ProfileFacts, known_profiles
from bpfence.dialects.calico.rules import lower_rule
from bpfence.dialects.calico.unsupported import unsupported_features
from bpfence.dialects.objects import PolicyObject
from bpfence.ir import nodes
from bpfence.ir.expressions import ANYONE, LabelExpr, LabelOperator, LabelTest, all_labels, kind_is
from bpfence.ir.nodes import ANY_L4, Action, Direction, Origin, Section


def lower_profiles(objects: Sequence[PolicyObject], context: Context) -> nodes.Tier | None:
    """The tier ``profiles``: rules of the profiles in the order of each endpoint's list, then deny."""
    if not context.hosts:
        return None
    known = known_profiles(objects, context.inventory)
    members: dict[tuple[str, ...], list[PolicyObject]] = {}
    for item in objects:
        if isinstance(item.model, HostEndpoint):
            names = tuple(dict.fromkeys(name for name in item.model.spec.profiles if name in known))
            members.setdefault(names, []).append(item)
    policies = [
        policy
        for group, (names, items) in enumerate(sorted(members.items()))
        for policy in _policies([known[name] for name in names], items, group, context)
    ]
    ordered = tuple(sorted(policies, key=lambda policy: policy.order))
    return nodes.Tier(PROFILE_TIER, inf, Action.DENY, ordered)


def _policies(
    profiles: list[ProfileFacts], items: list[PolicyObject], group: int, context: Context
) -> Iterator[nodes.Policy]:
    """One policy per profile of endpoints that have the same list; one per endpoint when the list is empty."""
    if not profiles:
        for item in items:
            nothing = Section((), True, item.origin("spec"))
            subject = _endpoints([item])
            yield nodes.Policy(item.title, subject, nothing, nothing, item.origin(), (0.0, f"/{item.name}"))
    for position, profile in enumerate(profiles):
        source = profile.item or min(items, key=lambda item: item.name)
        origin = Origin(f"Profile {profile.name}", "", source.span())
        yield nodes.Policy(
            origin.policy,
            _endpoints(items),
            _section(profile, Direction.INGRESS, profile.spec.ingress, origin, context),
            _section(profile, Direction.EGRESS, profile.spec.egress, origin, context),
            origin,
            (float(position), f"{profile.name}/{group}"),
        )


def _endpoints(items: list[PolicyObject]) -> LabelExpr:
    names = tuple(sorted(item.name for item in items))
    return all_labels(kind_is("hostendpoint"), LabelTest(("meta:name",), LabelOperator.IN, names))


def _section(
    profile: ProfileFacts, direction: Direction, rules: tuple[Rule, ...], origin: Origin, context: Context
) -> Section:
    if profile.allows_all:
        return Section((nodes.Rule(Action.ALLOW, ANYONE, ANY_L4, origin),), True, origin)
    if profile.item is None:
        return Section((), True, origin)
    place = profile.item.origin("spec", str(direction))
    if unsupported_features(profile.spec):
        return Section((nodes.Rule(Action.DENY, ANYONE, ANY_L4, place),), True, place)
    lowered = [
        new
        for index, rule in enumerate(rules)
        for new in lower_rule(
            _decided(rule), direction, "", profile.item.origin("spec", str(direction), index), context
        )
    ]
    return Section(tuple(lowered), True, place)


def _decided(rule: Rule) -> Rule:
    """Nothing comes after a profile: Pass denies there."""
    return rule.model_copy(update={"action": "Deny"}) if rule.action == "Pass" else rule
