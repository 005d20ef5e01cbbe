"""Tags that the kernel has taken out of the frame, as it does with tagged traffic before any program sees it.

A small program pushes the tags, which leaves the outermost beside the frame and the others in it, and goes on to the
program under test.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpfence.emit.c_text import fragment, pinned_map
from bpfence.loader.kernel import Program, load_programs
from bpfence.loader.kernel import test_run as run
from kernel import frames
from kernel.frames import UDP
from kernel.images import PLAIN, Tables
from kernel.plane import DROP, PASS, Plane

pytestmark = pytest.mark.kernel

POD, POD6 = "10.0.0.5", "fd00::5"
PEER, PEER6 = "10.1.0.7", "fd01::7"
OPEN, CLOSED = 53, 54
ETHERTYPES = {"Q": 0x8100, "AD": 0x88A8}
PUSHES = ("Q", "AD", "Q_AD", "Q_Q_AD", "Q_Q_Q_AD")
"""innermost first; names that fit into C"""
HOOKS = ("egress", "ingress")
NO_TAG, NO_PROGRAM = 77, 78


def pushing_program(tags: str, hook: int) -> str:
    pushes = "\n".join(f"\tbpf_skb_vlan_push(skb, bpf_htons({ETHERTYPES[tag]:#x}), 7);" for tag in tags.split("_"))
    return (
        f"int push_{tags}_{HOOKS[hook]}(struct __sk_buff *skb)\n{{\n{pushes}\n"
        f"\tif (!skb->vlan_present)\n\t\treturn {NO_TAG};\n"
        f"\tprograms.call(skb, {hook});\n\treturn {NO_PROGRAM};\n}}\n"
    )


@pytest.fixture(scope="module")
def pushers(shared_plane: Plane) -> Iterator[dict[str, Program]]:
    texts = [pushing_program(tags, hook) for tags in PUSHES for hook in (0, 1)]
    names = [f"push_{tags}_{hook}" for tags in PUSHES for hook in HOOKS]
    head = [fragment("protocols.h"), pinned_map("prog", "__u32", "__u32", "programs", 16, "of the slots")]
    made = load_programs("\n".join((*head, *texts)), names, {"programs": shared_plane.root / "programs"})
    yield made
    for program in made.values():
        program.close()


@pytest.fixture(autouse=True)
def dns_only(plane: Plane) -> None:
    """The endpoint may send to and receive on UDP 53, nothing else."""
    tables = Tables(PLAIN)
    tables.endpoint(0, 1, [POD, POD6], egress=0, ingress=1)
    tables.port(UDP, OPEN, 2)
    tables.cell(0, 0, 2)
    tables.cell(1, 0, 2)
    plane.fill(tables)


@pytest.mark.parametrize("tags", PUSHES[:4])
@pytest.mark.parametrize(("pod", "peer"), [(POD, PEER), (POD6, PEER6)], ids=["ipv4", "ipv6"])
def test_tagged_packets_meet_the_policy(plane: Plane, pushers, tags: str, pod: str, peer: str) -> None:
    for hook, (source, destination) in zip(HOOKS, ((pod, peer), (peer, pod)), strict=True):
        program = pushers[f"push_{tags}_{hook}"]
        before = plane.counters()
        assert run(program.fd, frames.udp(source, 5, destination, OPEN)).retval == PASS
        assert run(program.fd, frames.udp(source, 5, destination, CLOSED)).retval == DROP
        after = plane.counters()
        assert {name for name in after if after[name] != before[name]} == {"allowed", "denied"}


def test_three_tags_left_in_the_frame_are_malformed(plane: Plane, pushers) -> None:
    before = plane.counters()
    assert run(pushers["push_Q_Q_Q_AD_ingress"].fd, frames.udp(PEER, 5, POD, OPEN)).retval == DROP
    assert plane.counters()["malformed"] == before["malformed"] + 1
