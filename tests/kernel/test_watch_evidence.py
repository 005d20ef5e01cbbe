"""What leads to a pod goes, its interface stays: so does its policy, with `bpfence watch` and with `apply` alone."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from bpfence.cli import run
from bpfence.loader.status import read_status
from support.netns import PODS, NodeUnderTest, eventually, generation
from support.watching import CART, LATER, WEB, begin_with_web, hooked, index_of, poke, watched_node, watching

pytestmark = pytest.mark.kernel

HARDWARE = "02:00:00:00:00:77"


@pytest.fixture(scope="module")
def shared_node(bpffs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeUnderTest]:
    with watched_node(bpffs, tmp_path_factory.mktemp("evidence")) as made:
        yield made


@pytest.fixture
def node(shared_node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> NodeUnderTest:
    return begin_with_web(shared_node, monkeypatch)


@contextmanager
def veth(name: str, index: int = 0, hardware: str = "") -> Iterator[int]:
    """A pair of interfaces that nothing leads to."""
    wanted = {"index": index} if index else {}
    with IPRoute() as ip:
        ip.link("add", ifname=name, kind="veth", peer={"ifname": f"{name}in"}, **wanted,
                **({"address": hardware} if hardware else {}))  # fmt: skip
        number = index_of(name)
        for one in (number, index_of(f"{name}in")):
            ip.link("set", index=one, state="up")
        try:
            yield number
        finally:
            if ip.link_lookup(ifname=name):
                ip.link("del", index=index_of(name))


def neighbour(action: str, pod: int, index: int) -> None:
    with IPRoute() as ip:
        ip.neigh(action, dst=f"10.9.1.{pod}", lladdr=HARDWARE, ifindex=index, state=4)


def route(action: str, pod: int, index: int) -> None:
    with IPRoute() as ip:
        ip.route(action, dst=f"10.9.1.{pod}/32", oif=index, scope=253)


def bridge(action: str, port: str) -> None:
    subprocess.run(["bridge", "fdb", action, HARDWARE, "dev", port, "master", "dynamic"], check=True)


def apply_again(node: NodeUnderTest, policy: str = CART) -> dict[str, list[str]]:
    """A plain `apply`: what it attached and took off; a dry run and `diff live` say the same before it."""
    artefact = node.compile(policy, pods={**PODS, **LATER})
    dry = node.apply(artefact, dry_run=True)
    done = node.apply(artefact)
    assert (dry.attached, dry.detached) == (done.attached, done.detached)
    return {"attached": list(done.attached), "detached": list(done.detached)}


def test_a_pod_that_does_not_answer_stays_under_its_policy(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch, veth("quiet") as index, IPRoute() as ip:
        watch.next()
        subprocess.run(["ip", "link", "set", "quietin", "arp", "off"], check=True)
        for name, value in (("delay_first_probe_time", "1"), ("retrans_time_ms", "50")):
            Path(f"/proc/sys/net/ipv4/neigh/quiet/{name}").write_text(value)
        ip.route("add", dst="10.9.1.0/29", oif=index, scope=253)
        neighbour("replace", 5, index)
        assert watch.next()["attached"] == ["quiet (shop/later5)"]
        before = hooked()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:

            def unresolved() -> bool:
                sender.sendto(b"x", ("10.9.1.5", 9))
                time.sleep(0.1)
                found = ip.get_neighbours(ifindex=index, dst="10.9.1.5")
                return all(one["state"] & 0x21 for one in found)  # incomplete, failed

            eventually(unresolved)
        poke()
        assert watch.silent(1.0), watch.next()
        assert hooked() == before
        assert len(before["quiet"]) == 2
        assert not read_status(node.paths).drift
        # and what comes next keeps it
        watch.write(CART)
        assert watch.next()["detached"] == []
        assert hooked()["quiet"] == before["quiet"]
        # until the interface goes
        ip.link("del", index=index)
        watch.next()
        eventually(lambda: not read_status(node.paths).drift)


def test_a_bridge_that_forgets_a_pod(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch, veth("port5") as port, IPRoute() as ip:
        watch.next()
        ip.link("add", ifname="br0", kind="bridge")
        over = index_of("br0")
        try:
            ip.link("set", index=port, master=over)
            ip.link("set", index=over, state="up")
            neighbour("replace", 5, over)
            assert watch.silent(0.5), "nothing leads to the pod yet"
            # the bridge learns last where the pod is
            bridge("replace", "port5")
            assert watch.next(2)["attached"] == ["port5 (shop/later5)"]
            before = hooked()
            bridge("del", "port5")
            poke()
            assert watch.silent(0.7)
            bridge("replace", "port5")
            assert watch.silent(0.5)
            assert hooked() == before
        finally:
            ip.link("del", index=over)


def test_neighbours_that_go_change_nothing(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    with veth("later") as index:
        neighbour("replace", 5, index)
        assert apply_again(node)["attached"] == ["later (shop/later5)"]
        hooks = hooked()
        neighbour("del", 5, index)
        capsys.readouterr()
        assert run(["diff", "live", str(node.folder / "input.yaml"), "-o", "json"]) == 0, capsys.readouterr()
        assert json.loads(capsys.readouterr().out)["interfaces"] == {"attached": [], "detached": []}
        assert not read_status(node.paths).drift
        assert not [line for line in read_status(node.paths).warnings if "later5" in line]
        for policy in (WEB, CART):
            assert apply_again(node, policy) == {"attached": [], "detached": []}
        assert hooked() == hooks
        # an operator takes the filters off, while nothing leads to the pod
        subprocess.run(["tc", "qdisc", "del", "dev", "later", "clsact"], check=True)
        assert apply_again(node)["attached"] == ["later (shop/later5)"]
        # it gets another name
        subprocess.run(["ip", "link", "set", "later", "down", "name", "later-5", "up"], check=True)
        assert apply_again(node) == {"attached": [], "detached": []}
        subprocess.run(["ip", "link", "set", "later-5", "down", "name", "later"], check=True)
    apply_again(node)


def test_a_route_that_goes_before_its_interface(node: NodeUnderTest) -> None:
    with veth("later") as index:
        route("add", 5, index)
        apply_again(node)
        hooks = hooked()
        route("del", 5, index)
        assert apply_again(node) == {"attached": [], "detached": []}
        assert hooked() == hooks
        # the pod comes back elsewhere: a route is the node's own word
        with veth("other") as elsewhere:
            route("add", 5, elsewhere)
            assert apply_again(node) == {"attached": ["other (shop/later5)"], "detached": ["later"]}
    apply_again(node)


def test_another_interface_with_the_same_number_is_another_pods(node: NodeUnderTest) -> None:
    for name in ("later", "stranger"):
        with veth("later", hardware="02:00:00:00:01:01") as index:
            neighbour("replace", 5, index)
            assert apply_again(node)["attached"] == ["later (shop/later5)"]
        with veth(name, index, "02:00:00:00:01:02") as again:
            assert again == index
            assert apply_again(node)["attached"] == []
            assert name not in hooked()
            assert any("later5" in line for line in read_status(node.paths).warnings)
        apply_again(node)


def test_an_interface_that_is_now_another_pods(node: NodeUnderTest) -> None:
    with veth("later") as index:
        neighbour("replace", 5, index)
        apply_again(node)
        neighbour("del", 5, index)
        route("add", 6, index)
        apply_again(node)
        endpoints = {one.name: one.interface for one in read_status(node.paths).endpoints}
        assert (endpoints["shop/later5"], endpoints["shop/later6"]) == ("", "later")
    apply_again(node)


def test_a_pod_does_not_pass_for_another_one(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    with veth("first") as first, veth("second") as second, veth("third") as third:
        neighbour("replace", 5, first)
        neighbour("replace", 6, second)
        apply_again(node)
        hooks = hooked()
        # later5 speaks as later6, and no longer as itself; later6 is silent
        neighbour("del", 5, first)
        neighbour("replace", 6, first)
        assert apply_again(node) == {"attached": [], "detached": []}
        neighbour("del", 6, second)
        assert apply_again(node) == {"attached": [], "detached": []}
        # later7 is not there yet
        neighbour("replace", 7, first)
        before = generation(node)
        capsys.readouterr()
        assert run(["apply", str(node.folder / "input.yaml")]) == 3
        assert "leads to several endpoints (shop/later5, shop/later7)" in capsys.readouterr().err
        neighbour("del", 7, first)
        # an interface of nobody that claims to be later6
        neighbour("replace", 6, third)
        assert run(["apply", str(node.folder / "input.yaml")]) == 3
        assert "shop/later6: its addresses lead to third, and second" in capsys.readouterr().err
        assert generation(node) == before
        assert hooked() == hooks
    apply_again(node)


def test_a_pod_does_not_become_the_way_out(node: NodeUnderTest) -> None:
    with veth("later") as index:
        route("add", 5, index)
        apply_again(node)
        hooks = hooked()
        # as a router advertisement of the pod would have it
        subprocess.run(["ip", "route", "add", "default", "dev", "later", "metric", "4000"], check=True)
        assert apply_again(node) == {"attached": [], "detached": []}
        assert hooked() == hooks
    apply_again(node)


def test_without_a_record_the_kernels_table_is_remembered(node: NodeUnderTest) -> None:
    with veth("later") as index:
        neighbour("replace", 5, index)
        apply_again(node)
        hooks = hooked()
        neighbour("del", 5, index)
        (node.paths.state / "node.json").unlink()
        assert apply_again(node) == {"attached": [], "detached": []}
        assert hooked() == hooks
    apply_again(node)
