"""Policies of all languages to one program: which layer each joins, in which order.

In: `Policies`, the inventory, options. Out: the `Program`. One layer per engine whose policies are present;
NetworkPolicy and the cluster tiers around
it join the Calico layer, else the Cilium layer, else one of their own; with both present they form a third, and every
layer must allow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from bpfence.diagnostics import Diagnostics
from bpfence.dialects import calico, cilium, kubernetes
from bpfence.dialects.objects import PolicyObject
from bpfence.dialects.registry import Policies
from bpfence.identity.inventory import Inventory
from bpfence.ir.nodes import Action, Direction, Layer, Policy, Program, Tier
from bpfence.options import Options
from bpfence.source.spans import Span

Engine = Literal["kubernetes", "cilium", "calico"]
ADMIN_ORDER, DEFAULT_ORDER, BASELINE_ORDER = 1_000.0, 1_000_000.0, 10_000_000.0
UNSUPPORTED_ORDER = float("-inf")


def network_policy_engine(policies: Policies, options: Options) -> Engine:
    """The layer that NetworkPolicy joins."""
    if options.engine != "auto":
        return options.engine
    has_calico, has_cilium = _has_policies(policies.calico), _has_policies(policies.cilium)
    if has_calico and has_cilium:
        return "kubernetes"
    if has_calico:
        return "calico"
    return "cilium" if has_cilium else "kubernetes"


def _has_policies(objects: tuple[PolicyObject, ...]) -> bool:
    """Whether there is a policy in force among them: tiers, sets, CIDR groups and staged policies make no layer."""
    return any(item.kind.endswith("NetworkPolicy") and not item.kind.startswith("Staged") for item in objects)


def lower_policies(policies: Policies, inventory: Inventory, options: Options, diagnostics: Diagnostics) -> Program:
    """The program of all policies. Errors go to ``diagnostics``; the caller stops on them."""
    engine = network_policy_engine(policies, options)
    network, cluster = _split_kubernetes(policies.kubernetes)
    joined = kubernetes.lower_network_policies(network, engine, options, inventory, diagnostics)
    admin, baseline = kubernetes.lower_cluster_policies(cluster, options, inventory, diagnostics)
    denied = kubernetes.lower_unsupported(policies.kubernetes)
    around = _Enclosure(tuple(joined), tuple(admin), tuple(baseline), tuple(denied))
    nothing = _Enclosure((), (), (), ())
    layers: list[Layer] = []
    if policies.kubernetes and engine == "kubernetes":
        layers.append(_kubernetes_layer(around))
    if _has_policies(policies.cilium) or (policies.kubernetes and engine == "cilium"):
        refused = tuple(item for item in policies.cilium if cilium.denies_all(item))
        rest = tuple(item for item in policies.cilium if not cilium.denies_all(item))
        lowered = _CiliumPolicies(
            cilium.lower(rest, options, inventory, diagnostics), cilium.lower(refused, options, inventory, diagnostics)
        )
        layers.append(_cilium_layer(lowered, around if engine == "cilium" else nothing))
    if _has_policies(policies.calico) or (policies.kubernetes and engine == "calico"):
        tiers = calico.lower(policies.calico, options, inventory, diagnostics)
        layers.append(_calico_layer(tiers, around if engine == "calico" else nothing))
    _note_conjunction(layers, policies, diagnostics)
    return Program(tuple(layers))


def lint_policies(policies: Policies, inventory: Inventory, options: Options, diagnostics: Diagnostics) -> None:
    """The warnings and notes of every language."""
    kubernetes.lint(policies.kubernetes, inventory, options, diagnostics)
    cilium.lint(policies.cilium, inventory, options, diagnostics)
    calico.lint(policies.calico, inventory, options, diagnostics)


@dataclass(frozen=True, slots=True)
class _Enclosure:
    """NetworkPolicies with the Admin and Baseline policies around them; ``denied``: what can't be enforced and denies
    everything.
    """

    joined: tuple[Policy, ...]
    admin: tuple[Policy, ...]
    baseline: tuple[Policy, ...]
    denied: tuple[Policy, ...]

    @property
    def before(self) -> tuple[Tier, ...]:
        return (*_tier("unsupported", UNSUPPORTED_ORDER, self.denied), *_tier("kube-admin", ADMIN_ORDER, self.admin))

    @property
    def after(self) -> tuple[Tier, ...]:
        return _tier("kube-baseline", BASELINE_ORDER, self.baseline)


@dataclass(frozen=True, slots=True)
class _CiliumPolicies:
    policies: tuple[Policy, ...]
    denied: tuple[Policy, ...]


def _tier(name: str, order: float, policies: tuple[Policy, ...]) -> tuple[Tier, ...]:
    """A tier that decides only by its rules, when there is something in it."""
    return (Tier(name, order, Action.PASS, _in_order(policies)),) if policies else ()


def _in_order(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    return tuple(sorted(policies, key=lambda policy: policy.order))


def _exempt(engine: Engine, direction: Direction, tier: Tier) -> Tier:
    rules = kubernetes.exempt_rules(engine, direction)
    if direction is Direction.INGRESS:
        return replace(tier, exempt_ingress=(*tier.exempt_ingress, *rules))
    return replace(tier, exempt_egress=(*tier.exempt_egress, *rules))


def _kubernetes_layer(around: _Enclosure) -> Layer:
    tier = Tier("network-policy", DEFAULT_ORDER, Action.DENY, _in_order(around.joined))
    for direction in Direction:
        tier = _exempt("kubernetes", direction, tier)
    middle = (tier,) if around.joined else ()
    return Layer("kubernetes", (*around.before, *middle, *around.after))


def _cilium_layer(lowered: _CiliumPolicies, around: _Enclosure) -> Layer:
    tier = Tier(
        "cilium",
        DEFAULT_ORDER,
        Action.DENY,
        _in_order((*lowered.policies, *around.joined)),
        order_free=True,
        exempt_ingress=cilium.exempt_rules(Direction.INGRESS),
        exempt_egress=cilium.exempt_rules(Direction.EGRESS),
    )
    before = replace(around, denied=(*lowered.denied, *around.denied)).before
    return Layer("cilium", (*before, tier, *around.after))


def _calico_layer(tiers: tuple[Tier, ...], around: _Enclosure) -> Layer:
    """The enclosing tiers take their places among Calico's by order; a tier of both gets the policies of both."""
    merged = {tier.name: tier for tier in tiers}
    merged["default"] = replace(merged["default"], policies=_in_order((*merged["default"].policies, *around.joined)))
    for tier in (*around.before, *around.after):
        known = merged.get(tier.name)
        both = None if known is None else replace(known, policies=_in_order((*known.policies, *tier.policies)))
        merged[tier.name] = both or tier
    ordered = tuple(sorted(merged.values(), key=lambda tier: (tier.order, tier.name)))
    return Layer("calico", ordered, "no tier decides; the namespace's profile allows")


def _split_kubernetes(objects: tuple[PolicyObject, ...]) -> tuple[tuple[PolicyObject, ...], tuple[PolicyObject, ...]]:
    network = tuple(item for item in objects if item.kind == "NetworkPolicy")
    return network, tuple(item for item in objects if item.kind != "NetworkPolicy")


def _note_conjunction(layers: list[Layer], policies: Policies, diagnostics: Diagnostics) -> None:
    if len(layers) < 2:
        return
    names = " and ".join(layer.name for layer in layers)
    span = Span("<input>", 1, 1, 1, 1)
    for objects in (policies.kubernetes, policies.cilium, policies.calico):
        if objects:
            span = objects[0].span()
            break
    diagnostics.note(
        "IR001",
        span,
        f"policies of several engines: {names} each form a layer, and every layer must allow a connection",
        "use --engine to choose where NetworkPolicy belongs",
    )
