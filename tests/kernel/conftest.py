"""Fixtures for tests against the real kernel. Where it can't be had, they are reported as not run, with the reason."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfence.errors import KernelError
from bpfence.loader import guard_flows
from bpfence.loader.guard_sockets import Holder, session_sockets
from bpfence.loader.kernel import require_kernel
from bpfence.loader.namespaces import mount, unmount
from bpfence.loader.unload import unload
from kernel.plane import Plane
from support.host_world import HostWorld, host_world
from support.netns import NodeUnderTest, node_under_test


@pytest.fixture(scope="session", autouse=True)
def signals() -> Iterator[None]:
    """Those that tests send do what they do by default, also where the whole run was told to ignore them."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {
        number: signal.signal(number, usual[number]) for number in usual if signal.getsignal(number) == signal.SIG_IGN
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def kernel() -> None:
    """Root, bcc and a kernel with BPF."""
    try:
        require_kernel()
    except KernelError as error:
        pytest.skip(f"not run: {error}")


@pytest.fixture(scope="session")
def bpffs(kernel: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bpf file system of the tests' own."""
    folder = tmp_path_factory.mktemp("bpffs")
    mount("bpf", str(folder), "bpf", 0, "mode=0700")
    yield folder
    unmount(str(folder))


@pytest.fixture(scope="session")
def shared_plane(bpffs: Path) -> Iterator[Plane]:
    plane = Plane.create(bpffs)
    yield plane
    plane.close()


@pytest.fixture
def plane(shared_plane: Plane) -> Iterator[Plane]:
    """A data plane without any flow. Packets arrive on interface 1."""
    shared_plane.forget()
    yield shared_plane
    shared_plane.forget()


@pytest.fixture
def node(bpffs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeUnderTest]:
    """A node with three pods and folders of its own, which commands find without options."""
    with node_under_test(bpffs, tmp_path) as made:
        monkeypatch.setenv("BPFENCE_STATE", str(made.paths.state))
        monkeypatch.setenv("BPFENCE_BPFFS", str(made.paths.bpffs))
        yield made
        unload(made.paths, force=True)


@pytest.fixture(scope="session")
def shared_hosts(bpffs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostWorld]:
    with host_world(bpffs, tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.fixture
def hosts(shared_hosts: HostWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostWorld]:
    """Two nodes, an outside host and pods. What was applied before a test stays in force until the test applies its
    own; nftables rules go with the test. The servers of all these machines are in this very process: their connections
    are nobody's session.
    """
    me = os.getpid()

    def of_others() -> dict[int, Holder]:
        return {inode: holder for inode, holder in session_sockets().items() if holder.pid != me}

    monkeypatch.setattr(guard_flows, "session_sockets", of_others)
    yield shared_hosts
    shared_hosts.nft("node1", "")
