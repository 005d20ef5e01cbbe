"""Profiles in, the tier that decides after all others out: about host endpoints, and pods with other profiles than
those of their namespace and service account. It never passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf

from bpfence.dialects.calico.check import PROFILE_TIER
from bpfence.dialects.calico.context import Context
from bpfence.dialects.calico.model import HostEndpoint, Rule
from bpfence.dialects.calico.profiles import ProfileFacts, known_profiles, usual_profiles
from bpfence.dialects.calico.rules import lower_rule
from bpfence.dialects.calico.unsupported import unsupported_features
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Pod
from bpfence.ir import nodes
from bpfence.ir.expressions import (
    ANYONE,
    POD,
    LabelAny,
    LabelExpr,
    LabelOperator,
    LabelTest,
    all_labels,
    kind_is,
)
from bpfence.ir.nodes import ANY_L4, Action, Direction, Origin, Section


def lower_profiles(
    objects: Sequence[PolicyObject], context: Context, to_own_pods: tuple[nodes.Rule, ...]
) -> nodes.Tier | None:
    """The tier ``profiles``: rules of the profiles in the order of each endpoint's list, then deny. None: it would
    decide about nobody. ``to_own_pods``: what a node sends to its pods.
    """
    known = known_profiles(objects, context.inventory)
    hosts, pods = _of_hosts(objects, known, context), _of_pods(known, context)
    if not context.hosts and not pods:
        return None
    ordered = tuple(sorted((*hosts, *pods), key=lambda policy: policy.order))
    return nodes.Tier(PROFILE_TIER, inf, Action.DENY, ordered, exempt_ingress=to_own_pods if pods else ())


def _of_hosts(
    objects: Sequence[PolicyObject], known: Mapping[str, ProfileFacts], context: Context
) -> list[nodes.Policy]:
    members: dict[tuple[str, ...], list[PolicyObject]] = {}
    for item in objects:
        if isinstance(item.model, HostEndpoint):
            names = tuple(dict.fromkeys(name for name in item.model.spec.profiles if name in known))
            members.setdefault(names, []).append(item)
    return [
        policy
        for group, (names, items) in enumerate(sorted(members.items()))
        for policy in _policies([known[name] for name in names], items, group, context)
    ]


def _of_pods(known: Mapping[str, ProfileFacts], context: Context) -> list[nodes.Policy]:
    """Nothing for pods whose profiles allow everything, as those of a namespace do."""
    members: dict[tuple[str, ...], list[Pod]] = {}
    facts_of: dict[tuple[str, ...], list[ProfileFacts]] = {}
    for pod in context.inventory.pods:
        if pod.profiles is None:
            continue
        usual = {facts.name: facts for facts in usual_profiles(pod.namespace, pod.service_account)}
        facts = [found for name in pod.profiles if (found := known.get(name) or usual.get(name))]
        if not _allows_everything(facts):
            members.setdefault(pod.profiles, []).append(pod)
            facts_of[pod.profiles] = facts
    return [
        policy
        for group, (names, pods) in enumerate(sorted(members.items()))
        for policy in _pod_policies(facts_of[names], pods, group, context)
    ]


def _allows_everything(profiles: Iterable[ProfileFacts]) -> bool:
    deciding = (item for item in profiles if item.allows_all or item.spec.ingress or item.spec.egress)
    return next((item.allows_all for item in deciding), False)


def _pod_policies(
    profiles: list[ProfileFacts], pods: list[Pod], group: int, context: Context
) -> Iterator[nodes.Policy]:
    """One policy per profile; one for the pods themselves when there is none. Where one of the profiles allows
    everything, nothing reaches the end of the tier.
    """
    subject = _pods(pods)
    isolates = not any(profile.allows_all for profile in profiles)
    first = min(pods, key=lambda pod: (pod.namespace, pod.name))
    if not profiles:
        origin = Origin(f"WorkloadEndpoint {first.namespace}/{first.name}", "", first.span)
        nothing = Section((), isolates, origin)
        yield nodes.Policy(origin.policy, subject, nothing, nothing, origin, (0.0, f"/pods/{group}"))
    for position, profile in enumerate(profiles):
        origin = Origin(f"Profile {profile.name}", "", profile.item.span() if profile.item else first.span)
        ingress = _section(profile, Direction.INGRESS, profile.spec.ingress, origin, context)
        egress = _section(profile, Direction.EGRESS, profile.spec.egress, origin, context)
        yield nodes.Policy(
            origin.policy,
            subject,
            replace(ingress, isolates=isolates),
            replace(egress, isolates=isolates),
            origin,
            (float(position), f"{profile.name}/pods/{group}"),
        )


def _pods(pods: Iterable[Pod]) -> LabelExpr:
    names: dict[str, list[str]] = {}
    for pod in pods:
        names.setdefault(pod.namespace, []).append(pod.name)
    per_namespace = [
        all_labels(
            LabelTest(("meta:namespace",), LabelOperator.IN, (namespace,)),
            LabelTest(("meta:name",), LabelOperator.IN, tuple(sorted(found))),
        )
        for namespace, found in sorted(names.items())
    ]
    return all_labels(POD, per_namespace[0] if len(per_namespace) == 1 else LabelAny(tuple(per_namespace)))


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
