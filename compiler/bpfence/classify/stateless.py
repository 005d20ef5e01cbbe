"""Flows that need no state: what the decisions of a workload's two rows allow both ways, whatever has gone before.

In: the decisions of all rows, and which two rows each subject has. Out: per row, the (peer class, L4 atom) pairs whose
flows may be left out of the connection table without a change of any verdict.

A peer class's flows of one protocol are such when every packet between the two passes for itself: all L4 atoms of the
protocol are allowed in both rows, so replies and packets in the middle of a connection need no entry; and ICMP errors
are allowed in both rows for every peer class of the family, since any router may send one about the flow. A row may
belong to several subjects, with other rows on the other side. So rows that are joined by subjects are looked at
together, and all of them get the same answer: no flow is remembered in one direction and left out in the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bpfence.classify.decide import RowDecisions
from bpfence.classify.hosts import HostRow
from bpfence.classify.l4 import L4Atoms, ProtocolSpace
from bpfence.classify.peers import PeerClasses
from bpfence.flows import ICMP_PROTOCOLS
from bpfence.identity.inventory import HostSettings
from bpfence.identity.world import Entity
from bpfence.ir.nodes import Direction

Marks = NDArray[np.bool_]
"""shape (peer classes, L4 atoms)"""
Numbers = NDArray[np.int64]
RowPair = tuple[int | None, int | None]
"""a subject's egress and ingress row; None: unrestricted"""

ICMP, ICMPV6 = 1, 58
FAMILY = {ICMP: 4, ICMPV6: 6}
ECHO_TYPES = {ICMP: (8, 0), ICMPV6: (128, 129)}
ERROR_TYPES = {ICMP: (3, 11, 12), ICMPV6: (1, 2, 3, 4)}
"""RFC 792 and RFC 4443: messages that quote a packet of the flow that they are about"""


def row_pairs(row_of: Mapping[tuple[str, str, Direction], int | None]) -> frozenset[RowPair]:
    """The pairs that occur. ``row_of``: as in `Classification`."""
    return frozenset(
        (row, row_of[name, address, Direction.INGRESS])
        for (name, address, direction), row in row_of.items()
        if direction is Direction.EGRESS
    )


def hosts_may_decide(
    rows: Iterable[HostRow], numbers: Iterable[int | None], hosts: Iterable[Entity], settings: HostSettings | None
) -> bool:
    """Whether some host could have a say about workloads' packets; then no row of theirs tells the whole truth."""
    everywhere = {host.name for host in hosts if host.kind == "node" or host.interface == "*"}
    if settings is not None and settings.workload_to_host == "Drop":
        return bool(everywhere)
    return any(row.host in everywhere and number is not None for row, number in zip(rows, numbers, strict=True))


def stateless_marks(
    rows: Sequence[RowDecisions], pairs: Collection[RowPair], others: Collection[int], peers: PeerClasses, l4: L4Atoms
) -> list[Marks | None]:
    """The marks of each row, None for none. ``others``: rows that somebody else than workloads has too."""
    marks: list[Marks | None] = [None] * len(rows)
    for group in _joined(pairs):
        if any(number in others for number in group):
            continue
        found = _group_marks(_open_in_all([rows[number] for number in group]), peers, l4)
        for number in group:
            marks[number] = found if found.any() else None
    return marks


def _joined(pairs: Collection[RowPair]) -> list[tuple[int, ...]]:
    """Rows that a chain of pairs connects, in ascending order."""
    group_of: dict[int, set[int]] = {}
    for pair in sorted(pairs, key=str):
        members = {row for row in pair if row is not None}
        group = members.union(*(group_of.get(row, set()) for row in members))
        group_of |= dict.fromkeys(group, group)
    return sorted({tuple(sorted(group)) for group in group_of.values()})


def _open_in_all(rows: Sequence[RowDecisions]) -> Marks:
    """What every row allows without a note for the log: that is for the first packet of a flow."""
    result: Marks | None = None
    for row in rows:
        passes = np.array([item.allowed and not item.logged for item in row.decisions], dtype=bool)
        here: Marks = passes[row.numbers]
        result = here if result is None else result & here
    assert result is not None  # no group is empty
    return result


def _group_marks(is_open: Marks, peers: PeerClasses, l4: L4Atoms) -> Marks:
    marks = np.zeros(is_open.shape, dtype=bool)
    told = _errors_pass(is_open, peers, l4)
    for space in l4.distinct_spaces():
        for atoms, classes in _units(space, peers):
            free = is_open[:, atoms].all(axis=1) & told & classes
            marks[np.ix_(free, atoms)] = True
    return marks


def _units(space: ProtocolSpace, peers: PeerClasses) -> list[tuple[Numbers, Marks]]:
    """(atoms that a flow may consist of, peer classes that it can be with)."""
    everybody = np.ones(peers.count, dtype=bool)
    if space.protocol not in ICMP_PROTOCOLS:
        return [(space.offset + np.arange(space.count), everybody)]
    # In the other family it is a protocol like any other, whose header nobody reads.
    own = peers.family == FAMILY[space.protocol]
    echo = np.unique([_type_atoms(space, kind)[_code_zero(space)] for kind in ECHO_TYPES[space.protocol]])
    return [(echo, own), (np.array([space.unreadable]), ~own)]


def _errors_pass(is_open: Marks, peers: PeerClasses, l4: L4Atoms) -> NDArray[np.bool_]:
    """Per peer class: whether errors about its flows pass, from whatever router of the family."""
    result = np.zeros(peers.count, dtype=bool)
    real = peers.representative < peers.atoms.count
    for protocol, family in FAMILY.items():
        space = l4.spaces[protocol]
        atoms = np.unique(np.concatenate([_type_atoms(space, kind) for kind in ERROR_TYPES[protocol]]))
        routers = np.flatnonzero(real & (peers.family == family))
        result[peers.family == family] = bool(is_open[np.ix_(routers, atoms)].all())
    return result


def _type_atoms(space: ProtocolSpace, kind: int) -> Numbers:
    """The atoms of an ICMP type, by class of the code."""
    assert space.first is not None
    assert space.second is not None
    start = space.offset + int(space.first.class_of[kind]) * space.second.count
    return start + np.arange(space.second.count)


def _code_zero(space: ProtocolSpace) -> int:
    assert space.second is not None
    return int(space.second.class_of[0])
