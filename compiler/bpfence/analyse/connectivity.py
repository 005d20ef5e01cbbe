"""Who may talk to whom: every allowed connection between workloads, and between workloads and the outside.

In: an `Analysed` program. Out: `Connectivity`, which tells source by source where it gets. Replicas are collapsed to
their controlling owner; a connection is listed when some replica has it. A large cluster has tens of millions of
connections of a few hundred kinds, so what is asked, and what is remembered, is about kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bpfence.analyse.endpoint_connectivity import EndpointAnswers
from bpfence.analyse.host_connectivity import HostAnswers, polices_hosts
from bpfence.analyse.l4_sets import L4Description, describe_l4
from bpfence.analyse.outside import OutsideRuns, Span
from bpfence.analyse.roles import Role, meetings
from bpfence.analyse.set_numbers import NOTHING, NUMBER_BITS, Numbers, SetNumbers
from bpfence.classify.classification import Classification
from bpfence.classify.services import ServiceCell
from bpfence.identity.inventory import HostSettings
from bpfence.identity.world import World
from bpfence.ir.nodes import Program

FAMILIES = (4, 6, 0)


@dataclass(frozen=True, slots=True, order=True)
class Connection:
    """``protocol``: ``ANY`` when ``everything``, else TCP, UDP, SCTP, ICMP, ICMPv6 or a number. ``ports``: inclusive
    ranges (ICMP: types).
    """

    source: str
    destination: str
    protocol: str
    ports: tuple[tuple[int, int], ...]
    everything: bool


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a source gets: ``destinations`` sorted, ``answers`` the number of what is allowed to each."""

    source: str
    destinations: Sequence[str]
    answers: Sequence[int]


class Answers(Protocol):
    """What may pass between kinds of talkers, and between them and outside addresses: numbers of sets of L4 classes.

    The names of both roles are the same. Where two kinds share no family, the number means nothing.
    """

    @property
    def classification(self) -> Classification: ...
    @property
    def sets(self) -> SetNumbers: ...
    @property
    def senders(self) -> Role[Any]: ...
    @property
    def receivers(self) -> Role[Any]: ...
    @property
    def runs(self) -> OutsideRuns: ...

    def between(self, sender: int) -> Numbers:
        """From a kind of senders to every kind of receivers."""

    def outwards(self, sender: int) -> Numbers:
        """From a kind of senders to every run of outside addresses."""

    def inwards(self, receiver: int) -> Numbers:
        """From every run of outside addresses to a kind of receivers."""


def default_settings(_node: str) -> HostSettings:
    """What a node does without any configuration."""
    return HostSettings()


def connectivity(
    program: Program,
    world: World,
    settings_of: Callable[[str], HostSettings] = default_settings,
    services: Sequence[ServiceCell] = (),
) -> Connectivity:
    """``settings_of``: what a node does with its own traffic. ``services``: where NodePorts lead."""
    if polices_hosts(program, world, settings_of):
        return Connectivity(HostAnswers(program, world, settings_of, services))
    return Connectivity(EndpointAnswers(program, world, services))


def list_connections(
    program: Program,
    world: World,
    settings_of: Callable[[str], HostSettings] = default_settings,
    services: Sequence[ServiceCell] = (),
) -> Iterator[Connection]:
    """Every allowed connection, sorted."""
    table = connectivity(program, world, settings_of, services)
    for reach in table.reaches():
        for destination, answer in zip(reach.destinations, reach.answers, strict=True):
            for protocol, ports, everything in table.rows(answer):
                yield Connection(reach.source, destination, protocol, ports, everything)


class Connectivity:
    """Every allowed connection. A workload to itself, and outside to outside, are not listed."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._names = answers.senders.names
        self._descriptions: list[L4Description] = []
        self._numbers: dict[int, int] = {NOTHING: NOTHING}
        self._shared = np.bincount(answers.senders.type_of, minlength=1) > 1
        self._known: dict[int, NDArray[np.int32]] = {}

    def rows(self, answer: int) -> tuple[tuple[str, tuple[tuple[int, int], ...], bool], ...]:
        """What an answer of a `Reach` allows: (protocol, ports, everything), sorted."""
        description = self._descriptions[answer - 1]
        if description.everything:
            return (("ANY", (), True),)
        return tuple(sorted((protocol, ports, False) for protocol, ports in description.protocols))

    def reaches(self) -> Iterator[Reach]:
        """Every source that gets somewhere, sorted."""
        workloads = {name: position for position, name in enumerate(self._names)}
        incoming = self._incoming()
        for source in sorted((*workloads, *incoming)):
            position = workloads.get(source)
            reach = self._from_outside(source, incoming[source]) if position is None else self._from(position)
            if reach.destinations:
                yield reach

    def _from(self, position: int) -> Reach:
        """Where a workload gets."""
        answers = self._answers
        kind = int(answers.senders.type_of[position])
        found = self._row(kind)[answers.receivers.type_of]
        found[position] = NOTHING
        inside = self._reach(self._names[position], found)
        ranges = [(answers.runs.name(span), number) for span, number in self._outgoing(kind)]
        if not ranges:
            return inside
        pairs = sorted((*zip(inside.destinations, inside.answers, strict=True), *ranges))
        return Reach(inside.source, [name for name, _ in pairs], [number for _, number in pairs])

    def _from_outside(self, source: str, allowed: list[tuple[int, int]]) -> Reach:
        """``allowed``: (type of receivers, answer)."""
        row = np.full(self._answers.receivers.columns.shape[1], NOTHING, dtype=np.int32)
        for kind, answer in allowed:
            row[kind] = answer
        return self._reach(source, row[self._answers.receivers.type_of])

    def _reach(self, source: str, found: NDArray[np.int32]) -> Reach:
        places = np.flatnonzero(found)
        return Reach(source, [self._names[place] for place in places.tolist()], found[places].tolist())

    def _row(self, kind: int) -> NDArray[np.int32]:
        """Answers of a type of senders for every type of receivers."""
        known = self._known.get(kind)
        if known is None:
            known = self._between(kind)
            if self._shared[kind]:
                self._known[kind] = known
        return known

    def _between(self, sender_type: int) -> NDArray[np.int32]:
        answers, receivers = self._answers, self._answers.receivers
        found = {version: np.full(receivers.columns.shape[1], NOTHING, dtype=np.int64) for version in FAMILIES}
        for kind in answers.senders.kinds(sender_type):
            numbers = answers.between(kind)
            for version, meets in meetings(int(answers.senders.families[kind]), receivers.families).items():
                mine = receivers.of_types(np.where(meets, numbers, NOTHING), answers.sets)
                found[version] = answers.sets.either(found[version], mine)
        codes, inverse = np.unique(_code(*(found[version] for version in FAMILIES)), return_inverse=True)
        described = np.array([self._answer(code) for code in codes.tolist()], dtype=np.int32)
        return described[inverse.reshape(-1)]

    def _answer(self, code: int) -> int:
        """The number of the description of sets per family."""
        known = self._numbers.get(code)
        if known is None:
            known = self._numbers[code] = self._describe(code)
        return known

    def _describe(self, code: int) -> int:
        mask = (1 << NUMBER_BITS) - 1
        numbers = (code >> 2 * NUMBER_BITS, code >> NUMBER_BITS & mask, code & mask)
        bits = {
            version: self._answers.sets.bits(number)
            for version, number in zip(FAMILIES, numbers, strict=True)
            if number != NOTHING
        }
        classification = self._answers.classification
        self._descriptions.append(describe_l4(classification.l4, classification.merged.l4_of, bits))
        return len(self._descriptions)

    def _outgoing(self, sender_type: int) -> Iterator[tuple[Span, int]]:
        kinds = self._answers.senders.kinds(sender_type)
        yield from self._ranges([self._answers.outwards(kind) for kind in kinds])

    def _incoming(self) -> dict[str, list[tuple[int, int]]]:
        """Ranges by name, with the types of receivers that they get to."""
        found: dict[Span, list[tuple[int, int]]] = {}
        for kind in range(self._answers.receivers.columns.shape[1]):
            numbers = [self._answers.inwards(item) for item in self._answers.receivers.kinds(kind)]
            for span, answer in self._ranges(numbers):
                found.setdefault(span, []).append((kind, answer))
        return {self._answers.runs.name(span): allowed for span, allowed in found.items()}

    def _ranges(self, numbers: list[Numbers]) -> Iterator[tuple[Span, int]]:
        """Spans of runs with what is allowed there: what one of the kinds may, all of its type may."""
        runs, total = self._answers.runs, np.full(len(self._answers.runs.bounds), NOTHING, dtype=np.int64)
        for item in numbers:
            total = self._answers.sets.either(total, item)
        for span, number in runs.spans(total):
            place = FAMILIES.index(int(runs.families[span[0]]))
            code = [NOTHING] * len(FAMILIES)
            code[place] = number
            yield span, self._answer(_code(*code))


def _code(four: Any, six: Any, both: Any) -> Any:
    """Numbers of sets for each family as one number."""
    return four << 2 * NUMBER_BITS | six << NUMBER_BITS | both
