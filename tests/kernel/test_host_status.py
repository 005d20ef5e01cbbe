"""What `bpfence status` says about hosts: interfaces with their hooks, and every way in which the node has moved on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from bpfence.cli.status import command
from bpfence.loader.netlink import Netlink
from bpfence.loader.programs import program_by_id
from support.host_objects import gnp, hep
from support.host_world import HostWorld, asks

pytestmark = pytest.mark.kernel

HEPS = (hep("h0"), hep("star", interface="*"), hep("nowhere", interface="eth7"))
EARLY = gnp(
    "early",
    "hep == 'h0'",
    "doNotTrack: true, applyOnForward: true, ingress: [{action: Deny, protocol: TCP, destination: {ports: [6379]}}]",
)
OPEN = gnp("open", "has(hep)", "ingress: [{action: Allow}], egress: [{action: Allow}]")


@pytest.fixture
def world(hosts: HostWorld) -> Iterator[HostWorld]:
    hosts.unload("node1")
    hosts.apply("node1", *HEPS, EARLY, OPEN)
    yield hosts
    hosts.unload("node1")


def shown(world: HostWorld, *options: str) -> tuple[int, str]:
    paths = world.paths("node1")
    with world.inside("node1"):
        result = CliRunner().invoke(command, ["--state", str(paths.state), "--bpffs", str(paths.bpffs), *options])
    return result.exit_code, result.output


def test_interfaces_hooks_and_packets(world: HostWorld) -> None:
    assert world.wrong(asks("out node1 tcp/6379 no", "out node1 tcp/443 yes")) == []
    code, text = shown(world)
    assert code == 0, text
    lines = [line.split() for line in text.splitlines()]
    assert ["hep/h0", "eth0", "host-ingress+host-egress", "native"] in [line[:4] for line in lines]
    assert ["hep/star", "eth1", "host-ingress+host-egress", "none"] in [line[:4] for line in lines]
    assert ["hep/nowhere", "none", "none", "none", "none"] in lines
    assert any(line.startswith("warning: hep/nowhere: there is no interface eth7") for line in text.splitlines())
    hosts = {host["name"]: host for host in json.loads(shown(world, "-o", "json")[1])["hosts"]}
    assert hosts["hep/h0"]["counts"]["denied"] >= 2
    assert hosts["hep/h0"]["counts"]["allowed"] > 2
    assert [item["name"] for item in hosts["hep/star"]["interfaces"]] == ["eth1"]
    assert hosts["hep/h0"]["interfaces"][0]["xdp"] == "native"


def test_missing_hooks_are_drift_until_the_next_apply(world: HostWorld) -> None:
    with world.inside("node1"), Netlink() as netlink:
        index = next(link.index for link in netlink.links() if link.name == "eth0")
        netlink.remove_filter(index, "host-egress")
        [found] = netlink.xdp_programs()
        program = program_by_id(found.program)
        assert program is not None
        with program:
            netlink.remove_xdp(index, found.mode, program.fd)
    code, text = shown(world)
    assert code == 1
    drift = [line for line in text.splitlines() if line.startswith("drift: ")]
    assert drift[0] == "drift: hep/h0: no dispatcher at the host-egress hook of eth0"
    assert drift[1].startswith("drift: hep/h0: no XDP dispatcher on eth0;")
    assert len(drift) == 2
    world.apply("node1", *HEPS, EARLY, OPEN)
    assert shown(world)[0] == 0


def test_new_addresses_and_interfaces_are_drift_until_the_next_apply(world: HostWorld) -> None:
    def run(text: str) -> None:
        with world.inside("node1"):
            subprocess.run(["ip", *text.split()], check=True)

    run("addr add 198.51.100.77/24 dev eth0")
    run("link add eth9 type ifb")
    try:
        drift = world.status("node1").drift
        assert drift[0] == "hep/star: its interface eth9 is not in the tables in force; apply again"
        assert drift[1].startswith("198.51.100.77 is an address of this node that the tables in force do not know")
        assert len(drift) == 2
        world.apply("node1", *HEPS, EARLY, OPEN)
        assert not world.status("node1").drift
    finally:
        run("addr del 198.51.100.77/24 dev eth0")
        run("link del eth9")
    assert any("(gone)" in line for line in world.status("node1").drift)
    world.apply("node1", *HEPS, EARLY, OPEN)
    assert not world.status("node1").drift
