"""Errors that only show when all objects and the inventory are known: missing tiers, missing inventory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from bpfence.diagnostics import Diagnostics
from bpfence.dialects.calico import codes
from bpfence.dialects.calico.check import BUILT_IN_TIERS
from bpfence.dialects.calico.model import (
    EntityRule,
    GlobalNetworkPolicySpec,
    HostEndpoint,
    NetworkPolicySpec,
    Policy,
    Profile,
    ProfileSpec,
    StagedPolicy,
    Tier,
)
from bpfence.dialects.calico.selectors import has_criteria
from bpfence.dialects.calico.values import read_port
from bpfence.dialects.objects import PolicyObject
from bpfence.identity.inventory import Inventory
from bpfence.selectors import parse_selector
from bpfence.source.documents import Path


def check_tiers(objects: Sequence[PolicyObject], diagnostics: Diagnostics) -> None:
    """Every policy's tier exists."""
    known = {*BUILT_IN_TIERS, *(item.name for item in objects if isinstance(item.model, Tier))}
    for item in objects:
        if not isinstance(item.model, Policy | StagedPolicy):
            continue
        name = item.model.spec.tier_name
        if name not in known:
            message = f"there is no tier {name}"
            help_text = "add the Tier object to the input, or correct the name"
            diagnostics.error(codes.TIER_MISSING, item.span("spec", "tier"), message, help_text, item.title)


@dataclass(frozen=True, slots=True)
class Need:
    """A field that can't be judged without objects of one of these kinds."""

    path: Path
    kinds: tuple[str, ...]
    what: str


_NAMESPACES = (("Namespace",), "the labels of namespaces")
_ACCOUNTS = (("ServiceAccount",), "the labels of service accounts")
_ACCOUNT_NAMES = (("ServiceAccount", "Pod"), "the service accounts of pods")
_PODS = (("Pod",), "the ports of pods")
_ENDPOINTS = (("EndpointSlice", "Endpoints"), "the endpoints of services")


def check_inventory(objects: Sequence[PolicyObject], inventory: Inventory, diagnostics: Diagnostics) -> None:
    """Who names namespaces, service accounts, services or port names needs such objects in the input."""
    available = _available_kinds(inventory)
    host_ports = {
        port.name for item in objects if isinstance(item.model, HostEndpoint) for port in item.model.spec.ports
    }
    for item in objects:
        for need in _needs_of(item, host_ports):
            if available.isdisjoint(need.kinds):
                message = f"{need.path[-1]} needs {need.what}, and the input has no {' or '.join(need.kinds)}"
                help_text = f"add the {need.kinds[0]} objects of the cluster to the input"
                diagnostics.error(codes.INVENTORY_MISSING, item.span(*need.path), message, help_text, item.title)


def _available_kinds(inventory: Inventory) -> frozenset[str]:
    present = {
        "Pod": inventory.pods,
        "Namespace": [item for item in inventory.namespaces if not item.made_up],
        "ServiceAccount": inventory.service_accounts,
        "EndpointSlice": inventory.endpoints,
    }
    return inventory.declared_kinds | {kind for kind, items in present.items() if items}


def _needs_of(item: PolicyObject, host_ports: Collection[str]) -> Iterator[Need]:
    if isinstance(item.model, Policy | StagedPolicy):
        yield from _subject_needs(item.model.spec)
        yield from _rule_needs(item.model.spec, host_ports)
    elif isinstance(item.model, Profile):
        yield from _rule_needs(item.model.spec, host_ports)


def _subject_needs(spec: NetworkPolicySpec) -> Iterator[Need]:
    if _reads_labels(spec.service_account_selector):
        yield Need(("spec", "serviceAccountSelector"), *_ACCOUNTS)
    if isinstance(spec, GlobalNetworkPolicySpec) and _reads_labels(spec.namespace_selector):
        yield Need(("spec", "namespaceSelector"), *_NAMESPACES)


def _rule_needs(spec: NetworkPolicySpec | ProfileSpec, host_ports: Collection[str]) -> Iterator[Need]:
    for name, rules in (("ingress", spec.ingress), ("egress", spec.egress)):
        for index, rule in enumerate(rules):
            for side, entity in (("source", rule.source), ("destination", rule.destination)):
                yield from _side_needs(("spec", name, index, side), entity, host_ports)


def _side_needs(path: Path, entity: EntityRule, host_ports: Collection[str]) -> Iterator[Need]:
    accounts = entity.service_accounts
    if _reads_labels(entity.namespace_selector):
        yield Need((*path, "namespaceSelector"), *_NAMESPACES)
    if accounts.names:
        yield Need((*path, "serviceAccounts", "names"), *_ACCOUNT_NAMES)
    if _reads_labels(accounts.selector):
        yield Need((*path, "serviceAccounts", "selector"), *_ACCOUNTS)
    if entity.services is not None:
        yield Need((*path, "services"), *_ENDPOINTS)
    for field, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
        names = (port for port in map(read_port, ports) if isinstance(port, str))
        if any(name not in host_ports for name in names):
            yield Need((*path, field), *_PODS)


def _reads_labels(text: str) -> bool:
    return bool(text) and has_criteria(parse_selector(text))
