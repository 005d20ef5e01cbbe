"""NetworkPolicy objects in, policies of the tier they join out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, assert_never

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.kubernetes.check import PROTOCOLS
from bpfence.dialects.kubernetes.engine_checks import (
    check_ignored_rules,
    index_addresses,
    warn_prefix_overlaps,
)
from bpfence.dialects.kubernetes.model import IPBlock, NetworkPolicy, Peer, Port
from bpfence.dialects.kubernetes.pod_index import index_pods
from bpfence.dialects.kubernetes.port_names import NameUse, check_port_names, has_ambiguous_names, uses_of_policy
from bpfence.dialects.kubernetes.prefixes import network_of
from bpfence.dialects.kubernetes.selectors import label_expression
from bpfence.dialects.kubernetes.subjects import in_namespace, network_policy_subject
from bpfence.dialects.kubernetes.unsupported import denies_all
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory
from bpfence.ir.expressions import (
    ANYONE,
    POD,
    HasObject,
    InPrefixes,
    OnOwnNode,
    PeerExpr,
    PeerNot,
    all_labels,
    all_peers,
    any_peer,
    kind_is,
)
from bpfence.ir.nodes import (
    ANY_L4,
    Action,
    Direction,
    L4Match,
    NamedPort,
    Origin,
    Policy,
    Rule,
    Section,
)
from bpfence.options import Options
from bpfence.source.spans import Span

LayerEngine = Literal["kubernetes", "cilium", "calico"]
CALICO_ORDER = 1000.0


def lower_network_policies(
    objects: Sequence[PolicyObject],
    engine: LayerEngine,
    options: Options,
    inventory: Inventory,
    diagnostics: Diagnostics,
) -> tuple[Policy, ...]:
    """Lower the NetworkPolicies among ``objects`` for the layer of ``engine``; sorted by their order.

    What only the engine decides is reported here: rules outside ``policyTypes`` and the reading of ``ipBlock``.
    Policies that `lower_unsupported` answers for are left out.
    """
    addresses = index_addresses(inventory)
    matches_pods = "pod" not in _hidden_kinds(engine, options)
    policies: list[Policy] = []
    uses: list[NameUse] = []
    for source in objects:
        model = source.model
        if not isinstance(model, NetworkPolicy) or (options.allow_unsupported and denies_all(source)):
            continue
        check_ignored_rules(source, model, engine == "cilium", diagnostics)
        warn_prefix_overlaps(source, model, addresses, matches_pods, diagnostics)
        uses.extend(uses_of_policy(source, model))
        policies.append(_lower_policy(source, model, engine, options))
    if uses and has_ambiguous_names(inventory.pods):
        check_port_names(uses, index_pods(inventory), diagnostics)
    return tuple(sorted(policies, key=lambda policy: policy.order))


def exempt_rules(engine: LayerEngine, direction: Direction) -> tuple[Rule, ...]:
    """Allow rules that an active NetworkPolicy tier tries first: a pod and its own node, in both directions.

    Only the kubernetes engine's: the other dialects bring their own.
    """
    if engine != "kubernetes":
        return ()
    origin = Origin("built-in", "own node exemption", Span("<built-in>", 1, 1, 1, 1))
    return (Rule(Action.ALLOW, OnOwnNode(), ANY_L4, origin),)


def _lower_policy(source: PolicyObject, policy: NetworkPolicy, engine: LayerEngine, options: Options) -> Policy:
    spec = policy.spec
    blocked = address_restriction(engine, options)
    ingress = [
        _rule(source, rule.peers, rule.ports, ("spec", "ingress", index), blocked)
        for index, rule in enumerate(spec.ingress)
    ]
    egress = [
        _rule(source, rule.peers, rule.ports, ("spec", "egress", index), blocked)
        for index, rule in enumerate(spec.egress)
    ]
    isolates_ingress, isolates_egress = spec.directions
    return Policy(
        source.title,
        network_policy_subject(source, policy),
        Section(tuple(ingress), True, source.origin("spec", "ingress")) if isolates_ingress else None,
        Section(tuple(egress), True, source.origin("spec", "egress")) if isolates_egress else None,
        source.origin(),
        _order(source, engine),
    )


def _order(source: PolicyObject, engine: LayerEngine) -> tuple[float, str]:
    if engine == "calico":
        return CALICO_ORDER, f"{source.name}/{source.namespace}/KubernetesNetworkPolicy"
    return 0.0, f"{source.namespace}/{source.name}"


def _rule(
    source: PolicyObject,
    peers: tuple[Peer, ...],
    ports: tuple[Port, ...],
    path: tuple[str | int, ...],
    restriction: PeerExpr,
) -> Rule:
    peer = any_peer(*(_peer(item, source.namespace, restriction) for item in peers)) if peers else ANYONE
    l4 = tuple(_port(item) for item in ports) or ANY_L4
    return Rule(Action.ALLOW, peer, l4, source.origin(*path))


def _peer(peer: Peer, namespace: str, restriction: PeerExpr) -> PeerExpr:
    if peer.ip_block is not None:
        return _ip_block(peer.ip_block, restriction)
    own = label_expression(peer.pod_selector, "label") if peer.pod_selector is not None else all_labels()
    if peer.namespace_selector is None:
        return HasObject(all_labels(POD, in_namespace(namespace), own))
    return HasObject(all_labels(POD, label_expression(peer.namespace_selector, "namespace"), own))


def _ip_block(block: IPBlock, restriction: PeerExpr) -> PeerExpr:
    inside = InPrefixes((network_of(block.cidr),))
    if not block.except_:
        return all_peers(inside, restriction)
    networks = {network_of(text) for text in block.except_}
    spared = InPrefixes(tuple(sorted(networks, key=lambda item: (item.version, item))))
    return all_peers(inside, PeerNot(spared), restriction)


def address_restriction(engine: LayerEngine, options: Options) -> PeerExpr:
    """Which kinds of address ``ipBlock`` can match. A service address is never one: policy speaks of backends."""
    return PeerNot(HasObject(kind_is(*_hidden_kinds(engine, options))))


def _hidden_kinds(engine: LayerEngine, options: Options) -> tuple[str, ...]:
    choice = options.ipblock_matches_pods
    match engine:
        case "kubernetes":
            return ("service",) if choice == "always" else ("pod", "service")
        case "cilium":
            return ("node", "service") if choice == "always" else ("node", "pod", "service")
        case "calico":
            return ("pod", "service") if choice == "never" else ("service",)
        case _:
            assert_never(engine)


def _port(port: Port) -> L4Match:
    number = PROTOCOLS[port.protocol or "TCP"]
    protocols = ((number, number),)
    if port.port is None:
        return L4Match(protocols)
    if isinstance(port.port, str):
        return L4Match(protocols, named_ports=(NamedPort(port.port, number, "destination"),))
    return L4Match(protocols, destination_ports=((port.port, port.end_port or port.port),))
