"""Policies of all languages to one program: which layer each joins, in which order.

In: `Policies`, the inventory, options. Out: the `Program`. One layer per engine whose policies are present;
NetworkPolicy and the cluster tiers around
it join the Calico layer, else the Cilium layer, else one of their own; with both present they form a third, and every
layer must allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from bpfence.diagnostics import Diagnostics
from bpfence.dialects import calico, cilium, kubernetes
from bpfence.dialects.objects import PolicyObject
from bpfence.dialects.registry import Policies
from bpfence.identity.inventory import Inventory
from bpfence.ir.nodes import Action, Direction, Layer, Point, Policy, Program, Tier
from bpfence.options import Options
from bpfence.source.spans import Span

Engine = Literal["kubernetes", "cilium", "calico"]
ADMIN_ORDER, DEFAULT_ORDER, BASELINE_ORDER = 1_000.0, 1_000_000.0, 10_000_000.0
DNS_ORDER = DEFAULT_ORDER - 1
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
    """Whether there is something in force among them: tiers, sets, CIDR groups and staged policies make no layer."""
    return any(calico.makes_layer(item) if item.dialect == "calico" else _is_policy_kind(item) for item in objects)


def _is_policy_kind(item: PolicyObject) -> bool:
    return item.kind.endswith("NetworkPolicy")


def lower_policies(
    policies: Policies, inventory: Inventory, options: Options, diagnostics: Diagnostics, *, pending: bool = False
) -> Program:
    """The program of all policies. Errors go to ``diagnostics``; the caller stops on them.

    ``pending``: of the policies as they would be with the staged ones in force.
    """
    as_staged = pending_policies(policies, options, diagnostics)
    if pending:
        policies = as_staged
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
    layers.extend(_calico_layers(policies, inventory, options, diagnostics, around if engine == "calico" else nothing))
    _note_conjunction(layers, policies, engine, diagnostics)
    return Program(tuple(layers))


def pending_policies(policies: Policies, options: Options, diagnostics: Diagnostics) -> Policies:
    """The policies as they would be with the staged ones in force. What is wrong with a draft is reported."""
    network = {(item.kind, item.namespace, item.name): item for item in policies.kubernetes}
    for draft in calico.staged_kubernetes_policies(policies.calico):
        key = ("NetworkPolicy", draft.item.namespace, draft.item.name)
        if draft.action == "Delete":
            network.pop(key, None)
            continue
        policy = kubernetes.read_object(draft.document, options, diagnostics)
        if policy is not None and draft.action != "Ignore":
            network[key] = replace(policy, kind=draft.item.kind)
    return replace(policies, kubernetes=tuple(network.values()), calico=calico.pending_objects(policies.calico))


def lint_policies(policies: Policies, inventory: Inventory, options: Options, diagnostics: Diagnostics) -> None:
    """The warnings and notes of every language."""
    kubernetes.lint(policies.kubernetes, inventory, options, diagnostics)
    cilium.lint(policies.cilium, inventory, options, diagnostics)
    calico.lint(policies.calico, inventory, options, diagnostics)
    network = {(item.namespace, item.name) for item in policies.kubernetes if item.kind == "NetworkPolicy"}
    calico.lint_staged(policies.calico, network, diagnostics)


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
    def some(self) -> bool:
        """Whether there is any policy in it."""
        return bool(self.joined or self.admin or self.baseline or self.denied)

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
    tier = Tier("network-policy", DEFAULT_ORDER, Action.DENY, _in_order(around.joined), spares_itself=True)
    for direction in Direction:
        tier = _exempt("kubernetes", direction, tier)
    middle = (tier,) if around.joined else ()
    return Layer("kubernetes", (*around.before, *middle, *around.after))


def _cilium_layer(lowered: _CiliumPolicies, around: _Enclosure) -> Layer:
    dns, policies = cilium.split_dns_rules((*lowered.policies, *around.joined), DNS_ORDER)
    tier = Tier(
        "cilium",
        DEFAULT_ORDER,
        Action.DENY,
        _in_order(policies),
        order_free=True,
        exempt_ingress=cilium.exempt_rules(Direction.INGRESS),
        exempt_egress=cilium.exempt_rules(Direction.EGRESS),
        spares_itself=True,
    )
    dns = tuple(replace(item, spares_itself=True) for item in dns)
    before = replace(around, denied=(*lowered.denied, *around.denied)).before
    return Layer("cilium", (*before, *dns, tier, *around.after))


def _calico_layers(
    policies: Policies, inventory: Inventory, options: Options, diagnostics: Diagnostics, around: _Enclosure
) -> Iterator[Layer]:
    """One layer for endpoints, and one for each of the points that only host endpoints have, when it has policies."""
    lowered = calico.lower(policies.calico, options, inventory, diagnostics)
    if _has_policies(policies.calico) or lowered.profiles is not None or around.some:
        yield _calico_layer(lowered, around)
    for point, tiers, unmatched in (
        (Point.UNTRACKED, lowered.untracked, "no doNotTrack policy decides"),
        (Point.PRE_DNAT, lowered.pre_dnat, "no preDNAT policy decides"),
        (Point.FORWARD, lowered.forward, "no applyOnForward policy decides; forwarded traffic is allowed"),
    ):
        if tiers:
            yield Layer(f"calico-{point}", tiers, unmatched, point)


def _calico_layer(lowered: calico.Lowered, around: _Enclosure) -> Layer:
    """The enclosing tiers take their places among Calico's by order; a tier of both gets the policies of both."""
    merged = {tier.name: tier for tier in lowered.endpoint}
    merged["default"] = replace(merged["default"], policies=_in_order((*merged["default"].policies, *around.joined)))
    for tier in (*around.before, *around.after):
        known = merged.get(tier.name)
        both = None if known is None else replace(known, policies=_in_order((*known.policies, *tier.policies)))
        merged[tier.name] = both or tier
    ordered = tuple(sorted(merged.values(), key=lambda tier: (tier.order, tier.name)))
    profiles = () if lowered.profiles is None else (lowered.profiles,)
    return Layer("calico", (*ordered, *profiles), "no tier decides; the namespace's profile allows")


def _split_kubernetes(objects: tuple[PolicyObject, ...]) -> tuple[tuple[PolicyObject, ...], tuple[PolicyObject, ...]]:
    """NetworkPolicies, those set in force for the pending set included; the cluster's policies."""
    kinds = ("NetworkPolicy", "StagedKubernetesNetworkPolicy")
    network = tuple(item for item in objects if item.kind in kinds)
    return network, tuple(item for item in objects if item.kind not in kinds)


def _note_conjunction(layers: list[Layer], policies: Policies, engine: Engine, diagnostics: Diagnostics) -> None:
    sharing = [layer.name for layer in layers if layer.point is Point.ENDPOINT]
    if engine != "calico" and not _has_policies(policies.calico):  # host endpoints alone concern no pod
        sharing = [name for name in sharing if name != "calico"]
    if len(sharing) < 2:
        return
    names = " and ".join(sharing)
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
