"""What stands in the kernel and does not decide is a difference, and the next apply puts it right."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bpfence.cli import run
from bpfence.demo.traffic import send_flows
from bpfence.emit.program import IDLE_PROGRAM
from bpfence.errors import KernelError
from bpfence.loader.attach import survey_hooks
from bpfence.loader.bpffs import DISPATCHERS, RUNTIME, SHAPE, program_place
from bpfence.loader.maps import Map, create_map, open_pinned, pin, prog_array_set, read_array, write_array
from bpfence.loader.netlink import Filter, Netlink, dispatcher_filter
from bpfence.loader.node import Node, Slot, open_node
from bpfence.loader.programs import load_programs
from bpfence.loader.ready import Ready
from bpfence.loader.shared import SHARED_MAPS
from bpfence.loader.status import read_status
from bpfence.loader.unload import unload
from support.netns import PODS, NodeUnderTest, allow_ingress, node_under_test, tcp
from support.object_cache import keep_objects

pytestmark = pytest.mark.kernel

WEB = allow_ingress("db", "db", "web")
FLOWS = (tcp("shop/web", "shop/db"), tcp("shop/cart", "shop/db"))
ACCEPT = "int accept_all(struct __sk_buff *skb)\n{\n\treturn 0;\n}\n"
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD

Change = Callable[[Filter], Filter]
STANDS: dict[str, Change] = {
    "without direct action": lambda one: replace(one, direct_action=False),
    "for IPv4 alone": lambda one: replace(one, protocol=ETH_P_IP),
    "for IPv6 alone": lambda one: replace(one, protocol=ETH_P_IPV6),
    "in another chain": lambda one: replace(one, chain=5),
    "behind": lambda one: replace(one, priority=9),
    "under another handle": lambda one: replace(one, handle=7),
    "under another name": lambda one: replace(one, name="x"),
}
OPEN = ("without direct action", "for IPv6 alone", "in another chain")


@pytest.fixture(scope="module")
def made(bpffs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeUnderTest]:
    with pytest.MonkeyPatch.context() as patch:
        keep_objects(patch)
        with node_under_test(bpffs, tmp_path_factory.mktemp("decides")) as node:
            yield node
            unload(node.paths, force=True)


@pytest.fixture
def node(made: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> NodeUnderTest:
    """web -> db in force, and nothing wrong. Tests bring it back, or begin with unload."""
    monkeypatch.setenv("BPFENCE_STATE", str(made.paths.state))
    monkeypatch.setenv("BPFENCE_BPFFS", str(made.paths.bpffs))
    if not made.paths.pins.exist or read_status(made.paths).drift:
        unload(made.paths, force=True)
        made.apply(made.compile(WEB))
    made.compile(WEB)
    assert read_status(made.paths).drift == ()
    return made


@contextmanager
def opened(node: NodeUnderTest) -> Iterator[tuple[Node, Slot]]:
    with ExitStack() as stack:
        found = open_node(node.paths.pins, stack)
        assert found is not None
        yield found, found.slots[found.active.slot]


def codes(node: NodeUnderTest) -> tuple[int, int]:
    """Of `diff live` with what is in force, and of `status`."""
    return run(["diff", "live", str(node.folder / "input.yaml")]), run(["status"])


def denied(node: NodeUnderTest) -> bool:
    """Whether web reaches db, and cart does not."""
    return send_flows(node.world, FLOWS, 0.2, (True, False)) == (True, False)


def filters() -> tuple[Filter, ...]:
    with Netlink() as netlink:
        return survey_hooks(netlink).filters


def displace(node: NodeUnderTest, change: Change, *, keep: bool = False) -> Filter:
    """Let the dispatcher before shop/db stand otherwise. ``keep``: it stays where it is, and is there twice."""
    with opened(node) as (found, _), Netlink() as netlink:
        index = next(link.index for link in netlink.links() if link.name == "pod2")
        program = found.dispatchers["ingress"]
        item = change(dispatcher_filter(index, "ingress", program.info.id))
        if not keep:
            netlink.remove_filter(index, "ingress")
        netlink.put_back(item, program.fd)
    assert item in filters()
    return item


@pytest.mark.parametrize("name", STANDS)
def test_a_dispatcher_that_stands_otherwise_is_drift_until_the_next_apply(
    node: NodeUnderTest, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    item = displace(node, STANDS[name])
    if name in OPEN:
        assert not denied(node)
    assert codes(node) == (1, 1)
    assert f"pod2: the ingress dispatcher does not stand as it was attached: {item.title}" in capsys.readouterr().out
    artefact = node.compile(WEB)
    before, pins = filters(), node.snapshot()
    node.apply(artefact, dry_run=True)
    with monkeypatch.context() as patch:
        patch.setattr(Ready, "place", fail)
        with pytest.raises(KernelError, match="said no"):
            node.apply(artefact)
    assert filters() == before
    assert node.snapshot() == pins
    report = node.apply(artefact)
    assert report.attached == ("pod2 (shop/db)",)
    assert not [line for line in report.warnings if "filter" in line]
    assert item not in filters()
    assert len(filters()) == 6
    assert denied(node)
    assert codes(node) == (0, 0)


def fail(*_: object, **__: object) -> None:
    raise KernelError("the kernel said no")


def test_a_second_filter_that_goes_ahead_and_accepts(node: NodeUnderTest) -> None:
    item = displace(node, lambda one: replace(one, handle=7, direct_action=False), keep=True)
    assert not denied(node)
    assert codes(node) == (1, 1)
    node.apply(node.compile(WEB))
    assert item not in filters()
    assert denied(node)
    assert codes(node) == (0, 0)


def test_a_displaced_filter_where_no_policy_is_any_more_goes_with_the_apply(node: NodeUnderTest) -> None:
    displace(node, STANDS["in another chain"])
    node.apply(node.compile(allow_ingress("web", "web"), pods={"shop/web": PODS["shop/web"]}))
    with Netlink() as netlink:
        names = {link.index: link.name for link in netlink.links()}
        assert "pod2" not in {names[index] for index in netlink.ingress_qdiscs()}
    assert {names[item.index] for item in filters()} == {"pod1"}
    node.apply(node.compile(WEB))
    assert codes(node) == (0, 0)


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("name", STANDS)
def test_unload_takes_a_dispatcher_off_wherever_it_stands(node: NodeUnderTest, name: str, force: bool) -> None:
    displace(node, STANDS[name])
    report = unload(node.paths, force=force)
    assert report.detached == ("pod1", "pod2", "pod3")
    assert report.left == ()
    assert filters() == ()
    with Netlink() as netlink:
        assert not netlink.ingress_qdiscs()


def test_a_foreign_filter_in_another_chain_is_not_before_ours(node: NodeUnderTest) -> None:
    """Only a filter of chain 0 sends packets there, whatever was made first."""
    with load_programs(ACCEPT, ["accept_all"], {})["accept_all"] as program, Netlink() as netlink:
        index = next(link.index for link in netlink.links() if link.name == "pod2")
        netlink.remove_filter(index, "ingress")
        theirs = replace(dispatcher_filter(index, "ingress", program.info.id), name="theirs", chain=3)
        netlink.put_back(theirs, program.fd)
        report = node.apply(node.compile(WEB))
        assert filters()[2 if filters()[2].chain else 3].index == index
        assert [line for line in report.warnings if "before ours" in line] == []
        assert denied(node)
        assert codes(node) == (0, 0)
        netlink.take_off(theirs)


def test_a_program_whose_pin_is_gone_is_still_looked_for(
    node: NodeUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(node) as (found, slot):
        array, place = program_place(slot.number, "workload_ingress")
        folder = node.paths.pins.slot(slot.number)
        (folder / "workload_ingress").unlink()
        assert codes(node) == (1, 1)
        assert "nothing is pinned as workload_ingress any more" in capsys.readouterr().out
        with load_programs(ACCEPT, ["accept_all"], {})["accept_all"] as program:
            prog_array_set(found.maps[array], place, program.fd)
            assert not denied(node)
            for known in (True, False):
                if not known:
                    (node.paths.state / "node.json").rename(node.folder / "kept.json")
                assert codes(node) == (1, 1)
                assert ("not where the dispatchers jump to" in capsys.readouterr().out) == known
            (node.folder / "kept.json").rename(node.paths.state / "node.json")
    node.apply(node.compile(WEB))
    assert denied(node)
    assert codes(node) == (0, 0)


@pytest.mark.parametrize("name", ["workload_egress", "host_ingress", "host_xdp"])
def test_a_program_where_another_or_none_belongs(node: NodeUnderTest, name: str) -> None:
    kind = 6 if name == "host_xdp" else 3
    text = ACCEPT.replace("__sk_buff", "xdp_md") if kind == 6 else ACCEPT
    with opened(node) as (found, slot), load_programs(text, ["accept_all"], {}, kind=kind)["accept_all"] as program:
        array, place = program_place(slot.number, name)
        prog_array_set(found.maps[array], place, program.fd)
        assert codes(node) == (1, 1)
        if name == "host_xdp":
            found.maps[array].delete(place.to_bytes(4, "little"))
        else:
            right = found.idle if name == "host_ingress" else slot.programs[name]
            prog_array_set(found.maps[array], place, right.fd)
    assert codes(node) == (0, 0)


def twin_of(table: Map) -> Map:
    """Another map with the same content."""
    info = table.info
    made = create_map(info.kind, info.key_size, info.value_size, info.entries, info.flags, info.name)
    if info.kind == "array":
        write_array(made, read_array(table))
    return made


@contextmanager
def pinned_instead(path: Path, fd: int, right: int) -> Iterator[None]:
    path.unlink()
    pin(fd, path)
    yield
    path.unlink()
    pin(right, path)


@pytest.mark.parametrize("recorded", [True, False])
def test_every_map_that_is_pinned_is_the_one_that_programs_use(node: NodeUnderTest, recorded: bool) -> None:
    """A copy under the map's name would be compared, and the map itself could be anything."""
    if not recorded:
        (node.paths.state / "node.json").rename(node.folder / "kept.json")
        assert codes(node) == (0, 0)
    with opened(node) as (found, slot):
        folder = node.paths.pins.slot(slot.number)
        places = {folder / name: table for name, table in {**slot.tables, "endpoint_counters": slot.counters}.items()}
        places |= {node.paths.pins.shared(name): found.maps[name] for name in SHARED_MAPS}
        for place, table in places.items():
            with twin_of(table) as twin, pinned_instead(place, twin.fd, table.fd):
                assert all(codes(node)), place
    if not recorded:
        (node.folder / "kept.json").rename(node.paths.state / "node.json")
    assert codes(node) == (0, 0)


def test_a_copied_table_hides_nothing(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(node) as (_, slot):
        table = slot.tables["cells"]
        image = read_array(table)
        with twin_of(table) as twin, pinned_instead(slot.folder / "cells", twin.fd, table.fd):
            write_array(table, b"\xff" * len(image))
            assert not denied(node)
            assert codes(node) == (1, 1)
            assert "another map is pinned as cells" in capsys.readouterr().out
            write_array(table, image)
    assert codes(node) == (0, 0)


@pytest.mark.parametrize("name", [*DISPATCHERS.values(), IDLE_PROGRAM, "workload_egress"])
def test_every_program_that_is_pinned_is_the_one_that_serves(node: NodeUnderTest, name: str) -> None:
    with opened(node) as (found, slot):
        programs = {p.name: p for p in (*found.dispatchers.values(), found.idle, *slot.programs.values())}
        place = (slot.folder if name in slot.programs else node.paths.pins.root) / name
        text = ACCEPT.replace("__sk_buff", "xdp_md") if name == DISPATCHERS["host-xdp"] else ACCEPT
        kind = 6 if name == DISPATCHERS["host-xdp"] else 3
        with ExitStack() as stack:
            other = stack.enter_context(load_programs(text, ["accept_all"], {}, kind=kind)["accept_all"])
            stack.enter_context(pinned_instead(place, other.fd, programs[name].fd))
            assert codes(node) == (1, 1)
    assert codes(node) == (0, 0)


def test_a_lost_pin_is_never_silent(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever pin goes: no command fails over it by accident, `status` and `diff` tell, and packets are judged on."""
    with opened(node) as (_, slot):
        for place in (*sorted(slot.folder.iterdir()), *(p for p in node.paths.pins.root.iterdir() if p.is_file())):
            with ExitStack() as kept:
                aside = place.with_name("aside") if place.parent == node.paths.pins.root else node.paths.bpffs / "aside"
                place.rename(aside)
                kept.callback(aside.rename, place)
                found = codes(node)
                assert all(code in (1, 3) for code in found), (place, found)
                assert "KeyError" not in capsys.readouterr().err
    assert codes(node) == (0, 0)
    assert denied(node)


@pytest.mark.parametrize("name", ["header", "interfaces", SHAPE])
def test_an_apply_over_lost_pins_never_takes_dispatchers_off(
    node: NodeUnderTest, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(node) as (_, slot):
        (slot.folder / name).unlink()
    before = filters()
    with monkeypatch.context() as patch:
        patch.setattr(Ready, "place", fail)
        with pytest.raises(KernelError, match="said no"):
            node.apply(node.compile(WEB))
    assert filters() == before
    node.apply(node.compile(WEB))
    assert filters() == before
    assert denied(node)
    assert codes(node) == (0, 0)


def test_one_byte_of_any_table_is_a_difference(node: NodeUnderTest) -> None:
    with opened(node) as (found, slot), ExitStack() as pinned:
        tables = {**slot.tables, "active": found.maps["active"]}
        tables[SHAPE] = pinned.enter_context(open_pinned(slot.folder / SHAPE))
        tables[RUNTIME] = pinned.enter_context(open_pinned(node.paths.pins.shared(RUNTIME)))
        for name, table in tables.items():
            for place in places_in(read_array(table)):
                image = read_array(table)
                write_array(table, bytes([image[place] ^ 1]), place)
                try:
                    status = run(["status"])
                    assert status in (1, 3), (name, place)
                    if place < 8:
                        assert run(["diff", "live", str(node.folder / "input.yaml")]) in (1, 3), (name, place)
                finally:
                    write_array(table, image)
    assert codes(node) == (0, 0)


def test_a_word_that_opens_everything_is_a_difference(node: NodeUnderTest, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(node) as (found, _):
        word = read_array(found.maps["active"])
        write_array(found.maps["active"], bytes(8))
        assert not denied(node)
        assert codes(node) == (1, 1)
        assert "every packet passes" in capsys.readouterr().out
        write_array(found.maps["active"], word)
    assert codes(node) == (0, 0)


def places_in(image: bytes) -> list[int]:
    """The first bytes, some that are not zero, some that are, the last."""
    used = [at for at, byte in enumerate(image) if byte]
    free = [at for at, byte in enumerate(image[: 1 << 16]) if not byte]
    spread = (*used[:: max(1, len(used) // 3)][:3], *free[:: max(1, len(free) // 3)][:3])
    return sorted({*range(min(8, len(image))), *spread, len(image) - 1})


def test_more_maps_than_usual_are_all_told(node: NodeUnderTest) -> None:
    """Maps can be bound to a program that does not look at them."""
    with ExitStack() as stack:
        made = [stack.enter_context(create_map("array", 4, 8, 1, 0, f"m{number}")) for number in range(70)]
        program = stack.enter_context(load_programs(ACCEPT, ["accept_all"], {})["accept_all"])
        call = ctypes.CDLL(None, use_errno=True).syscall
        for table in made:
            assert call(321, 35, struct.pack("=III", program.fd, table.fd, 0), 12) == 0, "BPF_PROG_BIND_MAP"
        assert set(program.info.map_ids) == {table.info.id for table in made}
