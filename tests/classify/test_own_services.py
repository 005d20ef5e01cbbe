"""Endpoints behind a service share their row wherever what they reach there makes no difference to them."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from bpfence.ir.nodes import Direction
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import Compiled, compile_with_classification
from bpfence.simulate.simulator import Packet, Simulator

NODE = """
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
"""
POD = """---
apiVersion: v1
kind: Pod
metadata: {{name: p{n}, namespace: shop, labels: {{app: p{n}}}}}
spec: {{nodeName: n1}}
status: {{podIP: 10.1.0.{n}, podIPs: [{{ip: 10.1.0.{n}}}, {{ip: "fd00::{n}"}}]}}
"""
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{clusterIP: 10.96.0.{number}, ports: [{{port: 80}}]}}
---
apiVersion: v1
kind: Endpoints
metadata: {{name: {name}, namespace: shop}}
subsets: [{{addresses: [{addresses}], ports: [{{port: 8080}}]}}]
"""
POLICY = """---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: egress, namespace: shop}}
spec: {{podSelector: {{}}, policyTypes: [Egress], egress: [{rules}]}}
"""
EVERYBODY = "{to: [{podSelector: {}}]}"
SOURCE = 40000


def service(name: str, number: int, *pods: int) -> str:
    addresses = ", ".join(f"{{ip: 10.1.0.{n}}}" for n in pods)
    return SERVICE.format(name=name, number=number, addresses=addresses)


def compiled(folder: Path, rules: str, *services: str) -> Compiled:
    pods = "".join(POD.format(n=n) for n in range(1, 6))
    (folder / "input.yaml").write_text(NODE + pods + "".join(services) + POLICY.format(rules=rules))
    options = Options(node="n1")
    return compile_with_classification(load_input([str(folder)], options), options)


def egress_rows(item: Compiled) -> dict[str, int | None]:
    """The row of each pod's first address."""
    rows = item.classification.row_of
    return {f"p{n}": rows[f"shop/p{n}", f"10.1.0.{n}", Direction.EGRESS] for n in range(1, 6)}


def open_for(item: Compiled, number: int) -> list[int]:
    """The pods that may connect to a service."""
    simulator = Simulator(item.artefact)
    address = ip_address(f"10.96.0.{number}")
    own = {n: ip_address(f"10.1.0.{n}") for n in range(1, 6)}
    packets = {n: Packet(f"shop/p{n}", "egress", own[n], address, 6, SOURCE, 80) for n in own}
    return [n for n, packet in packets.items() if simulator.decide(packet).allowed]


def test_without_a_difference_all_share_one_row(tmp_path: Path) -> None:
    item = compiled(tmp_path, EVERYBODY, service("one", 1, 1), service("two", 2, 2, 3))
    assert len(set(egress_rows(item).values())) == 1
    assert open_for(item, 1) == open_for(item, 2) == [1, 2, 3, 4, 5]


def test_only_who_differs_has_a_row_of_its_own(tmp_path: Path) -> None:
    item = compiled(tmp_path, "", service("one", 1, 1), service("two", 2, 2, 3), service("three", 3, 4))
    rows = egress_rows(item)
    assert rows["p2"] == rows["p3"] == rows["p5"]
    assert len(set(rows.values())) == 3
    assert (open_for(item, 1), open_for(item, 2), open_for(item, 3)) == ([1], [], [4])


@pytest.mark.parametrize("rules", ["", "{to: [{podSelector: {matchLabels: {app: p2}}}]}"])
def test_other_backends_still_count(tmp_path: Path, rules: str) -> None:
    item = compiled(tmp_path, rules, service("one", 1, 1, 2))
    assert open_for(item, 1) == ([1] if rules else [])


def test_pods_behind_the_same_services_only_may_have_equal_rows(tmp_path: Path) -> None:
    """The rows of p1 and p2 differ from that of the rest and from each other: each is spared at its own service."""
    item = compiled(tmp_path, "", service("one", 1, 1), service("two", 2, 2))
    rows = egress_rows(item)
    assert len({rows["p1"], rows["p2"], rows["p3"]}) == 3
    assert (open_for(item, 1), open_for(item, 2)) == ([1], [2])


def test_every_row_has_a_user(tmp_path: Path) -> None:
    services = [service(f"s{n}", n, n) for n in range(1, 6)]
    item = compiled(tmp_path, "", *services)
    used = {number for number in item.classification.row_of.values() if number is not None}
    assert used == set(range(len(item.classification.rows)))
    assert [open_for(item, n) for n in range(1, 6)] == [[1], [2], [3], [4], [5]]


def test_the_other_family_keeps_the_shared_row(tmp_path: Path) -> None:
    item = compiled(tmp_path, "", service("one", 1, 1))
    rows = item.classification.row_of
    (tables,) = {rows[f"shop/p{n}", f"fd00::{n}", Direction.EGRESS] for n in range(2, 6)}
    assert tables == rows["shop/p2", "10.1.0.2", Direction.EGRESS]
