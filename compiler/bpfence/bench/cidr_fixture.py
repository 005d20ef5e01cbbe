"""Policies full of address prefixes, made up but the same every time: CIDR rules with CIDR denies, and many prefixes.

In: a kind. Out: what the compiler starts from. 3,000 pods with labels of their own stand around, as identities that
have to be told apart from the prefixes.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from bpfence.bench.fixture import ENDPOINT, NODE, SPACE, options
from bpfence.identity.inventory import Inventory, Namespace, Pod
from bpfence.loading import LoadedInput, load_input
from bpfence.source.spans import Span

RULES, IDENTITIES = 1_000, 3_000
ALLOW_PORTS, DENY_PORTS = range(80, 177), range(80, 211)
TOPS = ("10", "192", "244")
"""All prefixes lie in three /8, so that they nest and the denies cut into what is allowed."""
ALLOW_LENGTHS, DENY_LENGTHS = (8, 16, 24, 28), (16, 24, 28, 32)
_SEED = 20260103
_NOWHERE = Span("bench", 1, 1, 1, 1, "bench")


def load_cidr_rules(folder: Path, ports: bool) -> LoadedInput:
    """1,000 policies of one endpoint, each with a CIDR that it may reach and a CIDR that it may not. ``ports``: each
    on one of about a hundred TCP ports; else on all.
    """
    choose = random.Random(_SEED)
    policies = [_policy(number, choose, ports) for number in range(RULES)]
    return _load(folder, policies, _pods(IDENTITIES))


def load_prefixes(folder: Path, count: int) -> LoadedInput:
    """One policy that allows so many distinct prefixes, /16 to /32, each on one of 16 ports."""
    choose = random.Random(_SEED)
    found: dict[IPv4Network, None] = {}
    while len(found) < count:
        length = choose.choice((16, 20, 22, 24, 24, 26, 28, 30, 32, 32))
        found[IPv4Network((choose.getrandbits(32) >> (32 - length) << (32 - length), length))] = None
    by_port: dict[int, list[str]] = {}
    for number, prefix in enumerate(found):
        by_port.setdefault(8000 + number % 16, []).append(str(prefix))
    rules = [{"toCIDR": prefixes, "toPorts": _ports(port)} for port, prefixes in by_port.items()]
    return _load(folder, [_document(0, {"egress": rules})], [])


def _policy(number: int, choose: random.Random, ports: bool) -> dict[str, Any]:
    allow: dict[str, Any] = {"toCIDR": [_prefix(choose, ALLOW_LENGTHS)]}
    deny: dict[str, Any] = {"toCIDR": [_prefix(choose, DENY_LENGTHS)]}
    if ports:
        allow["toPorts"] = _ports(choose.choice(ALLOW_PORTS))
        deny["toPorts"] = _ports(choose.choice(DENY_PORTS))
    return _document(number, {"egress": [allow], "egressDeny": [deny]})


def _prefix(choose: random.Random, lengths: tuple[int, ...]) -> str:
    length = choose.choice(lengths)
    second, third, fourth = choose.randrange(20), choose.randrange(120), choose.randrange(256)
    address = int(IPv4Address(f"{choose.choice(TOPS)}.{second}.{third}.{fourth}"))
    return str(IPv4Network((address >> (32 - length) << (32 - length), length)))


def _ports(port: int) -> list[dict[str, Any]]:
    return [{"ports": [{"port": str(port), "protocol": "TCP"}]}]


def _document(number: int, directions: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": f"cidr-{number}", "namespace": SPACE},
        "spec": {"endpointSelector": {"matchLabels": {"app": ENDPOINT}}, **directions},
    }


def _pods(count: int) -> list[Pod]:
    first = IPv4Address("172.17.0.0")
    return [Pod(SPACE, f"pod-{n:05}", _NOWHERE, {"app": f"app-{n}"}, "elsewhere", (first + n,)) for n in range(count)]


def _load(folder: Path, policies: list[dict[str, Any]], pods: list[Pod]) -> LoadedInput:
    path = folder / "policies.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": policies}))
    subject = Pod(SPACE, ENDPOINT, _NOWHERE, {"app": ENDPOINT}, NODE, (IPv4Address("172.16.0.1"),))
    space = Namespace(SPACE, _NOWHERE, {"kubernetes.io/metadata.name": SPACE})
    inventory = Inventory(pods=(*pods, subject), namespaces=(space,), declared_kinds=frozenset({"Pod", "Namespace"}))
    return replace(load_input([str(path)], options()), inventory=inventory)
