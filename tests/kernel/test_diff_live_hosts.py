"""`diff live` on a node with host endpoints: its own interfaces, their rows, and connections of the node itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from click.testing import CliRunner

from bpfence.cli.diff import command
from bpfence.loader.maps import read_array, write_array
from bpfence.loader.node import open_node
from support.host_objects import INVENTORY, NODE1, OUT, PODS, felix, gnp, hep
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


def diff(world: HostWorld, *documents: str, inventory: str = INVENTORY) -> tuple[int, dict[str, Any]]:
    path, paths = world.folder / "diff.yaml", world.paths("node1")
    path.write_text("\n---\n".join((inventory, *documents)))
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
    assert (cut[0]["rule"]["policy"], cut[0]["rule"]["rule"]) == ("GlobalNetworkPolicy forward", "spec.egress[0]")


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


DROP = felix(defaultEndpointToHostAction="Drop")
NODE_OPEN = (
    "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: hostfw}\n"
    "spec: {nodeSelector: {matchLabels: {machine: node1}}, ingress: [{fromEntities: [all]}]}"
)


def cut_places(found: dict[str, Any]) -> set[tuple[str, str, int]]:
    """(endpoint, remote address, remote port) of what would be cut."""
    return {(item["endpoint"], item["remote"], item["remote_port"]) for item in found["connections"]}


def test_connections_of_workloads_to_their_node_alone_are_cut(world: HostWorld) -> None:
    """Of two to the same port the one that ends in the node, whichever was there first."""
    world.apply("node1", *HEPS, OPEN, NODE_OPEN)
    pod = world.network.places["shop/web"].address(4)
    assert pod is not None
    for targets in ((NODE1[0], OUT[0]), (OUT[0], NODE1[0])):
        with world.open("shop/web", targets[0], 443) as first, world.open("shop/web", targets[1], 443) as second:
            opened = dict(zip(targets, (first, second), strict=True))
            assert all(connection.talk() for connection in opened.values())
            _, found = diff(world, *HEPS, OPEN, NODE_OPEN, DROP)
            mine = [item for item in found["connections"] if item["endpoint"] == "shop/web"]
            assert {item["remote"] for item in mine} == {NODE1[0]}
            assert {item["rule"]["rule"] for item in mine} == {"defaultEndpointToHostAction: Drop"}
            assert any(
                row["src"].startswith("shop/web[") and row["example"]["dst"] == NODE1[0] for row in found["changes"]
            )
            # by force: the servers of all places are in this very process
            world.apply("node1", *HEPS, OPEN, NODE_OPEN, DROP, force=True)
            assert not opened[NODE1[0]].talk(0.3)
            assert opened[OUT[0]].talk()
        world.apply("node1", *HEPS, OPEN, NODE_OPEN, force=True)


def test_a_connection_whose_answers_would_be_denied_is_cut(world: HostWorld) -> None:
    """Before connection tracking every packet is asked about. Answers from failsafe ports are spared."""
    early = gnp(
        "early",
        "hep == 'h0'",
        "doNotTrack: true, applyOnForward: true, "
        "ingress: [{action: Deny, protocol: TCP, source: {nets: ['198.51.100.9/32'], ports: [443, 6443]}}]",
        order=1,
    )
    with (
        world.open("node1", OUT[0], 443) as denied,
        world.open("node1", OUT[0], 6443) as spared,
        world.open("node1", OUT[0], 8080) as other,
    ):
        assert denied.talk()
        assert spared.talk()
        assert other.talk()
        _, found = diff(world, *HEPS, OPEN, early)
        assert cut_places(found) == {("hep/h0", OUT[0], 443)}
        [cut] = found["connections"]
        assert cut["direction"] == "egress"
        assert (cut["rule"]["policy"], cut["rule"]["rule"]) == ("GlobalNetworkPolicy early", "spec.ingress[0]")
        world.apply("node1", *HEPS, OPEN, early, force=True)
        assert not denied.talk(0.3)
        assert spared.talk()
        assert other.talk()


def test_an_early_allow_keeps_what_a_later_rule_denies(world: HostWorld) -> None:
    early = gnp(
        "early",
        "hep == 'h0'",
        "doNotTrack: true, applyOnForward: true, "
        "ingress: [{action: Allow, protocol: TCP, destination: {ports: [443]}}], "
        "egress: [{action: Allow, protocol: TCP, source: {ports: [443]}}]",
    )
    with world.open("out", NODE1[0], 443) as connection:
        assert connection.talk()
        _, found = diff(world, *HEPS, OPEN, CLOSED, early)
        assert cut_places(found) == set()
        assert cut_places(diff(world, *HEPS, OPEN, CLOSED)[1])
        world.apply("node1", *HEPS, OPEN, CLOSED, early, force=True)
        assert connection.talk()


def test_addresses_that_no_object_tells(world: HostWorld) -> None:
    """The node is asked for its own; its inventory has none at all here."""
    nameless = re.sub(r"(name: node1, .*\n)status: .*", r"\1status: {addresses: []}", INVENTORY)
    assert nameless.count("addresses: []") == 1
    policies = [
        gnp("allow", "has(hep)", f"ingress: [{{action: Allow, protocol: TCP, destination: {{ports: [{port}]}}}}]")
        for port in (8080, 8081)
    ]
    world.apply("node1", HEPS[0], policies[0], inventory=nameless, force=True)
    for target, name in ((NODE1[0], OUT[0]), (NODE1[1], OUT[1])):
        with world.open("out", target, 8080) as connection:
            assert connection.talk()
            code, found = diff(world, HEPS[0], policies[1], inventory=nameless)
            assert code == 1
            assert {str(row["ports"]) for row in found["changes"]} == {"[[8080, 8080]]", "[[8081, 8081]]"}
            assert name in {item["remote"] for item in found["connections"] if item["local_port"] == 8080}
