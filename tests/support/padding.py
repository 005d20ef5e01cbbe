"""Things that change nothing: policies that select nobody or match nothing, and policies repeated under new names."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

Object = dict[str, Any]
NEVER = {"matchLabels": {"app": "never"}}
NEVER_TEXT = "app == 'never'"
SUFFIX = "0again"
"""sorts after every separator, so that a repeated policy comes after the one it repeats"""
BOTH = ("ingress", "egress")


def repeated(policies: Sequence[Object]) -> tuple[Object, ...]:
    """Every policy once more, at the next place in its order. The one BaselineAdminNetworkPolicy can't be repeated."""
    return (*policies, *(copy_ for item in policies for copy_ in _copy(item)))


def _copy(item: Object) -> Iterator[Object]:
    kind = item["kind"]
    if not kind.endswith("NetworkPolicy") or kind == "BaselineAdminNetworkPolicy":
        return
    new = copy.deepcopy(item)
    new["metadata"]["name"] += SUFFIX
    if "priority" in new.get("spec", {}):
        new["spec"]["priority"] += 1
    yield new


def padded(policies: Sequence[Object], count: int) -> tuple[Object, ...]:
    """With ``count`` idle policies of each language that is in use."""
    versions = {item["apiVersion"].partition("/")[0] for item in policies}
    makers = {
        "networking.k8s.io": _network,
        "policy.networking.k8s.io": _cluster,
        "cilium.io": _cilium,
        "projectcalico.org": _calico,
    }
    idle = [make(number) for version in sorted(versions) for number in range(count) for make in (makers[version],)]
    extra = [_tier()] if "projectcalico.org" in versions else []
    return (*extra, *idle[::2], *policies, *idle[1::2])


def _network(number: int) -> Object:
    ports = [{"port": 1 + number, "endPort": 2 + number * 7}]
    spec = {
        "podSelector": NEVER,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"ipBlock": {"cidr": f"10.1.{number % 256}.0/24"}}], "ports": ports}],
        "egress": [{"to": [{"podSelector": {}}], "ports": ports}],
    }
    return _object("networking.k8s.io/v1", "NetworkPolicy", number, spec, namespace="alpha")


def _cluster(number: int) -> Object:
    """Between and after the others' priorities; one in two selects every pod and matches nothing."""
    everybody = number % 2 == 0
    peers = [{"namespaces": NEVER if everybody else {}}]
    rules = [{"action": "Deny", key: peers} for key in ("from", "to")]
    spec = {
        "tier": ("Admin", "Baseline")[number // 2 % 2],
        "priority": 5 if number < 2 else 300 + number,
        "subject": {"namespaces": {} if everybody else NEVER},
        "ingress": rules[:1],
        "egress": rules[1:],
    }
    return _object("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", number, spec)


def _cilium(number: int) -> Object:
    """One in two selects every endpoint, denies only peers that nobody is, and turns no default deny on."""
    ports = [{"ports": [{"port": str(1 + number), "endPort": 2 + number * 7, "protocol": "ANY"}]}]
    if number % 2:
        spec: Object = {"endpointSelector": NEVER, "ingress": [{}], "egressDeny": [{"toEntities": ["all"]}]}
    else:
        spec = {
            "endpointSelector": {},
            "enableDefaultDeny": {"ingress": False, "egress": False},
            "ingressDeny": [{"fromEndpoints": [NEVER], "toPorts": ports}],
            "egressDeny": [{"toEntities": ["none"], "toPorts": ports}],
        }
    return _object("cilium.io/v2", "CiliumClusterwideNetworkPolicy", number, spec)


def _calico(number: int) -> Object:
    """One in two selects nobody in tier default, the others match nothing in a tier that passes."""
    action = ("Deny", "Allow", "Pass", "Log")[number % 4]
    rule = {"action": action, "protocol": "TCP", "source": {"selector": NEVER_TEXT}}
    if number % 2:
        spec: Object = {"order": number - 3, "selector": NEVER_TEXT, "types": ["Ingress", "Egress"]}
    else:
        spec = {"tier": "idle", "order": number, "ingress": [rule], "egress": [rule]}
    return _object("projectcalico.org/v3", "GlobalNetworkPolicy", number, spec)


def _tier() -> Object:
    spec = {"order": 4, "defaultAction": "Pass"}
    return {"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "idle"}, "spec": spec}


def _object(version: str, kind: str, number: int, spec: Object, namespace: str = "") -> Object:
    metadata = {"name": f"idle{number}", **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
