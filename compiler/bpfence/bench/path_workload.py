"""The packets of a workload in ``path``: a staged fixture in, cases for one family out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from bpfence.bench.fixture import ANY_PEER, address
from bpfence.bench.path_case import Case, timed
from bpfence.bench.place import Place
from bpfence.bench.staged import StagedNode
from bpfence.emit.c_text import fragment, pinned_map
from bpfence.loader.frames import Address, first_frame
from bpfence.loader.kernel import create_map, pin, prog_array_set
from bpfence.loader.programs import Program, TestRunner

TCP, SYN_ACK, ACK = 6, 0x12, 0x10
_OWN: dict[int, Address] = {4: IPv4Address("10.63.0.1"), 6: IPv6Address("fd00:63::1")}
_PEER_PORT = 40_000
_FLAGS_PLACE = {4: 14 + 20 + 13, 6: 14 + 40 + 13}


@dataclass(frozen=True, slots=True)
class Steps:
    """The bench's own programs. ``ahead``: by family, makes a new flow and goes on to what `go_on_to` was told."""

    none: Program
    ahead: dict[int, Program]
    go_on_to: Callable[[Program], None]


def load_steps(place: Place) -> Steps:
    """Put them into the kernel."""
    place.array("path_state", bytes(8))
    array = place.stack.enter_context(create_map("prog_array", 4, 4, 1, name="path_next"))
    pin(array.fd, place.folder / "path_next")
    parts = [
        fragment("protocols.h"),
        pinned_map("array", "__u32", "__u64", "path_state", 1, "of the generator of flows"),
        pinned_map("prog", "__u32", "__u32", "path_next", 1, "what is measured"),
        fragment("bench/path.h"),
    ]
    loaded = place.programs("\n".join(parts), ("path_none", "path_renew4", "path_renew6"), {})
    ahead = {4: loaded["path_renew4"], 6: loaded["path_renew6"]}
    return Steps(loaded["path_none"], ahead, lambda program: prog_array_set(array, 0, program.fd))


def workload_cases(node: StagedNode, steps: Steps, family: int) -> Iterator[Case]:
    """``established``, ``established-dispatcher`` and ``new``, each beside an empty program."""
    peer, own, port = address(0, family), _OWN[family], ANY_PEER[1]
    opening = first_frame(peer, own, TCP, _PEER_PORT, port)
    answer = _with_flags(first_frame(own, peer, TCP, port, _PEER_PORT), family, SYN_ACK)
    data = _with_flags(opening, family, ACK)
    ingress, egress = node.programs["workload_ingress"], node.programs["workload_egress"]

    def established(program: Program, runs: int) -> float:
        for way, frame in ((ingress, opening), (egress, answer), (ingress, data)):
            TestRunner(way.fd).run(frame)
        return node.timed(program, data, runs)

    def new(runs: int) -> float:
        steps.go_on_to(ingress)
        return node.timed(steps.ahead[family], opening, runs)

    def step_alone(runs: int) -> float:
        steps.go_on_to(steps.none)
        return timed(steps.ahead[family], opening, runs)

    programs = {"established": ingress, "established-dispatcher": node.dispatchers["ingress"]}
    for flow, program in programs.items():
        yield Case("none", flow, family, partial(timed, steps.none, data))
        yield Case("bpfence", flow, family, partial(established, program))
    yield Case("none", "new", family, step_alone)
    yield Case("bpfence", "new", family, new)


def _with_flags(frame: bytes, family: int, flags: int) -> bytes:
    place = _FLAGS_PLACE[family]
    return frame[:place] + bytes((flags,)) + frame[place + 1 :]
