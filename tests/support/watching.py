"""`bpfence watch` as a process of its own, for a node under test; pods' interfaces that come and go beside it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from bpfence.loader.attach import survey_hooks
from bpfence.loader.netlink import Netlink
from bpfence.loader.unload import unload
from support.netns import PODS, NodeUnderTest, allow_ingress, inventory, node_under_test, tcp

WEB, CART = allow_ingress("db", "db", "web"), allow_ingress("db", "db", "cart")
FLOWS = (tcp("shop/web", "shop/db"), tcp("shop/cart", "shop/db"))
LATER = {f"shop/later{number}": f"10.9.1.{number}" for number in range(1, 8)}
"""pods of the inventory whose interfaces come while the watch runs"""


@dataclass(slots=True)
class RunningWatch:
    process: subprocess.Popen[bytes]
    folder: Path
    said: Path
    buffer: bytes = b""

    def next(self, seconds: float = 20.0) -> dict[str, Any]:
        """The next generation that it tells of."""
        assert self.process.stdout is not None
        end = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            assert self._readable(end - time.monotonic()), f"no generation was told of; stderr: {self.errors()}"
            part = os.read(self.process.stdout.fileno(), 65536)
            assert part, f"it has ended; stderr: {self.errors()}"
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def silent(self, seconds: float) -> bool:
        assert self.process.stdout is not None
        return not self.buffer and not self._readable(seconds)

    def _readable(self, seconds: float) -> bool:
        """Whether it says something within that time. With poll(2), for descriptors of long test runs go beyond what
        select(2) takes.
        """
        assert self.process.stdout is not None
        poller = select.poll()
        poller.register(self.process.stdout, select.POLLIN)
        return bool(poller.poll(max(0.0, seconds) * 1000))

    def errors(self) -> str:
        return self.said.read_text()

    def write(self, *policies: str, name: str = "policies.yaml") -> None:
        """As an editor does: another file takes the place of the old one."""
        fresh = self.folder / f".{name}.new"
        fresh.write_text("\n---\n".join(policies))
        fresh.replace(self.folder / name)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


@contextmanager
def watched_node(bpffs: Path, folder: Path) -> Iterator[NodeUnderTest]:
    """A node for tests that share it."""
    with node_under_test(bpffs, folder) as made:
        yield made
        unload(made.paths, force=True)


def begin_with_web(shared: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> NodeUnderTest:
    """The test begins with web -> db in force, in both slots."""
    monkeypatch.setenv("BPFENCE_STATE", str(shared.paths.state))
    monkeypatch.setenv("BPFENCE_BPFFS", str(shared.paths.bpffs))
    if shared.paths.folder.read().pending is not None:  # a test has failed half-way
        unload(shared.paths, force=True)
    for policy in (CART, WEB):
        shared.apply(shared.compile(policy, pods={**PODS, **LATER}))
    return shared


@contextmanager
def watching(node: NodeUnderTest, tmp_path: Path, *policies: str, **variables: str) -> Iterator[RunningWatch]:
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / "inventory.yaml").write_text(inventory({**PODS, **LATER}))
    (folder / "policies.yaml").write_text("\n---\n".join(policies))
    said = tmp_path / "stderr"
    with said.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "bpfence", "watch", str(folder), "-o", "json"],
            stdout=subprocess.PIPE, stderr=errors, env={**os.environ, **variables},
        )  # fmt: skip
    try:
        yield RunningWatch(process, folder, said)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def index_of(name: str) -> int:
    with Netlink() as netlink:
        return next(link.index for link in netlink.links() if link.name == name)


def hooked() -> dict[str, list[tuple[int, str, int]]]:
    """Interface -> its filters."""
    with Netlink() as netlink:
        hooks = survey_hooks(netlink)
    return {
        name: [(one.handle, one.direction, one.program) for one in hooks.at(index)]
        for index, name in hooks.names.items()
        if hooks.at(index)
    }


@contextmanager
def pod_interface(number: int) -> Iterator[None]:
    """A veth with a host route, as a CNI makes them, which goes with the block."""
    add_pod(number)
    try:
        yield
    finally:
        with IPRoute() as ip:
            ip.link("del", index=index_of(f"later{number}"))


def add_pod(number: int) -> None:
    with IPRoute() as ip:
        ip.link("add", ifname=f"later{number}", kind="veth", peer={"ifname": f"peer{number}"})
        index = ip.link_lookup(ifname=f"later{number}")[0]
        ip.link("set", index=index, state="up")
        ip.link("set", index=ip.link_lookup(ifname=f"peer{number}")[0], state="up")
        ip.route("add", dst=f"10.9.1.{number}/32", oif=index, scope=253)


def poke() -> None:
    """An event of the network that changes nothing."""
    with IPRoute() as ip:
        ip.link("add", ifname="nobodys", kind="veth", peer={"ifname": "nobodys2"})
        ip.link("del", index=index_of("nobodys"))
