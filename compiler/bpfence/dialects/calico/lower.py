"""Calico's policies and tiers in, IR tiers in order out. Kubernetes' own policies join them elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.calico.check import BUILT_IN_TIERS
from bpfence.dialects.calico.context import Context, lowering_context
from bpfence.dialects.calico.input_checks import check_inventory, check_tiers
from bpfence.dialects.calico.labels import label_expression
from bpfence.dialects.calico.model import (
    DEFAULT_TIER,
    GlobalNetworkPolicy,
    NetworkPolicy,
    NetworkPolicySpec,
    Rule,
    Tier,
)
from bpfence.dialects.calico.rules import lower_rule
from bpfence.dialects.calico.selectors import subject_selector
from bpfence.dialects.calico.unsupported import unsupported_features
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory
from bpfence.ir import nodes
from bpfence.ir.expressions import ANYONE, POD, LabelExpr, OnOwnNode, all_labels
from bpfence.ir.nodes import ANY_L4, Action, Direction, Origin, Section
from bpfence.options import Options
from bpfence.source.spans import Span

UNSUPPORTED_TIER = "unsupported"
ENDS = {"Deny": Action.DENY, "Pass": Action.PASS}

_BUILT_IN = Origin("built-in", "host to own pod", Span("<built-in>", 1, 1, 1, 1))
OWN_NODE = nodes.Rule(Action.ALLOW, OnOwnNode(), ANY_L4, _BUILT_IN)
"""What a node sends to its own pods is allowed before any policy is asked."""


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A policy object with its spec at hand; ``namespace`` is empty for a global policy."""

    item: PolicyObject
    spec: NetworkPolicySpec

    @property
    def namespace(self) -> str:
        return self.item.namespace

    @property
    def order(self) -> tuple[float, str]:
        """Position in the tier: order, then the tie text that Calico compares bytewise."""
        return self.spec.order, f"{self.item.name}/{self.namespace}/{self.item.kind}"


def lower(
    objects: Sequence[PolicyObject], options: Options, inventory: Inventory, diagnostics: Diagnostics
) -> tuple[nodes.Tier, ...]:
    """The tiers that have policies, and ``default`` always, sorted by order and name.

    Policies that can't be enforced form the tier ``unsupported`` ahead of all others, where they deny everything.
    Errors that need other objects (a missing tier, missing inventory) are reported here.
    """
    check_tiers(objects, diagnostics)
    check_inventory(objects, inventory, diagnostics)
    context = lowering_context(objects, options, inventory)
    by_tier: dict[str, list[nodes.Policy]] = {DEFAULT_TIER: []}
    refused: list[nodes.Policy] = []
    for source in policy_sources(objects):
        if unsupported_features(source.spec):
            refused.append(_deny_everything(source, context))
        else:
            by_tier.setdefault(source.spec.tier_name, []).append(_lower_policy(source, context))
    tiers = [_tier(name, policies, tier_settings(objects)) for name, policies in by_tier.items()]
    if refused:
        tiers.append(_new_tier(UNSUPPORTED_TIER, -inf, Action.DENY, refused))
    return tuple(sorted(tiers, key=lambda tier: (tier.order, tier.name)))


def policy_sources(objects: Iterable[PolicyObject]) -> list[PolicySource]:
    """The policies among the objects."""
    return [
        PolicySource(item, item.model.spec)
        for item in objects
        if isinstance(item.model, NetworkPolicy | GlobalNetworkPolicy)
    ]


def tier_settings(objects: Iterable[PolicyObject]) -> Mapping[str, tuple[float, Action]]:
    """Order and end of every tier: the built-in ones and those of the input."""
    settings = {name: (order, ENDS[action]) for name, (order, action) in BUILT_IN_TIERS.items()}
    for item in objects:
        if isinstance(item.model, Tier) and item.name not in BUILT_IN_TIERS:
            spec = item.model.spec
            settings[item.name] = (spec.order, ENDS[spec.default_action or "Deny"])
    return settings


def _tier(name: str, policies: list[nodes.Policy], settings: Mapping[str, tuple[float, Action]]) -> nodes.Tier:
    # A tier that the input lacks has been reported; denying at its end keeps what is built from it closed.
    order, end = settings.get(name, (inf, Action.DENY))
    return _new_tier(name, order, end, policies)


def _new_tier(name: str, order: float, end: Action, policies: list[nodes.Policy]) -> nodes.Tier:
    ordered = tuple(sorted(policies, key=lambda policy: policy.order))
    return nodes.Tier(name, order, end, ordered, exempt_ingress=(OWN_NODE,))


def _lower_policy(source: PolicySource, context: Context) -> nodes.Policy:
    ingress, egress = source.spec.directions
    return nodes.Policy(
        source.item.title,
        _subject(source, context),
        _section(source, Direction.INGRESS, source.spec.ingress, context) if ingress else None,
        _section(source, Direction.EGRESS, source.spec.egress, context) if egress else None,
        source.item.origin(),
        source.order,
    )


def _subject(source: PolicySource, context: Context) -> LabelExpr:
    selector = subject_selector(source.spec, source.namespace)
    return all_labels(POD, label_expression(selector, context.long_accounts))


def _section(source: PolicySource, direction: Direction, rules: tuple[Rule, ...], context: Context) -> Section:
    lowered = [
        new
        for index, rule in enumerate(rules)
        for new in lower_rule(
            rule, direction, source.namespace, source.item.origin("spec", str(direction), index), context
        )
    ]
    return Section(tuple(lowered), True, source.item.origin("spec", str(direction)))


def _deny_everything(source: PolicySource, context: Context) -> nodes.Policy:
    """For a policy that can't be enforced as written: nothing passes in the directions it has."""
    origin = source.item.origin("spec")
    section = Section((nodes.Rule(Action.DENY, ANYONE, ANY_L4, origin),), True, origin)
    ingress, egress = source.spec.directions
    return nodes.Policy(
        source.item.title,
        _subject(source, context),
        section if ingress else None,
        section if egress else None,
        source.item.origin(),
        source.order,
    )
