"""Changes gathered for people: local endpoints of one owner, peers of one owner, ranges of outside addresses, ports.

In: what is asked at each local endpoint. Out: `ChangeGroup`s, each of which stands for rows that differ in their peer
alone: a first apply on a large node has millions of rows and a few hundred groups.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bpfence.analyse.table_deltas import ADDED, UNCHANGED, Comparison, Delta, Part
from bpfence.analyse.table_origins import Origin
from bpfence.analyse.table_partition import AddressPartition, Bits, L4Partition, L4Rows
from bpfence.analyse.table_peers import Peer, PeerKinds
from bpfence.analyse.table_questions import Question
from bpfence.identity.inventory import Address

Token = tuple[int, tuple[int, ...]]
"""(family, class of changes of each delta of that family)"""
Asked = tuple[int, Question, Question]
"""family, old and new question"""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked at one address of one local endpoint in one direction. ``traffic``: at a host's interface ``own``
    or ``forwarded``; at a workload's too where that is not what its source tells, else empty. ``enforced``:
    an interface leads to the endpoint, before or after.
    """

    endpoint: str
    direction: str
    version: int
    own: Address
    old: Question
    new: Question
    enforced: bool = True
    traffic: str = ""

    @property
    def asked(self) -> Asked:
        return self.version, self.old, self.new


@dataclass(frozen=True, slots=True)
class Sample:
    """Where packets of a group are: at a local address, those of the L4 pairs whose peers have the delta's class."""

    own: Address
    delta: Delta
    number: int
    l4: Bits


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """Rows that differ in their peer alone. ``local``: name of the local party, ``endpoints``: its endpoints that
    change. ``direction``: of the local party. ``l4``: family -> L4 pairs of ``partition``; ``rows``: the same in words.
    ``samples``: where to find examples.
    """

    kind: str
    local: str
    endpoints: tuple[str, ...]
    direction: str
    traffic: str
    enforced: bool
    before: Origin
    after: Origin
    peers: tuple[Peer, ...]
    l4: Mapping[int, Bits]
    rows: L4Rows
    samples: tuple[Sample, ...] = field(repr=False)
    addresses: Mapping[int, AddressPartition] = field(repr=False)
    partition: L4Partition = field(repr=False)

    @property
    def others(self) -> Iterator[Peer]:
        """The peers, without the local party itself."""
        return (peer for peer in self.peers if peer.name != self.local)

    @property
    def per_peer(self) -> int:
        return 1 if self.rows.everything else len(self.rows.protocols)

    @property
    def count(self) -> int:
        """Rows."""
        return self.per_peer * sum(1 for _ in self.others)

    @property
    def within(self) -> int:
        """Changes between replicas of the local party."""
        return self.per_peer * (len(self.peers) - sum(1 for _ in self.others))

    def exposes(self, peer: Peer) -> bool:
        """Whether the world may reach the local party now."""
        return self.kind == ADDED and self.direction == "ingress" and peer.world

    @property
    def exposing(self) -> int:
        return self.per_peer * sum(self.exposes(peer) for peer in self.peers)


def change_groups(
    comparison: Comparison, subjects: Iterable[tuple[int, Subject]], labels: Sequence[str], insiders: frozenset[Address]
) -> Iterator[ChangeGroup]:
    """``subjects``: (label of the local party, subject). Sorted by local party, direction, kind and reason."""
    gathered: dict[tuple[str, str, str, bool], list[Subject]] = defaultdict(list)
    for label, subject in subjects:
        if not comparison.delta(*subject.asked).empty:
            gathered[labels[label], subject.direction, subject.traffic, subject.enforced].append(subject)
    peers = PeerKinds(comparison.addresses, labels, insiders)
    shared: dict[tuple[Asked, ...], _Gathered] = {}
    for (local, _, _, _), mine in sorted(gathered.items(), key=lambda item: item[0]):
        asked = tuple(dict.fromkeys(subject.asked for subject in mine))
        if asked not in shared:
            shared[asked] = _gather(comparison, asked, peers)
        yield from _groups(comparison, local, mine, shared[asked])


@dataclass(frozen=True, slots=True)
class _Gathered:
    """``asked``: by family, in the order of a token's classes. ``peers``: tokens -> who has just these."""

    asked: Mapping[int, tuple[Asked, ...]]
    peers: Mapping[frozenset[Token], tuple[Peer, ...]]


def _gather(comparison: Comparison, asked: Sequence[Asked], peers: PeerKinds) -> _Gathered:
    by_family = {version: tuple(item for item in asked if item[0] == version) for version in (4, 6)}
    classes = {
        version: np.stack([comparison.delta(*item).class_of for item in items], axis=1)
        for version, items in by_family.items()
        if items
    }
    found: dict[frozenset[Token], list[Peer]] = defaultdict(list)
    for kind, mine in peers.changed(classes):
        found[frozenset((version, tuple(classes[version][pair].tolist())) for version, pair in kind)] += mine
    for version, changes in classes.items():
        for line, peer in peers.outside(comparison.addresses[version], changes):
            found[frozenset(((version, line),))].append(peer)
    return _Gathered(by_family, {key: tuple(mine) for key, mine in found.items()})


def _groups(
    comparison: Comparison, local: str, subjects: Sequence[Subject], gathered: _Gathered
) -> Iterator[ChangeGroup]:
    found: dict[tuple[str, Origin, Origin, int], ChangeGroup] = {}
    for place, (tokens, peers) in enumerate(gathered.peers.items()):
        for (kind, before, after), pieces in _parts(comparison, tokens, gathered).items():
            bits: dict[int, Bits] = {}
            for (version, _, _), _, part in pieces:
                bits[version] = bits[version] | part.l4 if version in bits else part.l4
            asked = {key for key, _, _ in pieces}
            mine = [subject for subject in subjects if subject.asked in asked]
            own = {subject.asked: subject.own for subject in reversed(mine)}
            samples = (Sample(own[key], comparison.delta(*key), number, part.l4) for key, number, part in pieces)
            found[kind, before, after, place] = ChangeGroup(
                kind=kind,
                local=local,
                endpoints=tuple(sorted({subject.endpoint for subject in mine})),
                direction=mine[0].direction,
                traffic=mine[0].traffic,
                enforced=mine[0].enforced,
                before=before,
                after=after,
                peers=tuple(sorted(peers, key=lambda peer: (peer.outside, peer.name))),
                l4=bits,
                rows=comparison.rows(bits),
                samples=tuple(samples),
                addresses=comparison.addresses,
                partition=comparison.l4,
            )
    groups = (group for group in found.values() if group.rows.everything or group.rows.protocols)
    yield from sorted(groups, key=lambda group: (group.kind, group.peers[0].name, group.before, group.after))


def _parts(
    comparison: Comparison, tokens: frozenset[Token], gathered: _Gathered
) -> dict[tuple[str, Origin, Origin], list[tuple[Asked, int, Part]]]:
    found: dict[tuple[str, Origin, Origin], list[tuple[Asked, int, Part]]] = defaultdict(list)
    for version, classes in sorted(tokens):
        for key, number in zip(gathered.asked[version], classes, strict=True):
            delta: Delta = comparison.delta(*key)
            for part in delta.parts[number] if number != UNCHANGED else ():
                found[part.kind, part.before, part.after].append((key, number, part))
    return found
