"""toFQDNs: what is lowered, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from bpfence.identity.inventory import Inventory, Pod
from bpfence.ir.expressions import OUTSIDE, LearntName, all_peers
from bpfence.source.spans import Span

SUBJECT = "endpointSelector: {}\negress:"
TEACHER = "- toPorts: [{ports: [{port: '53'}], rules: {dns: [{matchPattern: '*'}]}}]"


@pytest.mark.parametrize(
    ("items", "profile", "patterns"),
    [
        ("[{matchName: Pay.Shop.example}]", "1.20", ("pay.shop.example.",)),
        ("[{matchPattern: '*.b.'}, {matchName: a.b}, {matchPattern: '*.b'}]", "1.20", ("*.b.", "a.b.")),
        ("[{matchPattern: '*'}]", "1.18", ("*",)),
        ("[{matchPattern: '**'}]", "1.18", ("**.",)),
        ("[{matchPattern: '**'}]", "1.20", ("*",)),
    ],
)
def test_lowered(items: str, profile: str, patterns: tuple[str, ...], compile_rule: Callable) -> None:
    outcome = compile_rule(f"{SUBJECT}\n- toFQDNs: {items}", cilium_profile=profile)
    assert outcome.errors == []
    (rule,) = outcome.policies[0].egress.rules
    assert rule.peer == all_peers(OUTSIDE, LearntName(patterns, profile))
    assert outcome.policies[0].egress.isolates


def test_it_says_that_tables_know_no_names(compile_rule: Callable) -> None:
    outcome = compile_rule(f"{SUBJECT}\n- toFQDNs: [{{matchName: a.b}}]\n{TEACHER}")
    assert [(item.code, item.severity, item.span.line) for item in outcome.diagnostics] == [
        ("CIL065", "warning", 7),
        ("CIL066", "warning", 8),
    ]


def pod(name: str) -> Pod:
    return Pod("shop", name, Span("p.yaml", 1, 1, 1, 1), {"app": name}, addresses=(ip_address("10.0.0.1"),))


NAMES_ALONE = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: shop}
specs:
- {endpointSelector: {}, egress: [{toFQDNs: [{matchName: a.b}]}]}
"""
TAUGHT = "- {endpointSelector: {matchLabels: {app: %s}}, egress: [%s]}\n"


@pytest.mark.parametrize(
    ("more", "pods", "warned"),
    [
        ("", (), True),
        ("", (pod("web"),), True),
        (TAUGHT % ("web", TEACHER.removeprefix("- ")), (pod("web"),), False),
        (TAUGHT % ("web", TEACHER.removeprefix("- ")), (pod("web"), pod("db")), True),
        (TAUGHT % ("web", TEACHER.removeprefix("- ")), (), False),
    ],
)
def test_nobody_learns_without_a_dns_rule(
    more: str, pods: tuple[Pod, ...], warned: bool, compile_policy: Callable
) -> None:
    outcome = compile_policy(NAMES_ALONE + more, Inventory(pods=pods))
    assert ("CIL088" in outcome.codes) is warned


@pytest.mark.parametrize(
    ("items", "code"),
    [
        ("[]", "CIL033"),
        ("[{}]", "CIL048"),
        ("[{matchName: a.b, matchPattern: a.b}]", "CIL048"),
        ("[{matchName: '*.b'}]", "CIL047"),
        ("[{matchName: .b}]", "CIL047"),
        ("[{matchPattern: a..b}]", "CIL047"),
        (f"[{{matchPattern: {'a' * 256}}}]", "CIL047"),
        ("[{matchName: ''}]", "CIL047"),
    ],
)
def test_refused(items: str, code: str, compile_rule: Callable) -> None:
    assert code in [found for found, _ in compile_rule(f"{SUBJECT}\n- toFQDNs: {items}").errors]


def test_a_pattern_that_the_profiles_read_differently_is_a_warning(compile_rule: Callable) -> None:
    for profile in ("1.18", "1.20"):
        outcome = compile_rule(f"{SUBJECT}\n- toFQDNs: [{{matchPattern: '**.b'}}]", cilium_profile=profile)
        assert "CIL080" in outcome.codes
