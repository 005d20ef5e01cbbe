"""Endpoints with reserved labels, pods that Cilium does not manage, pods of other clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from bpfence.identity.inventory import Inventory, Node, Pod
from bpfence.identity.world import build_world
from bpfence.source.spans import Span
from support.ir_oracle import Place, means, selects

NO_HEALTH = "{matchExpressions: [{key: 'reserved:health', operator: DoesNotExist}]}"
HERE = Span("i.yaml", 1, 1, 1, 1)


def pod(name: str, number: int, namespace: str = "shop", reserved: tuple[str, ...] = (), cluster: str = "") -> Pod:
    return Pod(
        namespace,
        name,
        HERE,
        labels={"app": name},
        node="n1",
        addresses=(ip_address(f"10.1.0.{number}"),),
        reserved=reserved,
        cluster=cluster,
    )


PODS = (
    pod("web", 1),
    pod("health", 2, "kube-system", ("health",)),
    pod("ing", 3, "kube-system", ("ingress",)),
    pod("new", 4, reserved=("init",)),
    pod("old", 5, reserved=("unmanaged",)),
    pod("scan", 6, "ops"),
)
WORLD = Inventory(
    pods=PODS,
    nodes=(Node("n1", HERE, addresses=(ip_address("10.0.0.1"),)),),
    declared_kinds=frozenset(("CiliumEndpoint",)),
)
MESH = replace(WORLD, pods=(pod("web", 1), pod("far", 7, cluster="west")), cluster="east")


def chosen(expression, inventory: Inventory) -> str:
    """The pods that a subject selects."""
    return " ".join(item.name.split("/")[1] for item in build_world(inventory).pods if selects(expression, item.labels))


def meant(expression, inventory: Inventory) -> str:
    """The pods that a peer means."""
    places = {pod.name.split("/")[1]: Place(pod.addresses[0], (pod.labels,)) for pod in build_world(inventory).pods}
    return " ".join(name for name, place in places.items() if means(expression, place))


@pytest.mark.parametrize(
    ("selector", "namespace", "expected"),
    [
        ("{}", "", "health ing scan new web"),
        ("{}", "shop", "new web"),
        ("{matchLabels: {app: new}}", "shop", "new"),
        ("{matchLabels: {app: health}}", "", ""),
        ("{matchLabels: {'reserved:health': ''}}", "", "health"),
        ("{matchExpressions: [{key: 'reserved:init', operator: Exists}]}", "", "new"),
        ("{matchExpressions: [{key: app, operator: NotIn, values: [web]}]}", "", "health ing scan new"),
        (NO_HEALTH, "", "ing scan new web"),
        ("{matchLabels: {app: old}}", "shop", ""),
    ],
)
def test_subjects(selector: str, namespace: str, expected: str, compile_rule: Callable) -> None:
    outcome = compile_rule(f"endpointSelector: {selector}\ningress: [{{}}]", WORLD, namespace=namespace)
    assert outcome.errors == []
    assert chosen(outcome.policies[0].subject, WORLD) == expected


@pytest.mark.parametrize(
    ("peer", "namespace", "expected"),
    [
        ("fromEntities: [health]", "shop", "health"),
        ("fromEntities: [ingress, init]", "shop", "ing new"),
        ("fromEntities: [unmanaged]", "shop", "old"),
        ("fromEntities: [cluster]", "shop", "health ing scan new old web"),
        ("fromEntities: [world]", "shop", ""),
        ("fromEndpoints: [{}]", "", "scan new web"),
        ("fromEndpoints: [{}]", "shop", "new web"),
        ("fromEndpoints: [{matchLabels: {'reserved:ingress': ''}}]", "shop", "ing"),
        ("fromEndpoints: [{matchExpressions: [{key: app, operator: DoesNotExist}]}]", "shop", ""),
        (f"fromEndpoints: [{NO_HEALTH}]", "", "ing scan new web"),
    ],
)
def test_peers(peer: str, namespace: str, expected: str, compile_rule: Callable) -> None:
    outcome = compile_rule(f"endpointSelector: {{}}\ningress: [{{{peer}}}]", WORLD, namespace=namespace)
    assert outcome.errors == []
    assert meant(outcome.policies[0].ingress.rules[0].peer, WORLD) == expected


@pytest.mark.parametrize(
    ("peer", "profile", "expected"),
    [
        ("fromEndpoints: [{}]", "1.18", "far web"),
        ("fromEndpoints: [{}]", "1.20", "web"),
        ("fromEndpoints: [{matchLabels: {io.cilium.k8s.policy.cluster: west}}]", "1.20", "far"),
        ("fromEndpoints: [{matchLabels: {'k8s:io.cilium.k8s.policy.cluster': east}}]", "1.20", "web"),
        ("fromEntities: [cluster]", "1.20", "web"),
        ("fromEntities: [cluster]", "1.18", "web"),
        ("fromEntities: [cluster-mesh]", "1.20", "far web"),
        ("fromEntities: [all]", "1.20", "far web"),
    ],
)
def test_other_clusters(peer: str, profile: str, expected: str, compile_rule: Callable) -> None:
    outcome = compile_rule(f"endpointSelector: {{}}\ningress: [{{{peer}}}]", MESH, cilium_profile=profile)
    assert outcome.errors == []
    assert meant(outcome.policies[0].ingress.rules[0].peer, MESH) == expected
    assert chosen(outcome.policies[0].subject, MESH) == "web"


@pytest.mark.parametrize(
    ("selector", "warned"),
    [
        ("{}", True),
        ("{matchLabels: {app: web}}", False),
        (NO_HEALTH, False),
    ],
)
def test_isolating_cilium_s_own_endpoints_is_a_warning(selector: str, warned: bool, compile_rule: Callable) -> None:
    outcome = compile_rule(f"endpointSelector: {selector}\ningress: [{{}}]", WORLD, namespace="")
    assert ("CIL090" in outcome.codes) is warned


def test_entities_with_members_are_not_reported_as_empty(compile_rule: Callable) -> None:
    text = "endpointSelector: {}\ningress: [{fromEntities: [health, ingress, init, unmanaged]}]"
    assert "CIL081" not in compile_rule(text, WORLD).codes
    assert compile_rule(text).codes.count("CIL081") == 4
