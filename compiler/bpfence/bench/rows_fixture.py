"""A node full of policy: 128 pods with rules of their own in both directions, 256 rows, over 65,536 pods elsewhere.

In: sizes. Out: what the compiler starts from. Peers are those of `fixture`; every local pod has a policy with distinct
rules in each direction, each for an app of the 1,024 on one of 32 ports.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from bpfence.bench.fixture import APPS, NODE, SPACE, make_fixture, options, peers
from bpfence.identity.inventory import Inventory, Namespace, Pod
from bpfence.loading import LoadedInput, load_input
from bpfence.source.spans import Span

_SEED = 20260104
_NOWHERE = Span("bench", 1, 1, 1, 1, "bench")
_OWN4, _OWN6 = IPv4Address("10.63.0.1"), IPv6Address("fd00:63::1")


@dataclass(frozen=True, slots=True)
class RowsSize:
    """``rules``: of each direction of each local pod."""

    local: int = 128
    rules: int = 20
    apps: int = APPS
    ports: int = 32


def load_rows(folder: Path, size: RowsSize) -> LoadedInput:
    """The policies go through a file in ``folder`` and its readers, the inventory is made directly."""
    choose = random.Random(_SEED)
    items = [_policy(number, choose, size) for number in range(size.local)]
    path = folder / "policies.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    pods = (*peers(make_fixture(1, size.apps)), *(_pod(number) for number in range(size.local)))
    space = Namespace(SPACE, _NOWHERE, {"kubernetes.io/metadata.name": SPACE})
    inventory = Inventory(pods=pods, namespaces=(space,), declared_kinds=frozenset({"Pod", "Namespace"}))
    return replace(load_input([str(path)], options()), inventory=inventory)


def _pod(number: int) -> Pod:
    name = f"local-{number}"
    return Pod(SPACE, name, _NOWHERE, {"own": name}, NODE, (_OWN4 + number, _OWN6 + number))


def _policy(number: int, choose: random.Random, size: RowsSize) -> dict[str, Any]:
    ingress = [_rule("fromEndpoints", choose, size) for _ in range(size.rules)]
    egress = [_rule("toEndpoints", choose, size) for _ in range(size.rules)]
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": f"local-{number}", "namespace": SPACE},
        "spec": {
            "endpointSelector": {"matchLabels": {"own": f"local-{number}"}},
            "ingress": ingress,
            "egress": egress,
        },
    }


def _rule(peers_key: str, choose: random.Random, size: RowsSize) -> dict[str, Any]:
    port = {"port": str(8000 + choose.randrange(size.ports)), "protocol": "TCP"}
    selector = {"matchLabels": {"app": f"app-{choose.randrange(size.apps)}"}}
    return {peers_key: [selector], "toPorts": [{"ports": [port]}]}
