"""Programs, filters and queues of others: never touched by apply, a failed apply or unload; where both can't be, apply
stops before it changes anything and says who is there.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bpfence.errors import AttachConflict, KernelError
from bpfence.loader.bpffs import WORKLOAD_DIRECTIONS
from bpfence.loader.maps import open_pinned_fd, pin
from bpfence.loader.netlink import FILTER_NAME, Netlink
from bpfence.loader.owners import describe_program, holders
from bpfence.loader.programs import SCHED_CLS, XDP, Program, load_programs, program_info
from bpfence.loader.ready import Ready
from bpfence.loader.status import read_status
from bpfence.loader.tcx import tcx_programs
from bpfence.loader.unload import unload
from support.host_objects import gnp, hep
from support.host_world import HostWorld
from support.netns import NodeUnderTest, allow_ingress
from support.tcx import tcx_link

pytestmark = pytest.mark.kernel

WEB_TO_DB = allow_ingress("db", "db", "web")
TEXT = "int theirs(struct __sk_buff *skb) { return -1; }"
XDP_TEXT = "int their_xdp(struct xdp_md *context) { return 2; }"


@pytest.fixture(scope="module")
def theirs(bpffs: Path) -> Iterator[Path]:
    """Somebody else's program, which has no opinion; pinned."""
    place = bpffs / "theirs"
    with load_programs(TEXT, ["theirs"], {}, kind=SCHED_CLS)["theirs"] as program:
        pin(program.fd, place)
    yield place
    place.unlink()


def tc(words: str) -> None:
    subprocess.run(["tc", *words.split()], check=True, capture_output=True)


def scene() -> dict[str, list[str]]:
    """Everything of others on the interfaces: qdiscs, filters but ours, XDP and tcx programs."""
    found: dict[str, list[str]] = {}
    with Netlink() as netlink:
        links, xdp = netlink.links(), netlink.xdp_programs()
    for link in links:
        qdiscs = _output("qdisc", "show", "dev", link.name)
        filters = [line for hook in ("ingress", "egress", "root") for line in _filters(link.name, hook)]
        tcx = [f"tcx {tcx_programs(link.index, direction)}" for direction in WORKLOAD_DIRECTIONS]
        programs = [f"xdp {item.program} {item.mode}" for item in xdp if item.index == link.index]
        found[link.name] = [*qdiscs, *filters, *tcx, *programs]
    return found


def _filters(name: str, hook: str) -> list[str]:
    """Lines that begin a filter or tell of it; those of our dispatchers left out."""
    words = ["filter", "show", "dev", name, *([hook] if hook != "root" else [])]
    lines = _output(*words)
    return [f"{hook} {line}" for line in lines if not any(ours in line for ours in FILTER_NAME.values())]


def _output(*words: str) -> list[str]:
    done = subprocess.run(["tc", *words], capture_output=True, text=True, check=False)
    # the kernel names each preference beside the filters in it
    return [line for line in done.stdout.splitlines() if line.strip() and not line.rstrip().endswith("chain 0")]


SCENES: dict[str, tuple[str, ...]] = {
    "filters behind ours, at both hooks": (
        "qdisc add dev pod2 clsact",
        "filter add dev pod2 ingress prio 5 bpf da pinned {theirs}",
        "filter add dev pod2 egress prio 49152 protocol ip u32 match u32 0 0 classid 1:1",
        "filter add dev pod2 egress prio 7 bpf da pinned {theirs}",
    ),
    "a filter of the same preference": (
        "qdisc add dev pod2 clsact",
        "filter add dev pod2 ingress prio 1 handle 7 bpf da pinned {theirs}",
    ),
    "a clsact that holds nothing": ("qdisc add dev pod2 clsact",),
    "queues": (
        "qdisc add dev pod1 root handle 1: htb default 10",
        "class add dev pod1 parent 1: classid 1:10 htb rate 100mbit",
        "filter add dev pod1 parent 1: prio 3 protocol ip u32 match u32 0 0 classid 1:10",
        "qdisc add dev pod2 root handle 2: tbf rate 100mbit burst 32k latency 50ms",
        "qdisc add dev pod3 root handle 3: pfifo limit 77",
    ),
    "an ingress qdisc where no pod is": (
        "qdisc add dev lo ingress",
        "filter add dev lo ingress prio 1 protocol ip u32 match u32 0 0 classid 1:1",
    ),
}


@pytest.mark.parametrize("name", SCENES)
def test_what_others_have_stays(node: NodeUnderTest, theirs: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in SCENES[name]:
        tc(line.format(theirs=theirs))
    before = scene()
    clean = {link: [line for line in lines if "clsact" not in line] for link, lines in before.items()}

    def without_ours() -> dict[str, list[str]]:
        return {link: [line for line in lines if "clsact" not in line] for link, lines in scene().items()}

    artefact = node.compile(WEB_TO_DB)
    node.apply(artefact, dry_run=True)
    assert scene() == before
    with monkeypatch.context() as patch:
        patch.setattr(Ready, "place", fail)
        with pytest.raises(KernelError, match="said no"):
            node.apply(artefact)
    assert scene() == before
    node.apply(artefact)
    assert without_ours() == clean
    node.apply(node.compile(allow_ingress("db", "db", "cart")))
    assert without_ours() == clean
    unload(node.paths)
    assert scene() == before


def fail(*_: object, **__: object) -> None:
    raise KernelError("the kernel said no")


@pytest.mark.parametrize(
    "line",
    [
        "filter add dev pod2 egress prio 1 protocol ip u32 match u32 0 0 classid 1:1",
        "filter add dev pod2 egress prio 1 protocol ip bpf da pinned {theirs}",
        "filter add dev pod2 egress prio 1 protocol all handle 0xbfe bpf da pinned {theirs}",
    ],
)
def test_who_holds_our_place_is_named(node: NodeUnderTest, theirs: Path, line: str) -> None:
    tc("qdisc add dev pod2 clsact")
    tc(line.format(theirs=theirs))
    before, pins = scene(), node.snapshot()
    with pytest.raises(AttachConflict, match="pod2: a foreign filter holds the place of the ingress dispatcher"):
        node.apply(node.compile(WEB_TO_DB))
    assert scene() == before
    assert node.snapshot() == pins


def test_a_filter_that_joins_our_clsact_keeps_it(node: NodeUnderTest, theirs: Path) -> None:
    node.apply(node.compile(WEB_TO_DB))
    tc(f"filter add dev pod2 egress prio 9 bpf da pinned {theirs}")
    before = scene()
    unload(node.paths)
    after = scene()
    assert after["pod2"] == before["pod2"]
    assert not any("clsact" in line for link in ("pod1", "pod3") for line in after[link])


def test_a_filter_that_joins_before_a_failure_keeps_the_clsact(
    node: NodeUnderTest, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def join_and_fail(*_: object) -> None:
        tc(f"filter add dev pod2 egress prio 9 bpf da pinned {theirs}")
        fail()

    monkeypatch.setattr(Ready, "place", join_and_fail)
    with pytest.raises(KernelError, match="said no"):
        node.apply(node.compile(WEB_TO_DB))
    after = scene()
    assert any("theirs" in line for line in after["pod2"])
    assert not any("clsact" in line for link in ("pod1", "pod3") for line in after[link])
    with Netlink() as netlink:
        ours = {name for link in netlink.links() for name in (item.name for item in netlink.filters(link.index))}
    assert ours.isdisjoint(FILTER_NAME.values())


def test_a_filter_that_has_gone_before_ours_is_told(node: NodeUnderTest, theirs: Path) -> None:
    """Whoever joins our preference later is asked first."""
    node.apply(node.compile(WEB_TO_DB))
    tc(f"filter add dev pod2 egress prio 1 handle 7 bpf da pinned {theirs}")
    report = node.apply(node.compile(WEB_TO_DB))
    (line,) = [line for line in report.warnings if "theirs" in line]
    assert "before ours" in line
    assert any("theirs" in line for line in read_status(node.paths).drift)


def test_a_tcx_program_that_comes_later_stays(node: NodeUnderTest, theirs: Path) -> None:
    node.apply(node.compile(WEB_TO_DB))
    with Netlink() as netlink:
        index = next(link.index for link in netlink.links() if link.name == "pod2")
    with load_programs(TEXT, ["theirs"], {})["theirs"] as program, tcx_link(index, program):
        number = program_info(program.fd).id
        with pytest.raises(AttachConflict, match=f"foreign tcx programs .theirs, id {number}, held by"):
            node.apply(node.compile(WEB_TO_DB))
        unload(node.paths)
        assert tcx_programs(index, "ingress") == (number,)


@contextmanager
def other_process(program: Program) -> Iterator[int]:
    """Somebody who has the program open, beside this process."""
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_an_xdp_program_is_named_with_its_holders(hosts: HostWorld) -> None:
    early = gnp(
        "early",
        "hep == 'h0'",
        "doNotTrack: true, applyOnForward: true, ingress: [{action: Allow}], egress: [{action: Allow}]",
    )
    hosts.unload("node1")
    with hosts.inside("node1"), Netlink() as netlink:
        index = next(link.index for link in netlink.links() if link.name == "eth0")
        with load_programs(XDP_TEXT, ["their_xdp"], {}, kind=XDP)["their_xdp"] as program:
            number = program_info(program.fd).id
            mode = netlink.attach_xdp(index, program.fd)
            try:
                with other_process(program) as child:
                    wanted = rf"eth0: .* \({mode}; their_xdp, id {number}, held by .+ \(process {child}\)\)"
                    with pytest.raises(AttachConflict, match=wanted):
                        hosts.apply("node1", hep("h0"), early)
                assert [item.program for item in netlink.xdp_programs()] == [number]
                assert not hosts.paths("node1").state.exists()
                # without policy before connection tracking both get on
                hosts.apply("node1", hep("h0"), gnp("open", "hep == 'h0'", "ingress: [{action: Allow}]"))
                hosts.unload("node1")
                assert [item.program for item in netlink.xdp_programs()] == [number]
            finally:
                netlink.remove_xdp(index, mode, program.fd)


def test_a_program_without_process_is_described(theirs: Path) -> None:
    with Program("theirs", open_pinned_fd(theirs)) as program:
        number = program_info(program.fd).id
        assert holders(number) == ()
        assert describe_program(number) == f"theirs, id {number}, held by no process (pinned, or by its hook alone)"
    assert describe_program(0x7FFFFFF0).startswith("id 2147483632, ")
