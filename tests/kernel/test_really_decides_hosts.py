"""The node's own tables, byte by byte: an entry that no program finds is a difference, whatever it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from click.testing import CliRunner

from bpfence.cli.diff import command
from bpfence.loader.maps import Map, read_array, write_array
from bpfence.loader.node import Slot, open_node
from bpfence.plan.layout import INTERFACE, LOCAL_ADDRESS
from support.host_objects import INVENTORY, gnp, hep
from support.host_world import HostWorld
from support.object_cache import keep_objects

pytestmark = pytest.mark.kernel

HEPS = (hep("h0"), hep("star", interface="*"))
OPEN = gnp("open", "has(hep)", "ingress: [{action: Allow}], egress: [{action: Allow}]")
EARLY = gnp(
    "early",
    "hep == 'h0'",
    "doNotTrack: true, applyOnForward: true, ingress: [{action: Deny, protocol: TCP, destination: {ports: [6379]}}]",
)


@pytest.fixture
def world(hosts: HostWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostWorld]:
    keep_objects(monkeypatch)
    hosts.unload("node1")
    hosts.apply("node1", *HEPS, OPEN, EARLY)
    yield hosts
    hosts.unload("node1")


@contextmanager
def slot_of(world: HostWorld) -> Iterator[Slot]:
    with ExitStack() as stack, world.inside("node1"):
        node = open_node(world.paths("node1").pins, stack)
        assert node is not None
        yield node.slots[node.active.slot]


@contextmanager
def written(table: Map, data: bytes, offset: int) -> Iterator[None]:
    image = read_array(table)
    write_array(table, data, offset)
    yield
    write_array(table, image)


def diff(world: HostWorld) -> int:
    path, paths = world.folder / "diff.yaml", world.paths("node1")
    path.write_text("\n---\n".join((INVENTORY, *HEPS, OPEN, EARLY)))
    options = ["--node", "node1", "--state", str(paths.state), "--bpffs", str(paths.bpffs)]
    with world.inside("node1"):
        return CliRunner().invoke(command, ["live", str(path), *options]).exit_code


@pytest.mark.parametrize("recorded", [True, False])
def test_an_entry_that_no_program_finds_is_a_difference(world: HostWorld, recorded: bool) -> None:
    if not recorded:
        (world.paths("node1").state / "node.json").unlink()
    assert world.status("node1").drift == ()
    assert diff(world) == 0
    with slot_of(world) as slot:
        for name, size, used in (("local_addresses", LOCAL_ADDRESS.size, 16), ("interfaces", INTERFACE.size, 0)):
            image = read_array(slot.tables[name])
            place = next(
                at for at in range(0, len(image), size) if image[at + used] in (4, *range(1, 256)[used // 4 :])
            )
            free = next(at for at in range(place + 32 * size, len(image), size) if not any(image[at : at + size]))
            entry = image[place : place + size]
            with written(slot.tables[name], bytes(size), place), written(slot.tables[name], entry, free):
                assert any(f"table {name} " in line for line in world.status("node1").drift)
                assert diff(world) == 1
            # a second one is never looked at, and yet nobody wrote it
            with written(slot.tables[name], entry, free):
                assert any(f"table {name} " in line for line in world.status("node1").drift)


def test_all_words_of_an_ipv4_address_count(world: HostWorld) -> None:
    with slot_of(world) as slot:
        table = slot.tables["local_addresses"]
        image = read_array(table)
        place = next(at for at in range(0, len(image), LOCAL_ADDRESS.size) if image[at + 16] == 4)
        for byte in range(4, 16):
            with written(table, b"\1", place + byte):
                assert any("table local_addresses" in line for line in world.status("node1").drift), byte
                if byte % 4 == 0:
                    assert diff(world) == 1, byte
    assert world.status("node1").drift == ()


def test_one_byte_of_any_table_of_hosts_is_a_difference(world: HostWorld) -> None:
    with slot_of(world) as slot:
        for name, table in slot.tables.items():
            image = read_array(table)
            used = [at for at, byte in enumerate(image) if byte]
            free = next(at for at in range(len(image) // 2, len(image)) if not image[at])
            for place in {0, *used[len(used) // 2 :][:1], free, len(image) - 1}:
                with written(table, bytes([image[place] ^ 1]), place):
                    assert world.status("node1").drift, (name, place)
            with written(table, bytes([image[-1] ^ 1]), len(image) - 1):
                assert diff(world) in (1, 3), name
    assert world.status("node1").drift == ()
