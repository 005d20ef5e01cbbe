"""`explain` and `list` where hosts are policed: what is asked, what is said about it, what is listed."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from bpfence.analyse.connectivity import list_connections
from bpfence.analyse.explain import Explainer, example_name
from bpfence.analyse.query import make_query
from bpfence.errors import UsageError
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import Analysed, analyse, compile_artefact
from bpfence.simulate.hosts import Transit, passes
from bpfence.simulate.simulator import Simulator

WORLD = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
- {apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}},
   spec: {nodeName: n1, containers: [{name: c, image: i}]}, status: {podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}]}}
- {apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: b-eth1, labels: {side: b}},
   spec: {node: n1, interfaceName: eth1}}
- {apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: a-eth0, labels: {side: a}},
   spec: {node: n1, interfaceName: eth0, expectedIPs: [192.0.2.1]}}
- {apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: z-eth0},
   spec: {node: n1, interfaceName: eth0}}
- {apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: open-a},
   spec: {selector: side == 'a', ingress: [{action: Allow, protocol: TCP, destination: {ports: [443]}}]}}
- {apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: raw},
   spec: {selector: side == 'a', doNotTrack: true, applyOnForward: true,
          ingress: [{action: Deny, source: {nets: [203.0.113.0/24]}},
                    {action: Allow, protocol: TCP, destination: {ports: [9000]}}],
          egress: [{action: Allow, protocol: TCP, source: {ports: [9000]}}]}}
"""
STAGED = """
apiVersion: projectcalico.org/v3
kind: StagedGlobalNetworkPolicy
metadata: {name: open-a}
spec: {selector: side == 'a', ingress: [{action: Allow, protocol: TCP, destination: {ports: [8443]}}]}
"""


def analysed(folder: Path, *texts: str) -> tuple[Analysed, list[str]]:
    paths = []
    for number, text in enumerate(texts):
        file = folder / f"{number}.yaml"
        file.write_text(text)
        paths.append(str(file))
    return analyse(load_input(paths), Options(node="n1")), paths


def ask(item: Analysed, **values: Any) -> dict[str, Any]:
    explainer = Explainer(item.program, item.world, "n1", item.services, item.settings_of, item.pending)
    return explainer.explain(make_query({"protocol": "TCP", **values})).document()


def said(side: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(layer["endpoint"], layer["point"], layer["verdict"], layer["reason"]) for layer in side["layers"]]


def test_every_point_is_told_with_its_endpoint(tmp_path: Path) -> None:
    item, _ = analysed(tmp_path, WORLD)
    answer = ask(item, src="198.51.100.4", dst="host", dst_port=443)
    assert (answer["verdict"], answer["ingress"]["endpoint"]) == ("allow", "hep/a-eth0")
    assert said(answer["ingress"]) == [
        ("hep/a-eth0", "untracked", "allow", "undecided"),
        ("hep/a-eth0", "endpoint", "allow", "rule"),
    ]
    assert answer["notes"] == ["node n1 has several host endpoints, hep/a-eth0 was asked (choose with --interface)"]


def test_an_untracked_allow_ends_the_way_of_that_host_endpoint(tmp_path: Path) -> None:
    item, _ = analysed(tmp_path, WORLD)
    answer = ask(item, src="198.51.100.4", dst="hep/a-eth0", dst_port=9000)
    assert said(answer["ingress"]) == [("hep/a-eth0", "untracked", "allow", "rule")]


def test_the_interface_chooses_the_host_endpoint(tmp_path: Path) -> None:
    item, _ = analysed(tmp_path, WORLD)
    answer = ask(item, src="198.51.100.4", dst="192.0.2.1", dst_port=443, interface="eth1")
    assert said(answer["ingress"]) == [("hep/b-eth1", "endpoint", "deny", "profile")]
    assert answer["notes"] == []
    assert ask(item, src="198.51.100.4", dst="hep/b-eth1", dst_port=443)["verdict"] == "deny"


def test_failsafe_ports_come_first(tmp_path: Path) -> None:
    item, _ = analysed(tmp_path, WORLD)
    answer = ask(item, src="203.0.113.4", dst="hep/a-eth0", dst_port=22)
    assert {reason for *_, reason in said(answer["ingress"])} == {"failsafe"}


def test_a_host_endpoint_that_lost_its_interface_says_so(tmp_path: Path) -> None:
    item, _ = analysed(tmp_path, WORLD)
    answer = ask(item, src="198.51.100.4", dst="hep/z-eth0", dst_port=443)
    assert answer["verdict"] == "allow"
    assert "hep/z-eth0 polices nothing: hep/a-eth0 governs its interface" in answer["notes"]


def test_staged_policies_are_answered_beside(tmp_path: Path) -> None:
    plain, _ = analysed(tmp_path, WORLD)
    assert "pending" not in ask(plain, src="198.51.100.4", dst="host", dst_port=443)
    item, _ = analysed(tmp_path, WORLD, STAGED)
    answer = ask(item, src="198.51.100.4", dst="host", dst_port=443)
    assert (answer["verdict"], answer["pending"]["verdict"]) == ("allow", "deny")
    assert ask(item, src="198.51.100.4", dst="host", dst_port=8443)["pending"]["verdict"] == "allow"


def test_traffic_that_is_passed_on_needs_its_interface(tmp_path: Path) -> None:
    item, _ = analysed(tmp_path, WORLD)
    assert ask(item, src="203.0.113.4", dst="198.51.100.4", dst_port=80)["verdict"] == "allow"
    crossed = {"interface": "eth0", "out_interface": "eth1"}
    assert ask(item, src="203.0.113.4", dst="198.51.100.4", dst_port=80, **crossed)["verdict"] == "deny"


def test_list_has_host_endpoints_that_police(tmp_path: Path) -> None:
    item, _ = analysed(tmp_path, WORLD)
    found = {(c.source, c.destination): c for c in list_connections(item.program, item.world, item.settings_of)}
    names = {name for pair in found for name in pair}
    assert {"hep/a-eth0[HostEndpoint]", "hep/b-eth1[HostEndpoint]"} < names
    assert "hep/z-eth0[HostEndpoint]" not in names
    assert found["shop/web[Pod]", "hep/a-eth0[HostEndpoint]"].everything
    blocked = [pair for pair in found if pair[0] == "203.0.113.0-203.0.113.255[External]" and "a-eth0" in pair[1]]
    assert {found[pair].ports for pair in blocked} <= {
        ((22, 22), (179, 179), (2379, 2380), (5473, 5473), (6443, 6443), (6666, 6667)), ((68, 68),)
    }  # fmt: skip


def test_the_artefact_answers_like_explain(tmp_path: Path) -> None:
    item, paths = analysed(tmp_path, WORLD)
    artefact = compile_artefact(load_input(paths), Options(node="n1"))
    simulator = Simulator(artefact)
    for source, port in (("198.51.100.4", 443), ("198.51.100.4", 444), ("203.0.113.4", 443), ("203.0.113.4", 22)):
        expected = ask(item, src=source, dst="hep/a-eth0", dst_port=port)["verdict"] == "allow"
        transit = Transit(ip_address(source), ip_address("192.0.2.1"), 6, 40000, port, host_endpoint="hep/a-eth0")
        assert passes(simulator, transit) == expected


def test_a_name_is_a_destination_only(tmp_path: Path) -> None:
    item, _ = analysed(tmp_path, WORLD)
    with pytest.raises(UsageError, match="only be a destination"):
        ask(item, src="pay.shop.example", dst="shop/web", dst_port=443)
    answer = ask(item, src="shop/web", dst="pay.shop.example", dst_port=443)
    assert answer["verdict"] == "allow"
    assert "address of pay.shop.example is not known" in answer["notes"][-1]


@pytest.mark.parametrize(
    ("pattern", "name"), [("*.shop.example.", "a.shop.example"), ("**.shop.example.", "a.shop.example"), ("*", "a")]
)
def test_example_names_satisfy_their_pattern(pattern: str, name: str) -> None:
    assert example_name(pattern) == name
