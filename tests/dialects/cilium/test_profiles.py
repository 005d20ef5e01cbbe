"""Where the two profiles differ: the errors of each."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def body(section: str) -> str:
    return f"endpointSelector: {{}}\n{section}"


L7 = "ingress: [{toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {%s}}]}]"

DIFFERENCES = {
    "bare address": (body("ingress: [{fromCIDR: [10.0.0.1]}]"), [], ["CIL026"]),
    "log": (body("log: {value: audit}\ningress: [{}]"), ["CIL016"], []),
    "cluster-mesh": (body("ingress: [{fromEntities: [cluster-mesh]}]"), ["CIL031"], []),
    "extended protocol": (body("ingress: [{toPorts: [{ports: [{protocol: GRE}]}]}]"), ["CIL039"], []),
    "empty kafka": (body(L7 % "kafka: []"), [], ["CIL016"]),
    "empty l7": (body(L7 % "l7: []"), [], ["CIL016"]),
    "kafka": (body(L7 % "kafka: [{}]"), ["CIL060"], ["CIL016", "CIL060"]),
    "no port": (body("ingress: [{toPorts: [{ports: [{protocol: TCP}]}]}]"), ["CIL037"], ["CIL037"]),
    "requires": (body("ingress: [{fromRequires: [{}]}]"), ["CIL068"], ["CIL068"]),
    "wider exception": (
        body("ingress: [{fromCIDRSet: [{cidr: 10.0.0.0/16, except: [10.0.0.0/8]}]}]"),
        ["CIL027"],
        ["CIL027"],
    ),
}


@pytest.mark.parametrize("case", DIFFERENCES)
def test_profiles(case: str, compile_rule: Callable) -> None:
    text, old, new = DIFFERENCES[case]
    assert sorted(code for code, _ in compile_rule(text, cilium_profile="1.18").errors) == old
    assert sorted(code for code, _ in compile_rule(text, cilium_profile="1.20").errors) == new


@pytest.mark.parametrize(("key", "old", "new"), [
    ("pod-template-hash", True, True),
    ("io.kubernetes.foo", True, True),
    ("kubernetes.io/arch", True, True),
    ("failure-domain.beta.kubernetes.io/zone", True, True),
    ("topology.kubernetes.io/zone", False, True),
    ("app.kubernetes.io/name", False, False),
    ("io.kubernetes.pod.namespace", False, False),
    ("app", False, False),
])  # fmt: skip
def test_filtered_labels(key: str, old: bool, new: bool, compile_rule: Callable) -> None:
    text = body(f"ingress: [{{fromEndpoints: [{{matchLabels: {{{key}: a}}}}]}}]")
    assert ("CIL076" in compile_rule(text, cilium_profile="1.18").codes) is old
    assert ("CIL076" in compile_rule(text, cilium_profile="1.20").codes) is new


@pytest.mark.parametrize("pattern", ["**.shop.example", "**", "*.", "**."])
def test_patterns_that_depend_on_the_profile(pattern: str, compile_rule: Callable) -> None:
    text = body(f"egress: [{{toFQDNs: [{{matchPattern: '{pattern}'}}]}}]")
    assert "CIL080" in compile_rule(text).codes


@pytest.mark.parametrize("pattern", ["*", "*.shop.example", "**shop.example", "cdn.**.shop.example"])
def test_patterns_that_do_not(pattern: str, compile_rule: Callable) -> None:
    assert "CIL080" not in compile_rule(body(f"egress: [{{toFQDNs: [{{matchPattern: '{pattern}'}}]}}]")).codes
