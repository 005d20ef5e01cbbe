"""What Calico's selectors see: labelled objects, and selectors rewritten for the policy they stand in.

Follows ``libcalico-go/lib/backend/syncersv1/updateprocessors`` and ``libcalico-go/lib/backend/k8s/conversion``
of projectcalico/calico.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network

from bpfence.dialects.calico.model import (
    EntityRule,
    GlobalNetworkPolicySpec,
    GlobalNetworkSet,
    NetworkPolicySpec,
    NetworkSet,
    ServiceAccountMatch,
)
from bpfence.identity.inventory import Pod
from bpfence.semantics.calico_selector import ALL, Node, matches, parse, prefix_labels, replace_leaf
from bpfence.semantics.packet import container_ports
from bpfence.semantics.world import Party, ReferenceWorld

NAMESPACE = "projectcalico.org/namespace"
ORCHESTRATOR = "projectcalico.org/orchestrator"
SERVICE_ACCOUNT = "projectcalico.org/serviceaccount"
LONGEST_ACCOUNT = 62
IN_A_NAMESPACE: Node = ("has", NAMESPACE)
GLOBAL: Node = ("global",)


def pod_labels(world: ReferenceWorld, pod: Pod) -> Mapping[str, str]:
    """Implicit labels win over own ones, own ones over those of the namespace's and service account's profile. A pod
    that lists other profiles has what it inherits by them among its own, and nothing else.
    """
    space = {f"pcns.{key}": value for key, value in world.namespace_labels(pod.namespace).items()}
    account = world.account_labels(pod.namespace, pod.service_account)
    inherited = {
        **{f"pcsa.{key}": value for key, value in account.items()},
        "pcsa.projectcalico.org/name": pod.service_account,
        **space,
        "pcns.projectcalico.org/name": pod.namespace,
    }
    implicit = {NAMESPACE: pod.namespace, ORCHESTRATOR: "k8s"}
    if len(pod.service_account) <= LONGEST_ACCOUNT:
        implicit[SERVICE_ACCOUNT] = pod.service_account
    if pod.profiles is not None:
        inherited = {}
    return {**inherited, **pod.labels, **implicit}


def selects_pod(world: ReferenceWorld, spec: NetworkPolicySpec, namespace: str, pod: Pod) -> bool:
    """Whether a policy of ``namespace`` (empty: global) applies to the pod."""
    return matches(policy_selector(spec, namespace), pod_labels(world, pod))


def policy_selector(spec: NetworkPolicySpec, namespace: str) -> Node:
    """The effective selector of a policy: its own, its namespace's, its service accounts'."""
    if namespace:
        node = _both(parse(spec.selector), in_namespace(namespace))
        return _both(node, prefix_labels(parse(spec.service_account_selector), "pcsa."))
    node = parse(spec.selector)
    if isinstance(spec, GlobalNetworkPolicySpec) and spec.namespace_selector:
        of_namespace = prefix_labels(parse(spec.namespace_selector), "pcns.")
        node = _both(node, of_namespace) if spec.selector else of_namespace
        node = replace_leaf(node, ALL, IN_A_NAMESPACE)
    if spec.service_account_selector:
        of_account = prefix_labels(parse(spec.service_account_selector), "pcsa.")
        node = _both(node, of_account) if spec.selector or node != ALL else of_account
        node = replace_leaf(node, ALL, ("has", SERVICE_ACCOUNT))
    return node


def entity_selector(entity: EntityRule, namespace: str) -> Node | None:
    """The positive selector of one side of a rule after rewriting. None: no criterion, any address can match."""
    terms: list[Node] = []
    if entity.namespace_selector:
        of_namespace = prefix_labels(parse(entity.namespace_selector), "pcns.")
        of_namespace = replace_leaf(of_namespace, ALL, IN_A_NAMESPACE)
        terms.append(replace_leaf(of_namespace, GLOBAL, ("not", IN_A_NAMESPACE)))
    elif namespace and (entity.selector or entity.not_selector or _names_accounts(entity.service_accounts)):
        terms.append(in_namespace(namespace))
    if entity.selector:
        terms.append(parse(entity.selector))
    terms.extend(_account_terms(entity.service_accounts))
    return ("and", tuple(terms)) if terms else None


def in_address_set(world: ReferenceWorld, selector: Node, party: Party, *, original: bool = False) -> bool:
    """Whether an object that matches the selector contributes the address: a pod, a host endpoint that expects it, a
    set. A service address is in no set, unless the packet is seen as it is on the wire (``original``).
    """
    if party.pod is not None and matches(selector, pod_labels(world, party.pod)):
        return True
    if any(party.address in item.addresses and matches(selector, item.labels) for item in world.host_interfaces):
        return True
    if party.service and not original:
        return False
    return any(_contains(nets, party) and matches(selector, labels) for labels, nets in network_sets(world))


def has_named_port(world: ReferenceWorld, name: str, protocol: int, number: int, selector: Node, party: Party) -> bool:
    """Whether a pod or host endpoint at the address matches the selector and calls the port so; init containers too."""
    pod = party.pod
    if pod is not None and number in container_ports(pod, name, protocol, all_init=True):
        return matches(selector, pod_labels(world, pod))
    return any(
        party.address in item.addresses and (name, protocol, number) in item.ports and matches(selector, item.labels)
        for item in world.host_interfaces
    )


def network_sets(world: ReferenceWorld) -> Iterator[tuple[Mapping[str, str], Sequence[str]]]:
    """Labels and prefixes of every NetworkSet, with its namespace's labels, and GlobalNetworkSet, with its own only."""
    for item in world.policies.calico:
        if isinstance(item.model, GlobalNetworkSet):
            yield item.model.metadata.labels, item.model.spec.nets
        elif isinstance(item.model, NetworkSet):
            space = {f"pcns.{key}": value for key, value in world.namespace_labels(item.namespace).items()}
            name = {"pcns.projectcalico.org/name": item.namespace}
            labels = {**space, **name, **item.model.metadata.labels, NAMESPACE: item.namespace}
            yield labels, item.model.spec.nets


def _contains(nets: Sequence[str], party: Party) -> bool:
    return any(party.within(ip_network(net, strict=False)) for net in nets)


def in_namespace(namespace: str) -> Node:
    return ("==", NAMESPACE, namespace)


def _both(left: Node, right: Node) -> Node:
    return ("and", (left, right))


def _names_accounts(accounts: ServiceAccountMatch) -> bool:
    return bool(accounts.names or accounts.selector)


def _account_terms(accounts: ServiceAccountMatch) -> list[Node]:
    terms: list[Node] = []
    if accounts.names:
        terms.append(("in", SERVICE_ACCOUNT, frozenset(accounts.names)))
    if accounts.selector:
        terms.append(prefix_labels(parse(accounts.selector), "pcsa."))
    return terms
