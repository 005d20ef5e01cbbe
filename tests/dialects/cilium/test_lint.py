"""Warnings and notes that need the inventory."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from ipaddress import ip_address, ip_network

import pytest

from bpfence.identity.inventory import ContainerPort, Inventory, Node, Pod
from bpfence.source.spans import Span

HERE = Span("inventory.yaml", 3, 1, 3, 1)
DB = Pod(
    "shop",
    "db",
    HERE,
    labels={"app": "db"},
    node="n1",
    addresses=(ip_address("10.1.0.11"),),
    ports=(ContainerPort("sql", 6, 5432), ContainerPort("setup", 6, 99, init=True)),
)
WEB = Pod("shop", "web", HERE, labels={"app": "web"}, addresses=(ip_address("10.1.0.10"),))
WORLD = Inventory(
    pods=(DB, WEB),
    nodes=(Node("n1", HERE, addresses=(ip_address("10.0.0.1"),), pod_cidrs=(ip_network("10.1.0.0/24"),)),),
)
DB_INGRESS = "endpointSelector: {matchLabels: {app: db}}\n"

CASES = {
    "deny only": ("ingressDeny: [{fromEntities: [host]}]", ["CIL085"]),
    "deny and allow": ("ingressDeny: [{fromEntities: [host]}]\ningress: [{}]", []),
    "block list": ("ingressDeny: [{fromEntities: [host]}]\nenableDefaultDeny: {ingress: false}", []),
    "empty entity": ("ingress: [{fromEntities: [health]}]", ["CIL081"]),
    "no API server": ("ingress: [{fromEntities: [kube-apiserver]}]", ["CIL081"]),
    "nodes are there": ("ingress: [{fromEntities: [remote-node]}]", []),
    "prefix over pods": ("ingress: [{fromCIDR: [10.0.0.0/8]}]", ["CIL082"]),
    "prefix over future pods": ("ingress: [{fromCIDRSet: [{cidr: 10.1.0.64/26}]}]", ["CIL082"]),
    "prefix outside": ("ingress: [{fromCIDR: [192.0.2.0/24]}]", []),
    "everything": ("ingress: [{fromCIDR: [0.0.0.0/0]}]", []),
    "known name": ("ingress: [{toPorts: [{ports: [{port: sql}]}]}]", []),
    "unknown name": ("ingress: [{toPorts: [{ports: [{port: http}]}]}]", ["CIL083"]),
    "name of another protocol": ("ingress: [{toPorts: [{ports: [{port: sql, protocol: UDP}]}]}]", ["CIL083"]),
    "name of an init container": ("ingress: [{toPorts: [{ports: [{port: setup}]}]}]", ["CIL083"]),
    "unknown name denied": ("ingress: [{}]\ningressDeny: [{toPorts: [{ports: [{port: http}]}]}]", ["CIL052"]),
    "known name denied": ("ingress: [{}]\ningressDeny: [{toPorts: [{ports: [{port: sql}]}]}]", []),
}


@pytest.mark.parametrize("case", CASES)
def test_lint(case: str, compile_rule: Callable) -> None:
    sections, codes = CASES[case]
    assert compile_rule(DB_INGRESS + sections, WORLD).codes == codes


def test_names_of_egress_are_the_peers(compile_rule: Callable) -> None:
    text = (
        "endpointSelector: {}\negress: [{toEndpoints: [{matchLabels: {app: %s}}], toPorts: [{ports: [{port: sql}]}]}]"
    )
    assert compile_rule(text % "db", WORLD).codes == []
    assert compile_rule(text % "web", WORLD).codes == ["CIL083"]


def test_older_reading_of_egress_names(compile_rule: Callable) -> None:
    ports = "toPorts: [{ports: [{port: sql}]}]"
    only_db = f"endpointSelector: {{}}\negress: [{{toEndpoints: [{{matchLabels: {{app: db}}}}], {ports}}}]"
    both = f"endpointSelector: {{}}\negress: [{{toEndpoints: [{{}}], {ports}}}]"
    assert compile_rule(only_db, WORLD, cilium_profile="1.18").codes == []
    assert compile_rule(both, WORLD, cilium_profile="1.18").codes == ["CIL084"]
    assert compile_rule(both, WORLD, cilium_profile="1.20").codes == []


def test_a_name_without_any_pod_is_a_warning_even_when_denied(compile_rule: Callable) -> None:
    text = "endpointSelector: {}\ningress: [{}]\ningressDeny: [{toPorts: [{ports: [{port: http}]}]}]"
    assert compile_rule(text).codes == ["CIL083"]


def test_two_numbers_of_one_name_are_refused_at_the_pod(compile_rule: Callable) -> None:
    twice = Pod("shop", "db", HERE, ports=(ContainerPort("sql", 6, 1), ContainerPort("sql", 6, 2)))
    inventory = Inventory(pods=(twice,))
    text = "endpointSelector: {}\ningress: [{toPorts: [{ports: [{port: NAME}]}]}]"
    assert compile_rule(text.replace("NAME", "sql"), inventory).errors == [("CIL053", 3)]
    assert compile_rule(text.replace("NAME", "'80'"), inventory).errors == []


NESTED = """
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: a, labels: {site: a}}
spec: {externalCIDRs: [10.0.0.0/8]}
---
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: b, labels: {site: b}}
spec: {externalCIDRs: [10.1.0.0/16]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: shop}
spec: {endpointSelector: {}, egress: [{toCIDRSet: [{cidrGroupSelector: {matchLabels: {site: SITE}}}]}]}
"""


def test_nested_groups(compile_policy: Callable) -> None:
    text = NESTED.replace("SITE", "a")
    assert compile_policy(text, cilium_profile="1.18").codes == ["CIL086"]
    assert compile_policy(text, cilium_profile="1.20").codes == []


def test_group_selector_without_a_group(compile_policy: Callable) -> None:
    assert compile_policy(NESTED.replace("SITE", "c")).codes == ["CIL087"]


def test_peers_without_a_namespace_beside_initialising_subjects(compile_rule: Callable) -> None:
    text = (
        "endpointSelector: {matchExpressions: [{key: 'reserved:init', operator: %s}]}\n"
        "ingress: [{fromEndpoints: [{matchLabels: {app: web}}, %s]}]"
    )
    for operator in ("Exists", "DoesNotExist"):
        outcome = compile_rule(text % (operator, "{}"), WORLD, namespace="")
        assert [item.span.line for item in outcome.diagnostics if item.code == "CIL078"] == [6]
    tied = "{matchExpressions: [{key: io.kubernetes.pod.namespace, operator: Exists}]}"
    assert "CIL078" not in compile_rule(text % ("Exists", tied), WORLD, namespace="").codes


@pytest.mark.parametrize(
    ("label", "namespace", "codes"),
    [
        ("health", "shop", ["CIL079"]),
        ("ingress", "shop", ["CIL079"]),
        ("health", "", []),
        ("host", "", ["CIL079"]),
    ],
)
def test_reserved_subjects(label: str, namespace: str, codes: list[str], compile_rule: Callable) -> None:
    text = f"endpointSelector: {{matchLabels: {{'reserved:{label}': ''}}}}\ningress: [{{}}]"
    assert compile_rule(text, WORLD, namespace=namespace).codes == codes


def test_policies_with_names_are_linted_once_each(compile_policy: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can learn names is found once for all rules, not once for each."""
    asked = []
    monkeypatch.setattr("bpfence.dialects.cilium.lint_subjects.has_dns_rules", lambda rule: asked.append(rule))
    rule = "{endpointSelector: {}, egress: [{toFQDNs: [{matchName: a.example}]}]}"
    head = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: shop}\n"
    compile_policy(f"{head}specs: [{', '.join([rule] * 20)}]", WORLD)
    assert len(asked) == 20


def test_only_statements_with_port_names_are_lowered_again(
    compile_rule: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = []
    module = import_module("bpfence.dialects.cilium.lint")
    monkeypatch.setattr(module, "lower_statement", lambda *site: again.append(site))
    compile_rule("endpointSelector: {}\ningress: [{fromEndpoints: [{}]}, {toPorts: [{ports: [{port: sql}]}]}]", WORLD)
    assert len(again) == 1
