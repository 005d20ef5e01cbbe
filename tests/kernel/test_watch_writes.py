"""`bpfence watch` beside somebody who writes into its files, and with links in its folders."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfence.demo.traffic import send_flows
from support.netns import NodeUnderTest, allow_ingress, generation
from support.watching import CART, FLOWS, WEB, begin_with_web, pod_interface, watched_node, watching

pytestmark = pytest.mark.kernel

MORE = allow_ingress("cart", "cart", "web") + "\n---\n" + allow_ingress("web", "web", "cart") + "\n"


@pytest.fixture(scope="module")
def shared_node(bpffs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeUnderTest]:
    with watched_node(bpffs, tmp_path_factory.mktemp("writes")) as made:
        yield made


@pytest.fixture
def node(shared_node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> NodeUnderTest:
    return begin_with_web(shared_node, monkeypatch)


def test_a_new_file_is_read_when_it_is_whole(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        with (watch.folder / "more.yaml").open("w") as file:
            file.write(MORE[: MORE.index("\n---")])
            file.flush()
            assert watch.silent(1.5), "half of it is in force"
            # pods are followed all the same
            began = time.monotonic()
            with pod_interface(1):
                assert watch.next()["attached"] == ["later1 (shop/later1)"]
                assert time.monotonic() - began < 1.0
            watch.next()
            file.write(MORE[MORE.index("\n---") :])
        assert watch.next()["policies_added"] == ["NetworkPolicy shop/cart", "NetworkPolicy shop/web"]


def test_a_file_that_is_written_anew_in_place(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        first = watch.next()["generation"]
        with (watch.folder / "policies.yaml").open("w") as file:
            time.sleep(0.05)
            os.utime(watch.folder / "inventory.yaml")
            (watch.folder / "more.yaml").write_text(MORE)
            assert watch.silent(1.5), "the policies are gone while they are being written"
            assert generation(node) == first
            assert send_flows(node.world, FLOWS, 0.2, (True, False)) == (True, False)
            file.write(CART)
        report = watch.next()
        assert report["before"] == first
        assert len(report["policies_added"]) == 2
        assert report["policies_removed"] == []
        assert send_flows(node.world, FLOWS, 0.2, (False, True)) == (False, True)


def test_what_was_compiled_while_somebody_wrote_is_dropped(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        place, offset, seen = watch.folder / "policies.yaml", 0.0, set()
        # a write at every moment of a compilation: what comes into force is never the file without its text
        while offset < 0.6:
            text = CART if CART not in place.read_text() else WEB
            os.utime(watch.folder / "inventory.yaml")
            time.sleep(0.1 + offset)
            with place.open("w") as file:
                time.sleep(0.3)
                file.write(text)
            while not (watch.silent(1.0) and not watch.buffer):
                seen.add(watch.next()["policies"])
            offset += 0.075
        assert seen == {1}


def test_an_open_file_is_read_at_sighup(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        with (watch.folder / "more.yaml").open("w") as file:
            file.write(MORE)
            file.flush()
            assert watch.silent(0.7)
            watch.process.send_signal(signal.SIGHUP)
            assert len(watch.next()["policies_added"]) == 2


def test_links_are_followed(node: NodeUnderTest, tmp_path: Path) -> None:
    with watching(node, tmp_path, WEB) as watch:
        watch.next()
        other = tmp_path / "elsewhere"
        other.mkdir()
        (other / "x.yaml").write_text(allow_ingress("cart", "cart", "web"))
        (watch.folder / "link").symlink_to(other)
        assert watch.next()["policies_added"] == ["NetworkPolicy shop/cart"]
        (other / "x.yaml").write_text(allow_ingress("web", "web", "db"))
        assert watch.next()["policies_removed"] == ["NetworkPolicy shop/cart"]
        target = tmp_path / "target"
        target.write_text(allow_ingress("cart", "cart", "db"))
        (watch.folder / "file.yaml").symlink_to(target)
        assert watch.next()["policies_added"] == ["NetworkPolicy shop/cart"]
        target.unlink()
        target.write_text("")
        assert watch.next()["policies_removed"] == ["NetworkPolicy shop/cart"]
        (watch.folder / "link").unlink()
        assert watch.next()["policies_removed"] == ["NetworkPolicy shop/web"]


def test_a_mounted_config_map(node: NodeUnderTest, tmp_path: Path) -> None:
    volume = tmp_path / "volume"

    def put(number: int, policy: str) -> None:
        """As the kubelet does."""
        folder = volume / f"..2026_{number}"
        folder.mkdir(parents=True)
        (folder / "policies.yaml").write_text(policy)
        (volume / "..data_tmp").symlink_to(folder.name)
        (volume / "..data_tmp").replace(volume / "..data")
        if number == 1:
            (volume / "policies.yaml").symlink_to("..data/policies.yaml")
        else:
            before = volume / f"..2026_{number - 1}"
            (before / "policies.yaml").unlink()
            before.rmdir()

    put(1, CART)
    with watching(node, tmp_path) as watch:
        watch.next()
        # a link to the volume, and one to a file in it
        (watch.folder / "volume").symlink_to(volume)
        assert watch.next()["policies"] == 1
        assert send_flows(node.world, FLOWS, 0.2, (False, True)) == (False, True)
        put(2, WEB)
        watch.next()
        assert send_flows(node.world, FLOWS, 0.2, (True, False)) == (True, False)
        (watch.folder / "volume").unlink()
        watch.next()
        (watch.folder / "one.yaml").symlink_to(volume / "policies.yaml")
        assert watch.next()["policies"] == 1
        for number, policy, verdicts in ((3, CART, (False, True)), (4, WEB, (True, False))):
            put(number, policy)
            watch.next()
            assert send_flows(node.world, FLOWS, 0.2, verdicts) == verdicts
