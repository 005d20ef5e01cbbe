"""XDP: denied before connection tracking in the driver where that can be, before the stack elsewhere; never in place of
somebody else's program.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from bpfence.errors import AttachConflict
from bpfence.loader.bpffs import remove_root
from bpfence.loader.frames import first_frame, internet_checksum
from bpfence.loader.netlink import Netlink, XdpProgram
from bpfence.loader.programs import XDP, Program, load_programs
from bpfence.options import Options
from support.host_objects import FAR, NODE1, NODE1_FAR, SLY, gnp, hep
from support.host_world import HostWorld, asks

pytestmark = pytest.mark.kernel

HEPS = (hep("h0"), hep("h1", interface="eth1"))
ABUSE = ("198.51.100.66/32", "2001:db8:1::66/128")
DROP = gnp(
    "drop",
    "has(hep)",
    "doNotTrack: true, applyOnForward: true, ingress: ["
    + ", ".join(f"{{action: Deny, source: {{nets: ['{net}']}}}}" for net in ABUSE)
    + ", {action: Deny, protocol: TCP, destination: {ports: [6379]}}]",
)
OPEN = gnp("open", "has(hep)", "ingress: [{action: Allow}], egress: [{action: Allow}]")
FLOWS = asks(
    "sly node1 tcp/443 no",
    "sly shop/web udp/161 no",
    "out node1 tcp/6379 no",
    "far shop/web tcp/6379 no",
    "out node1 tcp/443 yes",
    "node1 out udp/123 yes",
    "far out tcp/443 yes",
    "sly node1 tcp/22 yes",
)


@pytest.fixture
def world(hosts: HostWorld) -> Iterator[HostWorld]:
    hosts.unload("node1")
    yield hosts
    hosts.unload("node1")
    set_peer_mtu(hosts, 1500)


@pytest.fixture(scope="module")
def theirs(kernel: None) -> Iterator[Program]:
    """Somebody else's program, which lets every packet pass."""
    text = "int pass_all(struct xdp_md *context) { return 2; }"
    with load_programs(text, ["pass_all"], {}, kind=XDP)["pass_all"] as program:
        yield program


def set_peer_mtu(world: HostWorld, mtu: int) -> None:
    """Of the other end of eth1: a veth takes no program in its driver when its peer's frames may be too large."""
    with world.inside("far"):
        subprocess.run(["ip", "link", "set", "eth0", "mtu", str(mtu)], check=True)


def programs(world: HostWorld) -> dict[str, XdpProgram]:
    with world.inside("node1"), Netlink() as netlink:
        names = {link.index: link.name for link in netlink.links()}
        return {names[found.index]: found for found in netlink.xdp_programs()}


def test_denied_in_the_driver(world: HostWorld) -> None:
    report = world.apply("node1", *HEPS, DROP, OPEN)
    assert report.warnings == ()
    assert {name: found.mode for name, found in programs(world).items()} == {"eth0": "native", "eth1": "native"}
    assert world.wrong(FLOWS) == []


def test_denied_before_the_stack_where_the_driver_takes_no_program(world: HostWorld) -> None:
    set_peer_mtu(world, 9000)
    world.apply("node1", *HEPS, DROP, OPEN)
    assert {name: found.mode for name, found in programs(world).items()} == {"eth0": "native", "eth1": "generic"}
    assert world.wrong(FLOWS) == []


def test_everybodys_host_endpoint_may_deny_early_too(world: HostWorld) -> None:
    world.apply("node1", hep("star", interface="*"), DROP, OPEN, options=Options(wildcard_notrack=True))
    assert set(programs(world)) == {"eth0", "eth1"}
    to_pods = asks("shop/web shop/db tcp/6379 yes", "shop/web node1 tcp/6379 yes", "node1 shop/web tcp/6379 yes")
    assert world.wrong([*FLOWS, *to_pods]) == []


def test_the_program_comes_and_goes_with_the_policies_that_need_it(world: HostWorld) -> None:
    world.apply("node1", *HEPS, OPEN)
    assert programs(world) == {}
    assert "eth0 (hep/h0)" in world.apply("node1", *HEPS, DROP, OPEN).attached
    assert set(programs(world)) == {"eth0", "eth1"}
    world.apply("node1", *HEPS, OPEN)
    assert programs(world) == {}
    assert world.wrong(asks("sly node1 tcp/443 yes", "out node1 tcp/6379 yes")) == []


def test_unload_takes_it_off(world: HostWorld) -> None:
    world.apply("node1", *HEPS, DROP, OPEN)
    world.unload("node1")
    assert programs(world) == {}
    assert world.wrong(asks("sly node1 tcp/443 yes", "sly shop/web udp/161 yes", "out node1 tcp/6379 yes")) == []


def test_a_program_of_lost_pins_is_named_and_taken_off_by_force(world: HostWorld) -> None:
    world.apply("node1", *HEPS, DROP, OPEN)
    paths = world.paths("node1")
    remove_root(paths.pins)
    with pytest.raises(AttachConflict, match="dispatcher of another bpfence"):
        world.apply("node1", *HEPS, DROP, OPEN)
    world.unload("node1")
    assert programs(world) == {}


def test_somebody_elses_program_is_a_conflict(world: HostWorld, theirs: Program) -> None:
    with world.inside("node1"), Netlink() as netlink:
        index = next(link.index for link in netlink.links() if link.name == "eth0")
        assert netlink.attach_xdp(index, theirs.fd)
    before = programs(world)
    try:
        with pytest.raises(AttachConflict, match=f"eth0: a foreign XDP program .*id {before['eth0'].program}"):
            world.apply("node1", *HEPS, DROP, OPEN)
        assert programs(world) == before
        assert not world.status("node1").loaded
        # where nothing has to be denied early the program is in nobody's way
        world.apply("node1", *HEPS, OPEN)
        world.unload("node1")
        assert programs(world) == before
    finally:
        with world.inside("node1"), Netlink() as netlink:
            netlink.remove_xdp(index, before["eth0"].mode, theirs.fd)


def tagged(frame: bytes, *tags: int) -> bytes:
    """The frame with VLAN tags, the outermost first."""
    kinds = [0x88A8, 0x8100][-len(tags) :]
    return frame[:12] + b"".join(struct.pack("!HH", *pair) for pair in zip(kinds, tags, strict=False)) + frame[12:]


@pytest.mark.parametrize("mode", ["native", "generic"])
@pytest.mark.parametrize("tags", [(), (7,), (7, 9)], ids=["plain", "one tag", "two tags"])
def test_tags_hide_nothing(world: HostWorld, mode: str, tags: tuple[int, ...]) -> None:
    set_peer_mtu(world, 9000 if mode == "generic" else 1500)
    world.apply("node1", *HEPS, DROP, OPEN)
    assert programs(world)["eth1"].mode == mode
    for source, port, reason in (
        (FAR[0], 6379, "denied"),
        (FAR[1], 6379, "denied"),
        (FAR[0], 80, "allowed"),
        (SLY[0], 80, "denied"),
    ):
        own = NODE1_FAR[ip_address(source).version == 6]
        frame = first_frame(ip_address(source), ip_address(own), 6, 41000 + port, port, None, None)
        before = world.counted("node1")
        world.send("far", world.addressed(tagged(frame, *tags), "eth1"))
        found = world.counted_since("node1", before, reason)
        assert set(found) == {reason}, (source, port)
        assert found[reason] == 1 or (reason == "allowed" and not tags), (source, port)


def test_a_later_fragment_of_a_denied_datagram_is_dropped(world: HostWorld) -> None:
    world.apply("node1", *HEPS, DROP, OPEN)
    frame = bytearray(first_frame(ip_address(SLY[0]), ip_address(NODE1[0]), 17, 4000, 161, None, None))
    frame[20:26] = struct.pack("!HBBH", 20, 64, 17, 0)
    frame[24:26] = struct.pack("!H", internet_checksum(bytes(frame[14:34])))
    before = world.counted("node1")
    world.send("sly", world.addressed(bytes(frame), "eth0"))
    assert world.counted_since("node1", before, "fragment") == {"fragment": 1}
