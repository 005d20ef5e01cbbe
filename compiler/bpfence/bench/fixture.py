"""The policy that ``verdict`` measures: N rules for one endpoint over 65,536 pods, and what each packet must get.

In: a number of rules. Out: a `Fixture`: the rules as CiliumNetworkPolicies and an inventory for the compiler, as
grants per workload for
the layout that ours is compared with, and the expected verdict of any packet, worked out from the rules alone.

- 4,096 workloads of 16 pods each; every pod has an IPv4 address of 10.64.0.0/16 and an IPv6 address of fd00:64::/112,
  dealt out at random, so that the pods of a workload are strangers in the address space. A workload is an identity:
  labels ``app`` (1,024 values) and ``track`` (4 values).
- A rule allows ingress from one app (4 workloads, 64 pods) or one workload (16 pods) to one port or port range. All
  rules are distinct, drawn at random, the same ones every time. The first rule allows every peer on one port.
- Ports: 24 TCP and 7 UDP services, 7 TCP and 4 UDP ranges of 3 to 12,000 ports. What no rule allows is denied.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpfence.identity.inventory import Address, Inventory, Namespace, Pod
from bpfence.loading import LoadedInput, load_input
from bpfence.options import Options
from bpfence.source.spans import Span

TCP, UDP = 6, 17
PortSpec = tuple[int, int, int]
"""(protocol, first port, last port)"""
ANY_PEER: PortSpec = (TCP, 9100, 9100)
_TCP_PORTS = (
    *(22, 25, 80, 111, 389, 443, 636, 1433, 2379, 3000, 3306, 4222, 5432, 5672, 6379, 6443),
    *(8080, 8443, 9042, 9090, 9200, 10250, 11211, 27017),
)
_UDP_PORTS = (53, 123, 161, 500, 514, 4789, 6831)
_TCP_RANGES = (
    *((7000, 7002), (8000, 8099), (9300, 9400), (15000, 15099)),
    *((20000, 20255), (30000, 32767), (50000, 61999)),
)
_UDP_RANGES = ((5060, 5090), (10000, 19999), (33434, 33534), (40000, 40063))
PORT_SPECS: tuple[PortSpec, ...] = (
    ANY_PEER,
    *((TCP, port, port) for port in _TCP_PORTS),
    *((UDP, port, port) for port in _UDP_PORTS),
    *((TCP, *ports) for ports in _TCP_RANGES),
    *((UDP, *ports) for ports in _UDP_RANGES),
)

APPS, TRACKS, REPLICAS = 1024, 4, 16
BASE = {4: int(IPv4Address("10.64.0.0")), 6: int(IPv6Address("fd00:64::"))}
SPACE, NODE, ENDPOINT = "bench", "here", "subject"
RULES_PER_POLICY = 50
_SEED = 20260101
_NOWHERE = Span("bench", 1, 1, 1, 1, "bench")


@dataclass(frozen=True, slots=True)
class Grant:
    """One rule: the port spec it opens, for an app, one track of it (``track`` None: all), or everybody (``app``
    None).
    """

    ports: PortSpec
    app: int | None
    track: int | None = None

    def workloads(self, apps: int) -> range:
        """The workloads that the rule admits, of so many apps."""
        if self.app is None:
            return range(apps * TRACKS)
        first = self.app * TRACKS
        return range(first, first + TRACKS) if self.track is None else range(first + self.track, first + self.track + 1)


@dataclass(frozen=True)
class Fixture:
    """``workload_of[n]``: the workload of the pod with address number n, shape (addresses,)."""

    grants: tuple[Grant, ...]
    workload_of: NDArray[np.int64]
    apps: int

    @property
    def addresses(self) -> int:
        """How many addresses of each family there are."""
        return len(self.workload_of)

    @cached_property
    def specs_of_workload(self) -> NDArray[np.uint64]:
        """Bit s is set when the workload may use port spec s; shape (workloads,)."""
        bits = {spec: np.uint64(1 << number) for number, spec in enumerate(PORT_SPECS)}
        result = np.zeros(self.apps * TRACKS, dtype=np.uint64)
        for grant in self.grants:
            admitted = grant.workloads(self.apps)
            result[admitted.start : admitted.stop] |= bits[grant.ports]
        return result

    def expected(
        self, addresses: NDArray[np.int64], protocols: NDArray[np.int64], ports: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Whether each packet is allowed. ``addresses``: address numbers; all of one shape."""
        open_specs = _specs_of_port()[(protocols == UDP).astype(np.int64), ports]
        allowed: NDArray[np.bool_] = (self.specs_of_workload[self.workload_of[addresses]] & open_specs) != 0
        return allowed

    def load(self, folder: Path) -> LoadedInput:
        """What the compiler starts from. The policies go through a file in ``folder`` and its readers, the inventory
        is made directly.
        """
        path = folder / "policies.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": _policies(self.grants)}))
        return replace(load_input([str(path)], options()), inventory=_inventory(self))


def make_fixture(rules: int, apps: int = APPS) -> Fixture:
    """The fixture with so many rules; smaller ones are not parts of larger ones."""
    kinds = apps * (TRACKS + 1) * (len(PORT_SPECS) - 1)
    if not 1 <= rules <= kinds + 1:
        raise ValueError(f"from 1 to {kinds + 1} distinct rules, not {rules}")
    chosen = random.Random(_SEED + rules).sample(range(kinds), rules - 1)
    grants = (Grant(ANY_PEER, None), *(_grant(kind) for kind in chosen))
    order = np.random.default_rng(_SEED).permutation(apps * TRACKS * REPLICAS)
    return Fixture(grants, (order // REPLICAS).astype(np.int64), apps)


def options() -> Options:
    """The compiler's options for a fixture."""
    return Options(node=NODE)


def address(number: int, family: int) -> Address:
    """The address with that number."""
    return IPv4Address(BASE[4] + number) if family == 4 else IPv6Address(BASE[6] + number)


def _grant(kind: int) -> Grant:
    kind, spec = divmod(kind, len(PORT_SPECS) - 1)
    app, track = divmod(kind, TRACKS + 1)
    return Grant(PORT_SPECS[spec + 1], app, None if track == TRACKS else track)


def _specs_of_port() -> NDArray[np.uint64]:
    """Bit s is set where port spec s contains the port; shape (2, 65536), TCP then UDP."""
    table = np.zeros((2, 65536), dtype=np.uint64)
    for number, (protocol, first, last) in enumerate(PORT_SPECS):
        table[int(protocol == UDP), first : last + 1] |= np.uint64(1 << number)
    return table


def _policies(grants: Sequence[Grant]) -> list[dict[str, Any]]:
    chunks = [grants[at : at + RULES_PER_POLICY] for at in range(0, len(grants), RULES_PER_POLICY)]
    return [
        {
            "apiVersion": "cilium.io/v2",
            "kind": "CiliumNetworkPolicy",
            "metadata": {"name": f"policy-{number}", "namespace": SPACE},
            "spec": {
                "endpointSelector": {"matchLabels": {"app": ENDPOINT}},
                "ingress": [_rule(grant) for grant in chunk],
            },
        }
        for number, chunk in enumerate(chunks)
    ]


def _rule(grant: Grant) -> dict[str, Any]:
    protocol, first, last = grant.ports
    port: dict[str, Any] = {"port": str(first), "protocol": "TCP" if protocol == TCP else "UDP"}
    if last != first:
        port["endPort"] = last
    rule: dict[str, Any] = {"toPorts": [{"ports": [port]}]}
    if grant.app is not None:
        rule["fromEndpoints"] = [{"matchLabels": _labels(grant.app, grant.track)}]
    return rule


def _labels(app: int, track: int | None) -> Mapping[str, str]:
    labels = {"app": f"app-{app}"}
    return labels if track is None else {**labels, "track": f"track-{track}"}


def peers(fixture: Fixture) -> list[Pod]:
    """The pods that rules speak about."""
    labels = [_labels(*divmod(workload, TRACKS)) for workload in range(fixture.apps * TRACKS)]
    return [
        _pod(f"pod-{number:05}", labels[workload], "elsewhere", (address(number, 4), address(number, 6)))
        for number, workload in enumerate(fixture.workload_of.tolist())
    ]


def _inventory(fixture: Fixture) -> Inventory:
    pods = peers(fixture)
    own = (IPv4Address("10.63.0.1"), IPv6Address("fd00:63::1"))
    pods.append(_pod(ENDPOINT, {"app": ENDPOINT}, NODE, own))
    space = Namespace(SPACE, _NOWHERE, {"kubernetes.io/metadata.name": SPACE})
    return Inventory(pods=tuple(pods), namespaces=(space,), declared_kinds=frozenset({"Pod", "Namespace"}))


def _pod(name: str, labels: Mapping[str, str], node: str, addresses: tuple[Address, ...]) -> Pod:
    return Pod(SPACE, name, _NOWHERE, labels, node, addresses)
