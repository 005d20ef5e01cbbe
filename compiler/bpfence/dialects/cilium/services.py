"""``toServices``: services of the inventory in, the peers behind them out.

A service with a selector means its pods; one without means the addresses of its endpoints, which are prefix rules and
so never match pods. Upstream: ``pkg/policy/k8s/service.go``.
"""

from __future__ import annotations

from ipaddress import ip_network

from bpfence.dialects.cilium.labels import Test, selector_tests
from bpfence.dialects.cilium.model import ServiceRule
from bpfence.dialects.cilium.prefixes import sort_networks
from bpfence.dialects.cilium.selectors import Cluster, in_namespace
from bpfence.identity.inventory import Inventory, Service
from bpfence.ir import expressions as ir


def lower_service(item: ServiceRule, inventory: Inventory, cluster: Cluster, scope: ir.PeerExpr) -> ir.PeerExpr | None:
    """One item of ``toServices``; None when nothing is behind it. ``scope``: what prefix rules may match at all."""
    peers = [_behind(service, inventory, cluster, scope) for service in find_services(item, inventory)]
    found = [peer for peer in peers if peer is not None]
    return ir.any_peer(*found) if found else None


def find_services(item: ServiceRule, inventory: Inventory) -> tuple[Service, ...]:
    """The services of the inventory that an item names; without a namespace, those of every namespace."""
    if (by_name := item.k8s_service) is not None:
        candidates = _in_namespace(inventory, by_name.namespace)
        return tuple(service for service in candidates if service.name == by_name.service_name)
    if (by_labels := item.k8s_service_selector) is not None:
        tests = selector_tests(by_labels.selector)
        candidates = _in_namespace(inventory, by_labels.namespace)
        return tuple(service for service in candidates if _has_labels(service, tests))
    return ()


def _in_namespace(inventory: Inventory, namespace: str | None) -> tuple[Service, ...]:
    return tuple(service for service in inventory.services if not namespace or service.namespace == namespace)


def _has_labels(service: Service, tests: tuple[Test, ...]) -> bool:
    return all(test.accepts(service.labels.get(test.key.name)) for test in tests)


def _behind(service: Service, inventory: Inventory, cluster: Cluster, scope: ir.PeerExpr) -> ir.PeerExpr | None:
    if service.selector:
        labels = (
            ir.LabelTest((f"label:{key}",), ir.LabelOperator.IN, (value,))
            for key, value in sorted(service.selector.items())
        )
        return ir.HasObject(ir.all_labels(cluster.pod, in_namespace(service.namespace), *labels))
    addresses = {
        ip_network(entry.address)
        for entry in inventory.endpoints
        if (entry.namespace, entry.service) == (service.namespace, service.name)
    }
    return ir.all_peers(ir.InPrefixes(sort_networks(addresses)), scope) if addresses else None
