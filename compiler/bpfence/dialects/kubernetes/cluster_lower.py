"""ClusterNetworkPolicy and its predecessors in, policies of the Admin and of the Baseline tier out."""

from __future__ import annotations

from collections.abc import Sequence

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.kubernetes.admin_model import AdminNetworkPolicy, BaselineAdminNetworkPolicy
from bpfence.dialects.kubernetes.cluster_conflicts import check_equal_priorities
from bpfence.dialects.kubernetes.cluster_form import ClusterPolicy, ClusterRule, PortItem, cluster_form
from bpfence.dialects.kubernetes.cluster_model import (
    ClusterEgressPeer,
    ClusterIngressPeer,
    ClusterNetworkPolicy,
)
from bpfence.dialects.kubernetes.domain_names import learnt_name
from bpfence.dialects.kubernetes.pod_index import index_pods
from bpfence.dialects.kubernetes.port_names import check_port_names, uses_of_cluster_policy
from bpfence.dialects.kubernetes.prefixes import network_of
from bpfence.dialects.kubernetes.selectors import label_expression
from bpfence.dialects.kubernetes.subjects import chosen_pods, cluster_subject, pods_of_namespaces
from bpfence.dialects.kubernetes.unsupported import denies_all
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory
from bpfence.ir.expressions import (
    ANYONE,
    NODE,
    HasObject,
    InPrefixes,
    PeerExpr,
    PeerNot,
    all_labels,
    all_peers,
    any_peer,
    kind_is,
)
from bpfence.ir.nodes import ANY_L4, Action, Direction, L4Match, NamedPort, Policy, Rule, Section
from bpfence.options import Options

ACTIONS = {"Accept": Action.ALLOW, "Deny": Action.DENY, "Pass": Action.PASS}
NO_SERVICE = PeerNot(HasObject(kind_is("service")))
CLUSTER_MODELS = ClusterNetworkPolicy | AdminNetworkPolicy | BaselineAdminNetworkPolicy


def lower_cluster_policies(
    objects: Sequence[PolicyObject], options: Options, inventory: Inventory, diagnostics: Diagnostics
) -> tuple[tuple[Policy, ...], tuple[Policy, ...]]:
    """(Admin, Baseline): the policies of each tier in their order. Reports policies of equal priority that disagree.

    Policies that `lower_unsupported` answers for are left out. ``networks`` always match by address, pods included,
    whatever the options say about ``ipBlock``.
    """
    chosen = [item for item in objects if isinstance(item.model, CLUSTER_MODELS)]
    if options.allow_unsupported:
        chosen = [item for item in chosen if not denies_all(item)]
    forms = sorted((cluster_form(item) for item in chosen), key=lambda form: form.order)
    if not forms:
        return (), ()
    index = index_pods(inventory)
    check_port_names((use for form in forms for use in uses_of_cluster_policy(form)), index, diagnostics)
    check_equal_priorities(forms, index, diagnostics)
    admin = tuple(_lower_policy(form) for form in forms if not form.baseline)
    return admin, tuple(_lower_policy(form) for form in forms if form.baseline)


def _lower_policy(form: ClusterPolicy) -> Policy:
    source = form.source
    return Policy(
        source.title,
        cluster_subject(form.subject),
        _section(form, Direction.INGRESS),
        _section(form, Direction.EGRESS),
        source.origin(),
        form.order,
    )


def _section(form: ClusterPolicy, direction: Direction) -> Section | None:
    rules = form.rules(direction)
    if not rules:
        return None
    lowered = [_rule(form.source, rule) for rule in rules]
    kept = tuple(rule for rule in lowered if rule is not None)
    return Section(kept, False, form.source.origin("spec", direction.value))


def _rule(source: PolicyObject, rule: ClusterRule) -> Rule | None:
    """The rule; None for an Accept rule that fails closed and so matches nothing."""
    origin = source.origin(*rule.path)
    if rule.closed:
        return None if rule.action == "Accept" else Rule(Action.DENY, ANYONE, ANY_L4, origin)
    peer = any_peer(*(_peer(item) for item in rule.peers))
    l4 = ANY_L4 if rule.items is None else tuple(_l4(item) for item in rule.items)
    return Rule(ACTIONS[rule.action], peer, l4, origin)


def _peer(peer: ClusterIngressPeer) -> PeerExpr:
    if peer.namespaces is not None:
        return HasObject(pods_of_namespaces(peer.namespaces))
    if peer.pods is not None:
        return HasObject(chosen_pods(peer.pods))
    if isinstance(peer, ClusterEgressPeer) and peer.nodes is not None:
        return HasObject(all_labels(NODE, label_expression(peer.nodes, "label")))
    if isinstance(peer, ClusterEgressPeer) and peer.networks is not None:
        return _networks(peer.networks)
    if isinstance(peer, ClusterEgressPeer) and peer.domain_names is not None:
        return all_peers(learnt_name(peer.domain_names), NO_SERVICE)
    raise ValueError("a peer of an open rule has exactly one member that can be enforced")


def _networks(texts: tuple[str, ...]) -> PeerExpr:
    """Every address inside but for service addresses: policy speaks of backends."""
    networks = sorted({network_of(text) for text in texts}, key=lambda item: (item.version, item))
    return all_peers(InPrefixes(tuple(networks)), NO_SERVICE)


def _l4(item: PortItem) -> L4Match:
    if item.name:
        return L4Match(named_ports=tuple(NamedPort(item.name, number, "destination") for number in item.protocols))
    protocols = tuple((number, number) for number in sorted(item.protocols))
    return L4Match(protocols, destination_ports=(item.ports,) if item.ports else None)
