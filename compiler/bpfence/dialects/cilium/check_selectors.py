"""The checks of selectors: a written selector and what it may name in, diagnostics out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bpfence.dialects.cilium import codes
from bpfence.dialects.cilium.labels import (
    ANY,
    CIDR_GROUP,
    K8S,
    NAMESPACE_KEY,
    NODE,
    RESERVED,
    Key,
    Test,
    is_filtered,
    key_problem,
    parse_key,
    selector_tests,
)
from bpfence.dialects.cilium.model import Selector
from bpfence.dialects.cilium.report import Report
from bpfence.dialects.cilium.selectors import peer_scope
from bpfence.dialects.label_syntax import Requirement, selector_problems
from bpfence.source.documents import Path

RESERVED_NAMES = frozenset(
    (
        "health",
        "host",
        "ingress",
        "init",
        "kube-apiserver",
        "none",
        "remote-node",
        "unmanaged",
        "world",
        "world-ipv4",
        "world-ipv6",
    )
)


_SPECIAL = ("health", "ingress", "init")


@dataclass(frozen=True, slots=True)
class Domain:
    """What selectors of one place may speak of. ``sources``: the label sources that exist there."""

    name: str
    sources: Collection[str]
    reserved: Collection[str] = ()


SUBJECTS = Domain("endpoints", (ANY, K8S, RESERVED), RESERVED_NAMES)
HOSTS = Domain("nodes", (ANY, K8S, RESERVED), ("host",))
ENDPOINTS = Domain("endpoints and entities", (ANY, K8S, NODE, RESERVED), RESERVED_NAMES)
NODES = Domain("other nodes", (ANY, NODE, RESERVED), ("remote-node",))
SERVICES = Domain("services", (ANY, K8S))
CIDR_GROUPS = Domain("CIDRGroups", (ANY, CIDR_GROUP))


def check_selector(selector: Selector, domain: Domain, path: Path, report: Report) -> bool:
    """Report what is wrong with a selector; whether it is well formed."""
    requirements = [Requirement(item.key, item.operator, item.values) for item in selector.match_expressions or ()]
    problems = list(selector_problems(selector.match_labels or {}, requirements, key_problem))
    for found in problems:
        report.error(codes.SELECTOR, (*path, *found.path), found.message, found.help, found.of_key)
    if problems:
        return False
    keys = [(parse_key(key), (*path, "matchLabels", key), True) for key in selector.match_labels or {}]
    keys += [
        (parse_key(item.key), (*path, "matchExpressions", index, "key"), False)
        for index, item in enumerate(requirements)
    ]
    verdicts = [_check_key(key, domain, at, of_key, report) for key, at, of_key in keys]
    for test in selector_tests(selector):
        _check_reserved_value(test, (*path, *test.path), report)
    return all(verdicts)


def _check_reserved_value(test: Test, path: Path, report: Report) -> None:
    if test.key.source == RESERVED and test.values and "" not in test.values:
        answer = "always" if test.is_negative else "never"
        report.warning(
            codes.RESERVED_VALUE,
            path,
            f"reserved labels have no value, so this {answer} holds",
            f"write {{key: reserved:{test.key.name}, operator: Exists}}",
        )


def _check_key(key: Key, domain: Domain, path: Path, of_key: bool, report: Report) -> bool:
    if key.source not in domain.sources:
        report.error(
            codes.LABEL_SOURCE,
            path,
            f"{domain.name} have no labels of the source {key.source!r} here",
            f"use one of the sources {', '.join(domain.sources)}, or leave the source out",
            of_key,
        )
        return False
    if key.source == RESERVED and key.name not in domain.reserved:
        report.error(
            codes.LABEL_SOURCE,
            path,
            f"{domain.name} have no reserved label {key.name!r}",
            f"the reserved labels here are {', '.join(sorted(domain.reserved))}",
            of_key,
        )
        return False
    if domain in (SUBJECTS, HOSTS, ENDPOINTS) and is_filtered(key, report.is_old):
        report.warning(
            codes.FILTERED_LABEL,
            path,
            f"Cilium hides the label {key.name} from policy; bpfence sees it, so the two differ here",
            "select on a label of your own",
            of_key,
        )
    return True


def check_subject(selector: Selector, path: Path, report: Report) -> None:
    """``endpointSelector``: well formed, and able to select something in its scope."""
    if not check_selector(selector, SUBJECTS, path, report):
        return
    tests = selector_tests(selector)
    for test in tests:
        at = (*path, *test.path)
        if report.namespace and test.key.names(NAMESPACE_KEY) and not test.accepts(report.namespace):
            report.error(
                codes.SUBJECT_NAMESPACE,
                at,
                f"the policy selects endpoints of its namespace {report.namespace} alone; this asks for another",
                "put the policy into the namespace meant, or write a CiliumClusterwideNetworkPolicy",
            )
        elif report.namespace and test.key == Key(RESERVED, "init") and not test.is_negative:
            report.error(
                codes.SUBJECT_INIT,
                at,
                "an endpoint with the label reserved:init has no namespace, so a namespaced policy never selects it",
                "write a CiliumClusterwideNetworkPolicy",
            )
        elif test.key.source == RESERVED and not test.is_negative:
            _check_reserved_subject(test, at, report)


def _check_reserved_subject(test: Test, at: Path, report: Report) -> None:
    """Endpoints of Cilium's own have no namespace, and hosts and the world are no endpoints."""
    if test.key.name not in _SPECIAL:
        report.warning(codes.SUBJECT_NOBODY, at, f"endpointSelector never selects reserved:{test.key.name}")
    elif report.namespace:
        report.warning(
            codes.SUBJECT_NOBODY,
            at,
            f"endpoints with the label reserved:{test.key.name} have no namespace, so this policy never selects them",
            "write a CiliumClusterwideNetworkPolicy",
        )


def check_peer(selector: Selector, path: Path, report: Report) -> None:
    """An item of ``fromEndpoints`` or ``toEndpoints``."""
    if not check_selector(selector, ENDPOINTS, path, report):
        return
    tests = selector_tests(selector)
    if not tests or not all(test.is_negative for test in tests):
        return
    if peer_scope(tests, report.namespace, ()) is None:
        report.warning(
            codes.NEGATIVE_PEER,
            path,
            "the selector names only what peers must not have, so it also matches the nodes and the whole world",
            "add a test that holds for the endpoints meant, such as io.kubernetes.pod.namespace Exists",
        )
