"""One input, answered by everybody: the reference evaluator, the IR judged rule by rule, the tables, the kernel.

In: a loaded input and packets. Out: `Disagreement`s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bpfence.analyse.judge import L4Facts
from bpfence.analyse.passage import L4Packet, Passage
from bpfence.analyse.path import Check, End
from bpfence.analyse.verify import reference_verdict
from bpfence.flows import protocol_name
from bpfence.identity.inventory import Address
from bpfence.ir.nodes import Direction, Point
from bpfence.loader.trial import Trial
from bpfence.loading import LoadedInput
from bpfence.options import Options
from bpfence.pipeline import Compiled, analyse, compile_with_classification
from bpfence.semantics import ReferenceWorld
from bpfence.simulate.simulator import Packet, Simulator


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

    @property
    def cluster_addresses(self) -> list[Address]:
        """Of every pod, node and service."""
        return [address for entity in self.world.entities for address in entity.addresses]

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
