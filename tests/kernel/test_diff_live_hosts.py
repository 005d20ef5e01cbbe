"""`diff live` on a node with host endpoints: its own interfaces, their rows, and connections of the node itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from click.testing import CliRunner

from bpfence.cli.diff import command
from bpfence.loader.maps import read_array, write_array
from bpfence.loader.node import open_node
from support.host_objects import INVENTORY, NODE1, OUT, PODS, gnp, hep
from support.host_world import HostWorld

pytestmark = pytest.mark.kernel

HEPS = (hep("h0"), hep("star", interface="*"))
OPEN = gnp("open", "has(hep)", "ingress: [{action: Allow}], egress: [{action: Allow}]")
EARLY = gnp(
    "early",
    "hep == 'h0'",
    "doNotTrack: true, applyOnForward: true, ingress: [{action: Deny, protocol: TCP, destination: {ports: [6379]}}]",
)
CLOSED = gnp("closed", "hep == 'h0'", "ingress: [{action: Deny, protocol: TCP, destination: {ports: [443]}}]", order=10)


@pytest.fixture
def world(hosts: HostWorld) -> Iterator[HostWorld]:
    hosts.unload("node1")
    hosts.apply("node1", *HEPS, OPEN)
    yield hosts
    hosts.unload("node1")


def diff(world: HostWorld, *documents: str) -> tuple[int, dict[str, Any]]:
    path, paths = world.folder / "diff.yaml", world.paths("node1")
    path.write_text("\n---\n".join((INVENTORY, *documents)))
    options = ["--node", "node1", "--state", str(paths.state), "--bpffs", str(paths.bpffs), "-o", "json"]
    with world.inside("node1"):
        result = CliRunner().invoke(command, ["live", str(path), *options])
    assert result.stdout, result.output
    return result.exit_code, json.loads(result.stdout)


def test_empty_right_after_apply(world: HostWorld) -> None:
    code, found = diff(world, *HEPS, OPEN)
    assert found["drift"]["lines"] == []
    assert code == 0, found
    assert found["empty"]


def test_a_closed_port_is_a_row_of_the_host_endpoint(world: HostWorld) -> None:
    code, found = diff(world, *HEPS, OPEN, CLOSED)
    assert code == 1
    mine = [row for row in found["changes"] if row["traffic"] == "own"]
    assert mine
    for row in mine:
        assert (row["kind"], row["dst"], row["protocol"]) == ("removed", "hep/h0[HostEndpoint]", "TCP")
        assert row["ports"] == [[443, 443]]
        assert row["after"]["policy"] == "GlobalNetworkPolicy closed"
    assert {row["direction"] for row in found["changes"]} == {"ingress"}


def test_an_early_policy_attaches_at_xdp(world: HostWorld) -> None:
    _, found = diff(world, *HEPS, OPEN, EARLY)
    assert found["interfaces"]["attached"] == ["eth0 (hep/h0)"]
    assert "host_xdp" in found["writes"]["loaded"]
    assert {str(row["ports"]) for row in found["changes"]} == {"[[6379, 6379]]"}
    assert {row["traffic"] for row in found["changes"]} == {"own", "forwarded"}


def test_a_connection_of_the_node_that_would_be_cut(world: HostWorld) -> None:
    with world.open("out", NODE1[0], 443) as connection:
        assert connection.talk()
        _, found = diff(world, *HEPS, OPEN, CLOSED)
        assert connection.talk()
    [cut] = [item for item in found["connections"] if item["local_port"] == 443]
    assert (cut["endpoint"], cut["interface"], cut["direction"]) == ("hep/h0", "eth0", "ingress")
    assert (cut["local"], cut["remote"]) == (NODE1[0], OUT[0])
    assert cut["rule"]["policy"] == "GlobalNetworkPolicy closed"


def test_a_connection_of_a_workload_that_the_host_would_cut(world: HostWorld) -> None:
    """The host endpoint of every interface has a say in what the node passes on to its workloads."""
    forward = gnp(
        "forward",
        "hep == 'star'",
        "applyOnForward: true, egress: [{action: Deny, protocol: TCP, destination: {ports: [443]}}, {action: Allow}], "
        "ingress: [{action: Allow}]",
        order=10,
    )
    target = PODS["shop/web"][0]
    with world.open("out", target, 443) as connection:
        assert connection.talk()
        _, found = diff(world, *HEPS, OPEN, forward)
    cut = [item for item in found["connections"] if item["local"] == target]
    assert [(item["endpoint"], item["local_port"], item["direction"]) for item in cut] == [("shop/web", 443, "ingress")]
    assert cut[0]["rule"]["reason"] == "host-policy"


def test_an_own_address_that_the_tables_lost(world: HostWorld) -> None:
    with ExitStack() as stack, world.inside("node1"):
        node = open_node(world.paths("node1").pins, stack)
        assert node is not None
        table = node.slots[node.active.slot].tables["local_addresses"]
        image = read_array(table)
        place = next(at for at in range(0, len(image), 20) if image[at + 16])
        write_array(table, bytes([image[place] ^ 1]), place)
        code, found = diff(world, *HEPS, OPEN)
        write_array(table, image)
    assert code == 1
    assert any("for an address of this node" in line for line in found["drift"]["lines"])
    assert [item["name"] for item in found["tables"]] == ["local_addresses"]
