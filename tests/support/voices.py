"""One input, answered by everybody: the reference evaluator, the IR judged rule by rule, the tables, the kernel.

In: a loaded input and packets. Out: `Disagreement`s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from bpfence.analyse.cases import L4Probe, l4_probes, peer_probes
from bpfence.analyse.judge import L4Facts
from bpfence.analyse.passage import L4Packet, Passage
from bpfence.analyse.path import Check, End
from bpfence.analyse.verify import reference_verdict
from bpfence.classify.classification import subjects_of
from bpfence.classify.rows import Subject
from bpfence.flows import protocol_name
from bpfence.ir.nodes import Direction, Point
from bpfence.loader.trial import Trial
from bpfence.loading import LoadedInput
from bpfence.options import Options
from bpfence.pipeline import Compiled, analyse, compile_with_classification
from bpfence.semantics import ReferenceWorld
from bpfence.simulate.simulator import Packet, Simulator
from support.written import Address


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A packet and who says what. ``kernel`` None: not asked."""

    packet: Packet
    reference: bool
    judged: bool
    simulated: bool
    kernel: bool | None = None

    def __str__(self) -> str:
        packet = self.packet
        fields = (packet.source_port, packet.destination_port, packet.icmp_type, packet.icmp_code)
        return (
            f"{packet.direction} {packet.endpoint}@{packet.own} peer {packet.peer} {protocol_name(packet.protocol)} "
            f"(sport, dport, type, code) {fields}: reference {self.reference}, IR {self.judged}, "
            f"tables {self.simulated}, kernel {self.kernel}"
        )


class Voices:
    """Everybody who has an opinion on one input."""

    def __init__(self, loaded: LoadedInput, options: Options) -> None:
        self._loaded = loaded
        self._options = options
        analysed = analyse(loaded, options)
        self.world = analysed.world
        self._reference = ReferenceWorld(loaded.inventory, loaded.policies, options)
        self._compiled: dict[tuple[str, bool], Compiled] = {}
        self._passage = Passage(analysed.program, self.world, analysed.services)

    @property
    def nodes(self) -> list[str]:
        """Nodes that have pods."""
        return sorted({pod.node for pod in self.world.pods})

    def compiled(self, node: str, *, optimise: bool = True) -> Compiled:
        """The node's artefact, compiled when first asked for."""
        changes = {"node": node, "optimise": optimise}
        if (node, optimise) not in self._compiled:
            options = self._options.model_copy(update=changes)
            self._compiled[node, optimise] = compile_with_classification(self._loaded, options)
        return self._compiled[node, optimise]

    def disagreements(
        self, compiled: Compiled, packets: Sequence[Packet], place: Trial | None = None
    ) -> Iterator[Disagreement]:
        """The packets on which not all agree."""
        simulator = Simulator(compiled.artefact)
        kernel: Sequence[bool | None] = [None] * len(packets)
        if place is not None:
            place.use(compiled.artefact)
            kernel = place.allowed(packets)
        for packet, seen in zip(packets, kernel, strict=True):
            expected = reference_verdict(self._reference, packet)
            answers = (expected, self.judged(packet), simulator.decide(packet).allowed)
            if len({*answers, seen} - {None}) > 1:
                yield Disagreement(packet, *answers, seen)

    def judged(self, packet: Packet) -> bool:
        """The IR's answer, rule by rule, as `explain` finds it."""
        subject = self.world.by_name[packet.endpoint]
        direction = Direction(packet.direction)
        own, peer = End(subject, packet.own), End(None, packet.peer)
        check = Check(direction, subject, direction, Point.ENDPOINT, own, peer)
        facts = L4Facts(
            packet.protocol, packet.source_port, packet.destination_port, packet.icmp_type, packet.icmp_code
        )
        findings = self._passage.take((check,), L4Packet(facts, packet.own.version))
        return all(finding.outcome.allowed for finding in findings)


def sample_packets(
    compiled: Compiled, addresses: Sequence[Address], points: Sequence[L4Probe], count: int, seed: int = 0
) -> list[Packet]:
    """``count`` packets at the artefact's endpoints: peers and L4 points of the classification and those given.

    All combinations when there are not more of them.
    """
    classification = compiled.classification
    peers = sorted({*peer_probes(classification.peers), *addresses}, key=lambda a: (a.version, int(a)))
    probes = list(dict.fromkeys((*l4_probes(classification.l4), *points)))
    subjects = [subject for subject in subjects_of(compiled.endpoints) if subject.address is not None]
    choices = [
        (subject, direction, *_of_family(subject, peers, probes)) for subject in subjects for direction in Direction
    ]
    total = sum(len(a) * len(p) for _, _, a, p in choices)
    random = Random(seed)
    found: list[Packet] = []
    for subject, direction, near, l4 in choices:
        space = len(near) * len(l4)
        share = space if total <= count else min(space, -(-count * space // total))
        numbers = range(space) if share == space else random.sample(range(space), share)
        found += [packet_of(subject, direction, near[n // len(l4)], l4[n % len(l4)]) for n in numbers]
    return found


def _of_family(
    subject: Subject, peers: Sequence[Address], probes: Sequence[L4Probe]
) -> tuple[list[Address], list[L4Probe]]:
    assert subject.address is not None
    version = subject.address.version
    near = [peer for peer in peers if peer.version == version and peer != subject.address]
    return near, [probe for probe in probes if probe.version in (None, version)]


def packet_of(subject: Subject, direction: Direction, peer: Address, probe: L4Probe) -> Packet:
    assert subject.address is not None
    return Packet(
        subject.entity.name, direction.value, subject.address, peer,
        probe.protocol, probe.source_port, probe.destination_port, probe.icmp_type, probe.icmp_code,
    )  # fmt: skip
