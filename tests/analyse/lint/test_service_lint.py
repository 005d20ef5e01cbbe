"""Services that isolated pods can't use."""

from __future__ import annotations

import pytest

POLICY = """---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: p, namespace: shop}}
spec: {{podSelector: {{matchLabels: {{app: {app}}}}}, policyTypes: [{types}], {direction}: [{rules}]}}
"""
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec:
  clusterIP: 10.96.0.{number}
  ports: [{{port: 80, targetPort: 8080}}, {{name: more, port: 81, nodePort: 300{number}}}]
"""
SLICE = """---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{port: 8080}}, {{name: more, port: 81}}]
endpoints: [{endpoints}]
"""
DB = "to: [{podSelector: {matchLabels: {app: db}}}]"
WEB, ONE, TWO = "addresses: [10.1.0.10]", "addresses: [10.1.0.11]", "addresses: [10.1.1.11]"


def policy(app: str, rules: str, direction: str = "egress") -> str:
    return POLICY.format(app=app, rules=rules, direction=direction, types=direction.capitalize())


def service(name: str, *endpoints: str, number: int = 10) -> str:
    slices = SLICE.format(name=name, endpoints=", ".join(f"{{{item}}}" for item in endpoints)) if endpoints else ""
    return SERVICE.format(name=name, number=number) + slices


def said(found, code):
    return [item.message for item in found if item.code == code]


@pytest.mark.parametrize(
    ("app", "endpoints", "rules", "warned"),
    [
        ("job", (WEB, ONE), "{" + DB + "}", True),
        ("job", (ONE, TWO), "{" + DB + "}", False),
        ("job", (WEB, WEB), "{" + DB + "}", False),
        ("job", (WEB, ONE), "", False),
        ("job", (WEB, ONE + ", conditions: {ready: false}"), "{" + DB + "}", False),
        ("job", (ONE, "addresses: [203.0.113.9]"), "{" + DB + "}", True),
        ("job", (ONE, "addresses: [203.0.113.9]"), "{to: [{ipBlock: {cidr: 203.0.113.0/24}}]}, {" + DB + "}", False),
        ("web", (WEB, ONE), "{" + DB + "}", False),
        ("db", (WEB, ONE), "{" + DB + "}", True),
    ],
)
def test_backends_that_differ(lint, app, endpoints, rules, warned):
    """What only the pod itself is denied of its own service is not denied at all."""
    found = lint(policy(app, rules) + service("front", *endpoints))
    assert bool(said(found, "LNT009")) is warned


def test_the_port_counts_and_the_denied_backend_is_named(lint):
    rules = "{to: [{podSelector: {}}], ports: [{port: 8080}]}, {" + DB + "}"
    (message,) = said(lint(policy("job", rules) + service("front", WEB, ONE)), "LNT009")
    assert "shop/job may reach some backends of service shop/front at 81/TCP, but not 10.1.0.10:81" in message


def test_every_policy_of_a_service_is_warned_once(lint):
    text = policy("job", "{" + DB + "}") + service("front", WEB, ONE) + service("twin", ONE, WEB, number=11)
    assert len(said(lint(text), "LNT009")) == 2


def test_a_service_that_nobody_answers(lint):
    gone = service("gone", ONE + ", conditions: {ready: false}", number=11)
    text = policy("job", "{}") + service("front", ONE) + gone
    (message,) = said(lint(text), "LNT010")
    assert message.startswith("service shop/gone has no ready backend at 80/TCP, 81/TCP, 30011/TCP: ")


def test_only_pods_that_are_isolated_for_egress_meet_it(lint):
    assert not said(lint(policy("job", "{}", "ingress") + service("gone")), "LNT010")
    assert not said(lint(service("gone")), "LNT010")


def test_an_input_without_endpoints_is_told_so_once(lint):
    (message,) = said(lint(policy("job", "{}") + service("one") + service("two", number=11)), "LNT010")
    assert "neither EndpointSlices nor Endpoints" in message
