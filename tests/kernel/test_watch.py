"""`bpfence watch` as users run it: files and interfaces that change while it follows them."""

from __future__ import annotations

import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from bpfence.cli import run
from bpfence.cli.watch import unit_text
from bpfence.demo.traffic import send_flows
from bpfence.loader.netlink import Netlink
from bpfence.loader.status import read_status
from support.netns import PODS, NodeUnderTest, allow_ingress, eventually, generation
from support.watching import (
    CART,
    FLOWS,
    LATER,
    WEB,
    add_pod,
    begin_with_web,
    hooked,
    index_of,
    pod_interface,
    poke,
    watched_node,
    watching,
)

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def shared_node(bpffs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeUnderTest]:
    with watched_node(bpffs, tmp_path_factory.mktemp("watch")) as made:
        yield made


@pytest.fixture
def node(shared_node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> NodeUnderTest:
    return begin_with_web(shared_node, monkeypatch)


def test_files_are_followed(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, CART) as watch:
        first = watch.next()
        assert first["policies"] == 1
        assert send_flows(node.world, FLOWS, 0.2, (False, True)) == (False, True)
        watch.write(WEB)
        assert watch.next()["before"] == first["generation"]
        assert send_flows(node.world, FLOWS, 0.2, (True, False)) == (True, False)
        # a folder that is new, and a file in it
        (watch.folder / "more").mkdir()
        (watch.folder / "more" / "cart.yaml").write_text(allow_ingress("cart", "cart", "web"))
        assert watch.next()["policies_added"] == ["NetworkPolicy shop/cart"]
        assert watch.stop() == 0
    assert send_flows(node.world, FLOWS, 0.2, (True, False)) == (True, False)
    assert not read_status(node.paths).drift


def test_a_bad_file_changes_nothing(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, CART) as watch:
        watch.next()
        before = generation(node)
        watch.write(WEB.replace("port: 80", "port: 80000"))
        eventually(lambda: "policies.yaml" in watch.errors())
        assert "what is in force stays" in watch.errors()
        assert generation(node) == before
        watch.write(WEB)
        assert watch.next()["before"] == before


def test_bad_input_at_the_beginning_is_no_watch(node: NodeUnderTest, tmp_path: Path) -> None:
    before = generation(node)
    with watching(node, tmp_path, WEB.replace("port: 80", "port: 80000")) as watch:
        assert watch.process.wait(20) == 2
    assert generation(node) == before
    assert run(["watch"]) == 2
    assert run(["watch", "-"]) == 2


def test_what_means_the_same_is_no_generation(node: NodeUnderTest, tmp_path: Path) -> None:
    before = generation(node)
    with watching(node, tmp_path, WEB) as watch:
        # web -> db is in force, from another file: only places in the text differ, so it comes anew
        watch.next()
        watch.write(WEB, "# a comment at the end")
        watch.process.send_signal(signal.SIGHUP)
        poke()
        assert watch.silent(1.5)
        assert generation(node) == before + 1


def test_interfaces_are_followed(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        others = hooked()
        programs = read_status(node.paths).programs
        with pod_interface(1):
            report = watch.next()
            assert report["attached"] == ["later1 (shop/later1)"]
            assert report["programs_loaded"] == 0
            found = hooked()
            assert len(found.pop("later1")) == 2
            assert found == others, "filters of other interfaces were touched"
            assert not read_status(node.paths).drift
        eventually(lambda: not read_status(node.paths).drift)
        watch.next()
        assert hooked() == others
        dispatchers = {item.id for item in programs if item.name.startswith("dispatch")}
        assert dispatchers <= {item.id for item in read_status(node.paths).programs}


def test_a_filter_that_somebody_took_off_comes_back(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        with Netlink() as netlink:
            netlink.remove_filter(index_of("pod2"), "ingress")
        assert watch.next()["attached"] == ["pod2 (shop/db)"]
        assert send_flows(node.world, FLOWS, 0.2, (True, False)) == (True, False)


def test_a_pod_is_policed_soon_after_its_route_is_there(
    node: NodeUnderTest, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    took = []
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        time.sleep(0.3)
        for number in LATER.values():
            last = int(number.rpartition(".")[2])
            add_pod(last)
            began = time.monotonic()
            index = index_of(f"later{last}")
            with Netlink() as netlink:
                while len(netlink.filters(index)) < 2 or index not in interfaces_in_force(node):
                    assert time.monotonic() < began + 10
                    time.sleep(0.002)
            took.append(time.monotonic() - began)
            watch.next()
            time.sleep(0.2)
        with IPRoute() as ip:
            for name in LATER:
                ip.link("del", index=index_of(name.partition("/")[2]))
    median = statistics.median(took)
    record_property("median_ms", round(median * 1000))
    print(f"interface to hooks: median {median * 1000:.0f} ms of {[round(one * 1000) for one in took]}")
    assert median <= 0.5


def interfaces_in_force(node: NodeUnderTest) -> set[int]:
    record = node.paths.folder.read().record(generation(node))
    return {item.index for item in record.interfaces} if record else set()


def test_rollback_goes_past_what_only_follows_interfaces(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, CART) as watch:
        first = watch.next()["generation"]
        for _ in range(7):
            with pod_interface(2):
                watch.next()
            watch.next()
        assert watch.stop() == 0
    records = node.paths.folder.read().generations
    assert records[-1].number == first + 14
    assert records[-1].refreshes == first + 13
    assert records[-1].by == "watch"
    kept = [one.number for one in records if one.number in node.paths.folder.kept()]
    assert len(kept) <= 5
    assert run(["rollback"]) == 0
    assert send_flows(node.world, FLOWS, 0.2, (True, False)) == (True, False)


def test_what_another_command_brought_stays_and_is_followed(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, CART) as watch:
        watch.next()
        assert run(["rollback"]) == 0
        with pod_interface(3):
            assert watch.next()["attached"] == ["later3 (shop/later3)"]
            assert "another command has brought generation" in watch.errors()
            assert send_flows(node.world, FLOWS, 0.2, (True, False)) == (True, False)
        watch.next()
        watch.process.send_signal(signal.SIGHUP)
        watch.next()
        assert send_flows(node.world, FLOWS, 0.2, (False, True)) == (False, True)


def test_a_generation_that_waits_for_its_confirmation_is_left_alone(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        node.compile(CART, pods={**PODS, **LATER})
        assert run(["apply", str(node.folder / "input.yaml"), "--confirm-within", "1m"]) == 0
        before = generation(node)
        with pod_interface(4):
            assert watch.silent(0.7)
            assert generation(node) == before
            assert "waits for its confirmation" in watch.errors()
            assert run(["confirm"]) == 0
            assert watch.next()["attached"] == ["later4 (shop/later4)"]
            assert send_flows(node.world, FLOWS, 0.2, (False, True)) == (False, True)
        watch.next()


def test_what_the_node_refuses_is_tried_again(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        with pod_interface(5):
            watch.next()
            with IPRoute() as ip:
                # two pods behind one interface
                ip.route("add", dst="10.9.1.6/32", oif=index_of("later5"), scope=253)
                eventually(lambda: "leads to several endpoints" in watch.errors())
                time.sleep(0.5)
                assert watch.errors().count("leads to several endpoints") == 1
                ip.route("del", dst="10.9.1.6/32", oif=index_of("later5"), scope=253)
            watch.write(CART)
            assert watch.next()["policies"] == 1
        watch.next()


def test_unloading_under_a_watch(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        assert run(["unload"]) == 0
        with pod_interface(6):
            assert watch.silent(0.5)
            assert "nothing is in force any more" in watch.errors()
            watch.process.send_signal(signal.SIGHUP)
            assert watch.next()["generation"] == 1
        watch.next()
        watch.process.send_signal(signal.SIGINT)
        assert watch.process.wait(20) == 0


def test_the_service_manager_is_told(node: NodeUnderTest, tmp_path: Path) -> None:
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(place))
        channel.settimeout(20)
        with watching(node, tmp_path, WEB, NOTIFY_SOCKET=str(place)) as watch:
            assert b"READY=1" in channel.recv(4096)
            watch.next()
            assert watch.stop() == 0
            assert channel.recv(4096) == b"STOPPING=1"


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    text = unit_text()
    assert "@BPFENCE@" not in text
    unit = tmp_path / "bpfence.service"
    unit.write_text(text)
    try:
        checked = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("not run: there is no systemd-analyze")
    assert "bpfence.service" not in checked.stderr, checked.stderr
