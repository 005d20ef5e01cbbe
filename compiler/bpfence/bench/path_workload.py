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
from bpfence.emit.c_text import constants, fragment, pinned_map
from bpfence.loader.frames import Address, first_frame
from bpfence.loader.kernel import create_map, pin, prog_array_set
from bpfence.loader.programs import Program, TestRunner

TCP, SYN_ACK, ACK = 6, 0x12, 0x10
_OWN: dict[int, Address] = {4: IPv4Address("10.63.0.1"), 6: IPv6Address("fd00:63::1")}
_PEER_PORT = 40_000
MANY_FLOWS = 1 << 14
_OPENING_RUNS = 16 * MANY_FLOWS
"""after so many packets of random flows all of them are open, but for one in ten million"""
_FLAGS_PLACE = {4: 14 + 20 + 13, 6: 14 + 40 + 13}


@dataclass(frozen=True, slots=True)
class Steps:
    """The bench's own programs. ``ahead``, ``among``: by family, make the packet one of a new flow, or of one of
    `MANY_FLOWS`, and go on to what `go_on_to` was told.
    """

    none: Program
    ahead: dict[int, Program]
    among: dict[int, Program]
    go_on_to: Callable[[Program], None]


def load_steps(place: Place) -> Steps:
    """Put them into the kernel."""
    place.array("path_state", bytes(8))
    array = place.stack.enter_context(create_map("prog_array", 4, 4, 1, name="path_next"))
    pin(array.fd, place.folder / "path_next")
    parts = [
        fragment("protocols.h"),
        constants({"PATH_FLOWS": MANY_FLOWS}),
        pinned_map("array", "__u32", "__u64", "path_state", 1, "of the generator of flows"),
        pinned_map("prog", "__u32", "__u32", "path_next", 1, "what is measured"),
        fragment("bench/path.h"),
    ]
    names = ("path_none", "path_renew4", "path_renew6", "path_choose4", "path_choose6")
    loaded = place.programs("\n".join(parts), names, {})
    none, new4, new6, choose4, choose6 = (loaded[name] for name in names)
    ahead, among = {4: new4, 6: new6}, {4: choose4, 6: choose6}
    return Steps(none, ahead, among, lambda program: prog_array_set(array, 0, program.fd))


def workload_cases(node: StagedNode, steps: Steps, family: int) -> Iterator[Case]:
    """``established``, ``established-dispatcher``, ``established-many`` and ``new``, each beside an empty program."""
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

    def many(runs: int) -> float:
        steps.go_on_to(ingress)
        timed(steps.among[family], data, _OPENING_RUNS)
        return node.timed(steps.among[family], data, runs)

    def step_alone(step: Program, frame: bytes, runs: int) -> float:
        steps.go_on_to(steps.none)
        return timed(step, frame, runs)

    programs = {"established": ingress, "established-dispatcher": node.dispatchers["ingress"]}
    for flow, program in programs.items():
        yield Case("none", flow, family, partial(timed, steps.none, data))
        yield Case("bpfence", flow, family, partial(established, program))
    yield Case("none", "established-many", family, partial(step_alone, steps.among[family], data))
    yield Case("bpfence", "established-many", family, many)
    yield Case("none", "new", family, partial(step_alone, steps.ahead[family], opening))
    yield Case("bpfence", "new", family, new)


def _with_flags(frame: bytes, family: int, flags: int) -> bytes:
    place = _FLAGS_PLACE[family]
    return frame[:place] + bytes((flags,)) + frame[place + 1 :]
