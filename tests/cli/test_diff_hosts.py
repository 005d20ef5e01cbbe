"""`diff OLD NEW` where hosts have a say: changes that no address of the inventory and no pod's own row tells of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bpfence.cli import run
from support.host_objects import felix, gnp, hep

NODE = (
    "apiVersion: v1\nkind: Node\nmetadata: {name: node1}\nstatus: {addresses: [{type: InternalIP, address: 192.0.2.1}]}"
)
POD = (
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n"
    "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop, labels: {app: web}}\nspec: {nodeName: node1}\n"
    "status: {phase: Running, podIP: 10.1.1.1, podIPs: [{ip: 10.1.1.1}]}"
)
HOSTS = (hep("h0"), hep("star", interface="*"))
DROP = felix(defaultEndpointToHostAction="Drop")


def diff(folder: Path, capsys: pytest.CaptureFixture[str], old: list[str], new: list[str]) -> list[dict[str, Any]]:
    """The changes; there must be some."""
    for name, documents in (("old", old), ("new", new)):
        (folder / f"{name}.yaml").write_text("\n---\n".join(documents))
    capsys.readouterr()
    code = run(["diff", str(folder / "old.yaml"), str(folder / "new.yaml"), "--node", "node1", "-o", "json"])
    changes: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["changes"]
    assert code == 1
    return changes


def ingress(rule: str, selector: str = "has(hep)") -> str:
    return gnp("open", selector, f"types: [Ingress, Egress], ingress: [{rule}], egress: [{{action: Allow}}]")


def to_port(number: int) -> str:
    return ingress(f"{{action: Allow, protocol: TCP, destination: {{ports: [{number}]}}}}")


def test_a_host_without_a_known_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = diff(tmp_path, capsys, [HOSTS[0], to_port(9999)], [HOSTS[0], to_port(9998)])
    assert {(row["kind"], str(row["ports"])) for row in changes if row["traffic"] == "own"} == {
        ("added", "[[9998, 9998]]"),
        ("removed", "[[9999, 9999]]"),
    }


def test_a_family_without_a_known_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nets = [ingress(f"{{action: Allow, source: {{nets: ['2001:{name}::/32']}}}}") for name in ("db8", "db9")]
    changes = diff(tmp_path, capsys, [NODE, HOSTS[0], nets[0]], [NODE, HOSTS[0], nets[1]])
    assert {(row["kind"], row["src"].split("-")[0]) for row in changes} == {
        ("added", "2001:db9::"),
        ("removed", "2001:db8::"),
    }


def test_an_address_of_the_node_that_the_host_endpoint_does_not_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is reached through the interface all the same."""
    host = hep("h0", addresses=["192.0.2.9"])
    old, new = (
        ingress(f"{{action: Allow, protocol: TCP, destination: {{nets: [192.0.2.1/32], ports: [{port}]}}}}")
        for port in (9999, 9998)
    )
    changes = diff(tmp_path, capsys, [NODE, host, old], [NODE, host, new])
    assert {row["example"]["dst"] for row in changes} == {"192.0.2.1"}


def test_what_workloads_send_to_their_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = [NODE, POD, *HOSTS, ingress("{action: Allow}", "hep == 'h0'"), cilium_host_policy()]
    changes = diff(tmp_path, capsys, base, [*base, DROP])
    to_node = next(row for row in changes if row["example"]["dst"] == "192.0.2.1")
    assert (to_node["kind"], to_node["src"], to_node["all"]) == ("removed", "shop/web[Pod]", True)
    assert (to_node["before"]["verdict"], to_node["after"]["reason"]) == ("allow", "host-setting")
    assert to_node["after"]["rule"] == "defaultEndpointToHostAction: Drop"
    assert not any(row["example"]["dst"].startswith("198.51") for row in changes)


def cilium_host_policy() -> str:
    return (
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: hostfw}\n"
        "spec: {nodeSelector: {}, ingress: [{fromEntities: [all]}]}"
    )


def test_what_every_interface_forwards_is_a_change_at_workloads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = (
        gnp(
            "forward",
            "hep == 'star'",
            "applyOnForward: true, types: [Ingress, Egress], ingress: [{action: Allow}], "
            f"egress: [{{action: Allow, protocol: TCP, destination: {{ports: [{port}]}}}}]",
        )
        for port in (80, 81)
    )
    changes = diff(tmp_path, capsys, [NODE, POD, *HOSTS, old], [NODE, POD, *HOSTS, new])
    mine = [row for row in changes if row["dst"] == "shop/web[Pod]" and row["src"].endswith("[External]")]
    assert {(row["kind"], str(row["ports"])) for row in mine} == {("added", "[[81, 81]]"), ("removed", "[[80, 80]]")}
    for row in (row for row in mine if row["kind"] == "removed"):
        assert row["after"]["policy"] == "GlobalNetworkPolicy forward"


@pytest.mark.parametrize("point", ["", "preDNAT: true, applyOnForward: true, "])
def test_a_message_of_path_mtu_discovery_that_a_host_denies(
    point: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At host endpoints, unlike at workloads, policies decide about it."""
    deny = gnp(
        "deny", "hep == 'h0'", f"{point}ingress: [{{action: Deny, protocol: ICMP, icmp: {{type: 3, code: 4}}}}]", 1
    )
    base = [NODE, HOSTS[0], ingress("{action: Allow}")]
    changes = diff(tmp_path, capsys, base, [*base, deny])
    for row in changes:
        example = row["example"]
        assert (row["kind"], example["protocol"], example["icmp_type"], example["icmp_code"]) == (
            "removed",
            "ICMP",
            3,
            4,
        )
