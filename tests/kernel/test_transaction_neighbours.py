"""Others on the same machine: foreign filters and qdiscs, a second bpfence, a second transaction, another namespace."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from pyroute2 import IPRoute

from bpfence.demo.traffic import send_flows
from bpfence.errors import AttachConflict, KernelError
from bpfence.loader.guard import LockOut
from bpfence.loader.lock import LockHeld, node_lock
from bpfence.loader.namespaces import NetworkNamespace
from bpfence.loader.netlink import HOOK_PARENT, Netlink
from bpfence.loader.node import NodePaths
from bpfence.loader.programs import Program, load_programs
from bpfence.loader.status import read_status
from bpfence.loader.transaction import ApplySettings, apply
from bpfence.loader.unload import unload
from support.netns import NodeUnderTest, allow_ingress, hooks, tcp
from support.tcx import tcx_link

pytestmark = pytest.mark.kernel

WEB_TO_DB = allow_ingress("db", "db", "web")
FLOWS = (tcp("shop/web", "shop/db"), tcp("shop/cart", "shop/db"))


@pytest.fixture(scope="module")
def accepting(kernel: None) -> Iterator[Program]:
    """Somebody else's program, which accepts every packet."""
    text = "int accept_all(struct __sk_buff *skb) { return 0; }"
    with load_programs(text, ["accept_all"], {})["accept_all"] as program:
        yield program


def index_of(name: str) -> int:
    with Netlink() as netlink:
        return next(link.index for link in netlink.links() if link.name == name)


def add_foreign(index: int, program: Program, **place: int) -> None:
    with IPRoute() as ip:
        ip.tc("add", "clsact", index)
        ip.tc("add-filter", "bpf", index, place["handle"], fd=program.fd, name="theirs", parent=HOOK_PARENT["ingress"],
              prio=place["prio"], direct_action=True)  # fmt: skip


def test_foreign_filter_stays_and_ours_is_asked_first(node: NodeUnderTest, accepting: Program) -> None:
    add_foreign(index_of("pod2"), accepting, handle=7, prio=1)
    before = hooks()
    report = node.apply(node.compile(WEB_TO_DB))
    assert any("theirs" in warning for warning in report.warnings)
    assert send_flows(node.world, FLOWS, 0.2, (True, False)) == (True, False)
    unload(node.paths)
    assert hooks() == before


def test_foreign_filter_in_our_place_is_a_conflict(node: NodeUnderTest, accepting: Program) -> None:
    add_foreign(index_of("pod2"), accepting, handle=0xBFE, prio=1)
    before = node.snapshot()
    with pytest.raises(AttachConflict, match="theirs"):
        node.apply(node.compile(WEB_TO_DB))
    assert node.snapshot() == before


def test_tcx_program_is_a_conflict(node: NodeUnderTest, accepting: Program) -> None:
    with tcx_link(index_of("pod2"), accepting):
        before = node.snapshot()
        with pytest.raises(AttachConflict, match="pod2: foreign tcx programs"):
            node.apply(node.compile(WEB_TO_DB))
        assert node.snapshot() == before
    node.apply(node.compile(WEB_TO_DB))


def test_ingress_qdisc_in_place_of_clsact_is_a_conflict(node: NodeUnderTest) -> None:
    with IPRoute() as ip:
        ip.tc("add", "ingress", index_of("pod2"), handle=0xFFFF0000)
    before = node.snapshot()
    with pytest.raises(AttachConflict, match="pod2: a foreign ingress qdisc"):
        node.apply(node.compile(WEB_TO_DB))
    assert node.snapshot() == before


def test_dispatchers_of_another_bpfence_are_a_conflict(node: NodeUnderTest) -> None:
    artefact = node.compile(WEB_TO_DB)
    node.apply(artefact)
    other = NodePaths(node.paths.bpffs.with_name(node.paths.bpffs.name + "-other"), node.folder / "other")
    before = node.snapshot()
    with pytest.raises(AttachConflict, match="unload --force"):
        apply(artefact, ApplySettings(other))
    assert node.snapshot() == before
    assert not other.bpffs.exists()
    assert not other.state.exists()
    assert unload(other, force=True).detached == ("pod1", "pod2", "pod3")


def test_second_transaction_says_who_holds_the_first(node: NodeUnderTest) -> None:
    node.paths.state.mkdir(mode=0o700)
    with node_lock(node.paths.state), pytest.raises(LockHeld, match=f"process {os.getpid()} ") as caught:
        node.apply(node.compile(WEB_TO_DB))
    assert caught.value.exit_code == 3
    node.apply(node.compile(WEB_TO_DB))


def test_pins_of_another_namespace_are_refused(node: NodeUnderTest) -> None:
    artefact = node.compile(WEB_TO_DB)
    node.apply(artefact)
    elsewhere = NetworkNamespace.create()
    with elsewhere.inside(), pytest.raises(KernelError, match="another network namespace"):
        node.apply(artefact)
    elsewhere.close()
    assert read_status(node.paths).generation == 1


def test_lock_out_guard(node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    artefact = node.compile(WEB_TO_DB)
    monkeypatch.setenv("SSH_CONNECTION", "10.9.0.3 50000 10.9.0.2 22")
    with pytest.raises(LockOut, match="shop/db"):
        node.apply(artefact)
    assert not node.paths.state.exists()
    node.apply(artefact, force=True)


def test_status_shows_drift(node: NodeUnderTest) -> None:
    node.apply(node.compile(WEB_TO_DB))
    with Netlink() as netlink:
        netlink.remove_filter(index_of("pod2"), "ingress")
    assert read_status(node.paths).drift == ("shop/db: no dispatcher at the ingress hook of pod2",)
    report = node.apply(node.compile(WEB_TO_DB))
    assert report.attached == ("pod2 (shop/db)",)
    assert not read_status(node.paths).drift


def test_interface_that_vanished_is_drift_and_unload_still_works(node: NodeUnderTest) -> None:
    node.apply(node.compile(WEB_TO_DB))
    with IPRoute() as ip:
        ip.link("del", index=index_of("pod1"))
    drift = read_status(node.paths).drift
    assert any("shop/web" in line for line in drift)
    assert unload(node.paths).generation == 1
    assert not node.paths.state.exists()
