"""The packets of a host endpoint in ``path``: what its untracked policies let pass, and what they drop before the
stack. In: the rules of `flood_rules`. Out: cases for one family, and notes on what this version can't do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bpfence.bench.flood_rules import peer_of, rules, write_host_policies
from bpfence.bench.path_case import Case, timed
from bpfence.bench.place import Place
from bpfence.bench.staged import StagedNode, stage_node
from bpfence.bench.traffic import FLOOD_PORTS, NODE_ADDRESSES
from bpfence.bench.xdp import timed_xdp
from bpfence.emit.artefact import Artefact
from bpfence.loader.frames import first_frame
from bpfence.loader.programs import Program
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact
from bpfence.plan.layout import HOST_INTERFACE

UDP = 17
TRACKED_PROGRAM, XDP_PROGRAM = "host_ingress", "host_xdp"
_OWNER = HOST_INTERFACE | 1
_PEER_PORT = 40_000


@dataclass(frozen=True, slots=True)
class EmptyPrograms:
    """One of each type."""

    tc: Program
    xdp: Program


def host_cases(
    place: Place, count: int, family: int, empty: EmptyPrograms, stack: ExitStack
) -> tuple[list[Case], list[str]]:
    """``notrack`` and ``xdp-drop`` under ``count`` rules; a note for each that no program is there for."""
    node = stage_node(place.folder / f"host{family}", _artefact(count, family), _OWNER, stack)
    peer, port = rules(count)[-1]
    own = NODE_ADDRESSES[family]
    allowed = first_frame(peer_of(peer, family), own, UDP, _PEER_PORT, port)
    denied = first_frame(peer_of(peer, family), own, UDP, _PEER_PORT, FLOOD_PORTS)
    cases, notes = [], []
    for flow, found in {
        "notrack": _notrack(node, allowed, family, empty),
        "xdp-drop": _xdp_drop(node, denied, family, empty),
    }.items():
        some = list(found)
        cases += some
        notes += [] if some else [f"{flow} is left out: the artefact has no program for it"]
    return cases, notes


def _notrack(node: StagedNode, frame: bytes, family: int, empty: EmptyPrograms) -> Iterator[Case]:
    program = node.programs.get(TRACKED_PROGRAM)
    if program is None:
        return
    yield Case("none", "notrack", family, partial(timed, empty.tc, frame))
    yield Case("bpfence", "notrack", family, partial(node.timed, program, frame, reason="untracked"))


def _xdp_drop(node: StagedNode, frame: bytes, family: int, empty: EmptyPrograms) -> Iterator[Case]:
    program = node.programs.get(XDP_PROGRAM)
    if program is None:
        return
    run = partial(node.timed, program, frame, reason="denied", clock=timed_xdp)
    yield Case("none", "xdp-drop", family, partial(timed_xdp, empty.xdp, frame))
    yield Case("bpfence", "xdp-drop", family, run)


def _artefact(count: int, family: int) -> Artefact:
    options = Options(node="here")
    with tempfile.TemporaryDirectory(prefix="bpfence-bench-") as folder:
        path = Path(folder, "policies.json")
        write_host_policies(path, count, "eth0", family)
        return compile_artefact(load_input([str(path)], options), options)
