"""`verify`: reference evaluator == IR == emitted tables == kernel, packet by packet.

In: the loaded input. Out: `Agreement`: counts, and the first counterexamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bpfence.analyse.cases import count_cases, l4_probes, packets, peer_probes
from bpfence.classify.classification import Classification, subjects_of
from bpfence.emit.artefact import Artefact
from bpfence.flows import protocol_name
from bpfence.loading import LoadedInput
from bpfence.options import Options
from bpfence.pipeline import compile_with_classification
from bpfence.semantics import ReferenceWorld, decide_side
from bpfence.simulate.simulator import Packet, Simulator

KernelVerdicts = Callable[[Artefact, Sequence[Packet]], Sequence[bool]]
"""runs packets through the artefact's programs in the kernel: allowed or not, in order"""
BATCH = 4096
MAX_COUNTEREXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Counterexample:
    """One packet with the answers that differ; ``kernel`` None when no kernel was asked."""

    packet: Packet
    reference: bool
    simulator: bool
    kernel: bool | None

    def document(self) -> dict[str, Any]:
        packet = self.packet
        return {
            "endpoint": packet.endpoint,
            "direction": packet.direction,
            "own": str(packet.own),
            "peer": str(packet.peer),
            "protocol": protocol_name(packet.protocol),
            "src_port": packet.source_port,
            "dst_port": packet.destination_port,
            "icmp_type": packet.icmp_type,
            "icmp_code": packet.icmp_code,
            "reference": _word(self.reference),
            "simulator": _word(self.simulator),
            "kernel": None if self.kernel is None else _word(self.kernel),
        }


@dataclass(frozen=True, slots=True)
class Agreement:
    """``space``: packets that would cover every atom; ``checked``: those compared; ``kernel_checked``: of them,
    through the kernel.
    """

    endpoints: int
    space: int
    checked: int
    kernel_checked: int
    differing: int
    counterexamples: tuple[Counterexample, ...]

    def document(self) -> dict[str, Any]:
        return {
            "format_version": "1.0",
            "endpoints": self.endpoints,
            "space": self.space,
            "checked": self.checked,
            "kernel_checked": self.kernel_checked,
            "differing": self.differing,
            "counterexamples": [item.document() for item in self.counterexamples],
        }


def verify(loaded: LoadedInput, options: Options, limit: int, kernel: KernelVerdicts | None) -> Agreement:
    """Compare all answers on up to ``limit`` packets that cover the atoms of the node's endpoints."""
    compiled = compile_with_classification(loaded, options)
    subjects = [subject for subject in subjects_of(compiled.endpoints) if subject.address is not None]
    peers, probes = _probe_space(compiled.classification)
    reference = ReferenceWorld(loaded.inventory, loaded.policies, options)
    simulator = Simulator(compiled.artefact)
    checked = kernel_checked = differing = 0
    examples: list[Counterexample] = []
    for batch in _batches(packets(subjects, peers, probes, limit)):
        answers = kernel(compiled.artefact, batch) if kernel is not None else [None] * len(batch)
        for packet, answer in zip(batch, answers, strict=True):
            expected = reference_verdict(reference, packet)
            simulated = simulator.decide(packet).allowed
            if expected != simulated or answer not in (None, expected):
                differing += 1
                if len(examples) < MAX_COUNTEREXAMPLES:
                    examples.append(Counterexample(packet, expected, simulated, answer))
        checked += len(batch)
        kernel_checked += len(batch) if kernel is not None else 0
    space = count_cases(subjects, peers, probes)
    return Agreement(len(compiled.endpoints), space, checked, kernel_checked, differing, tuple(examples))


def _probe_space(classification: Classification) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    return peer_probes(classification.peers), l4_probes(classification.l4)


def reference_verdict(world: ReferenceWorld, packet: Packet) -> bool:
    """The reference evaluator's answer for one side."""
    return decide_side(
        world,
        packet.endpoint,
        "ingress" if packet.direction == "ingress" else "egress",
        packet.own,
        packet.peer,
        packet.protocol,
        packet.source_port,
        packet.destination_port,
        packet.icmp_type,
        packet.icmp_code,
    ).allowed


def _batches(items: Iterable[Packet]) -> Iterable[list[Packet]]:
    batch: list[Packet] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _word(allowed: bool) -> str:
    return "allow" if allowed else "deny"
