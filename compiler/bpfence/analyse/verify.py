"""`verify`: reference evaluator == emitted tables == kernel, packet by packet, at workloads and at the node's hosts.

In: the loaded input. Out: `Agreement`: counts, and the first counterexamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bpfence.analyse.cases import count_cases, l4_probes, packets, peer_probes
from bpfence.analyse.host_cases import HostCase, HostCases, is_spared
from bpfence.analyse.verify_notrack import KernelExchanges, NotrackCheck
from bpfence.classify.classification import Classification, subjects_of
from bpfence.classify.decide import UNDECIDED
from bpfence.classify.services import service_cells
from bpfence.emit.artefact import Artefact
from bpfence.flows import ICMP_PROTOCOLS, protocol_name
from bpfence.ir.nodes import Point
from bpfence.loading import LoadedInput
from bpfence.options import Options
from bpfence.pipeline import Compiled, compile_artefact, compile_with_classification
from bpfence.semantics import ReferenceWorld, SideVerdict, decide_side
from bpfence.simulate.simulator import Packet, Simulator

KernelVerdicts = Callable[[Artefact, Sequence[Packet]], Sequence[bool]]
"""runs packets through the artefact's programs in the kernel: allowed or not, in order"""
BATCH = 4096
MAX_COUNTEREXAMPLES = 20
EARLY = (Point.UNTRACKED, Point.PRE_DNAT)


@dataclass(frozen=True, slots=True)
class Counterexample:
    """One packet with the answers that differ: allow, deny, or undecided, where the next point is asked. ``kernel``
    None when no kernel was asked; ``note``: what differs besides.
    """

    packet: Packet
    reference: str
    simulator: str
    kernel: str | None = None
    point: Point = Point.ENDPOINT
    note: str = ""

    def document(self) -> dict[str, Any]:
        packet = self.packet
        return {
            "endpoint": packet.endpoint,
            "direction": packet.direction,
            "point": str(self.point),
            "own": str(packet.own),
            "peer": str(packet.peer),
            "protocol": protocol_name(packet.protocol),
            "src_port": packet.source_port,
            "dst_port": packet.destination_port,
            "icmp_type": packet.icmp_type,
            "icmp_code": packet.icmp_code,
            "reference": self.reference,
            "simulator": self.simulator,
            "kernel": self.kernel,
            **({"note": self.note} if self.note else {}),
        }


@dataclass(frozen=True, slots=True)
class Agreement:
    """``space``: packets that would cover every atom; ``checked``: those compared at workloads; ``kernel_checked``: of
    them, through the kernel; ``host_space``, ``host_checked``: the same at the points of hosts. ``left_out``: packets
    whose flows are not remembered; ``exchanged``: exchanges that were compared in the kernel because of that.
    """

    endpoints: int
    space: int
    checked: int
    kernel_checked: int
    differing: int
    counterexamples: tuple[Counterexample, ...]
    hosts: int = 0
    host_space: int = 0
    host_checked: int = 0
    left_out: int = 0
    exchanged: int = 0

    def document(self) -> dict[str, Any]:
        return {
            "format_version": "1.2",
            "endpoints": self.endpoints,
            "space": self.space,
            "checked": self.checked,
            "kernel_checked": self.kernel_checked,
            "hosts": self.hosts,
            "host_space": self.host_space,
            "host_checked": self.host_checked,
            "left_out": self.left_out,
            "exchanged": self.exchanged,
            "differing": self.differing,
            "counterexamples": [item.document() for item in self.counterexamples],
        }


@dataclass(slots=True)
class _Count:
    """What has been compared so far."""

    checked: int = 0
    kernel_checked: int = 0
    host_checked: int = 0
    differing: int = 0
    examples: list[Counterexample] = field(default_factory=list)

    def differs(self, example: Counterexample) -> None:
        self.differing += 1
        if len(self.examples) < MAX_COUNTEREXAMPLES:
            self.examples.append(example)


def verify(
    loaded: LoadedInput,
    options: Options,
    limit: int,
    kernel: KernelVerdicts | None,
    exchanges: KernelExchanges | None = None,
) -> Agreement:
    """Compare all answers on packets that cover the atoms of the node's endpoints and hosts: up to ``limit`` packets,
    shared out as the two need them. With automatic notrack also with what is said without it.
    """
    compiled = compile_with_classification(loaded, options)
    subjects = [subject for subject in subjects_of(compiled.endpoints) if subject.address is not None]
    peers, probes = _probe_space(compiled.classification)
    space = count_cases(subjects, peers, probes)
    hosts = HostCases(compiled.artefact.manifest, compiled.classification, service_cells(loaded.inventory))
    share = _share(limit, space, hosts.space)
    reference = ReferenceWorld(loaded.inventory, loaded.policies, options)
    simulator = Simulator(compiled.artefact)
    count = _Count()
    notrack = _notrack_check(loaded, options, compiled, exchanges)
    for batch in _batches(packets(subjects, peers, probes, limit - share)):
        answers = kernel(compiled.artefact, batch) if kernel is not None else [None] * len(batch)
        for packet, answer in zip(batch, answers, strict=True):
            expected = reference_verdict(reference, packet)
            simulated = simulator.decide(packet).allowed
            if expected != simulated or answer not in (None, expected):
                seen = None if answer is None else _word(answer)
                count.differs(Counterexample(packet, _word(expected), _word(simulated), seen))
        count.checked += len(batch)
        count.kernel_checked += len(batch) if kernel is not None else 0
        for packet, note in notrack.check(batch) if notrack else ():
            word = _word(reference_verdict(reference, packet))
            count.differs(Counterexample(packet, word, _word(simulator.decide(packet).allowed), note=note))
    _verify_hosts(compiled.artefact, hosts.draw(share), reference, simulator, count)
    return Agreement(
        len(compiled.endpoints),
        space,
        count.checked,
        count.kernel_checked,
        count.differing,
        tuple(count.examples),
        hosts.hosts,
        hosts.space,
        count.host_checked,
        notrack.left_out if notrack else 0,
        notrack.exchanged if notrack else 0,
    )


def _notrack_check(
    loaded: LoadedInput, options: Options, compiled: Compiled, exchanges: KernelExchanges | None
) -> NotrackCheck | None:
    """None: every flow is remembered anyway."""
    if not options.automatic_notrack:
        return None
    plain = compile_artefact(loaded, options.model_copy(update={"automatic_notrack": False}))
    axes = {protocol: compiled.classification.l4.spaces[protocol].second for protocol in ICMP_PROTOCOLS}
    codes = {protocol: axis.representative.tolist() for protocol, axis in axes.items() if axis is not None}
    routers = peer_probes(compiled.classification.peers)
    return NotrackCheck(compiled.artefact, plain, routers, codes, exchanges)


def _share(limit: int, workloads: int, hosts: int) -> int:
    """How many of the packets hosts get: their share, and at least a tenth where there are some."""
    if workloads + hosts <= limit:
        return hosts
    return min(hosts, max(limit * hosts // (workloads + hosts), limit // 10))


def _verify_hosts(
    artefact: Artefact, cases: Iterable[HostCase], reference: ReferenceWorld, simulator: Simulator, count: _Count
) -> None:
    """Points one by one. A program takes a packet through several at once: what the kernel says about them is compared
    where whole ways are.
    """
    hosts = {host.name: host for host in artefact.manifest.hosts}
    for case in cases:
        spared = case.point is not Point.FORWARD and is_spared(hosts[case.packet.endpoint], case.packet)
        expected = _spared(case.point) if spared else reference_host_verdict(reference, case)
        simulated = simulated_host_verdict(simulator, case)
        if expected != simulated:
            count.differs(Counterexample(case.packet, expected, simulated, None, case.point))
        count.host_checked += 1


def _spared(point: Point) -> str:
    """What a failsafe port means, whatever the policies say: open, or left to the next point."""
    return UNDECIDED if point in EARLY else _word(True)


def _probe_space(classification: Classification) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    return peer_probes(classification.peers), l4_probes(classification.l4)


def reference_verdict(world: ReferenceWorld, packet: Packet) -> bool:
    """The reference evaluator's answer for one side."""
    return _decide(world, packet).allowed


def reference_host_verdict(world: ReferenceWorld, case: HostCase) -> str:
    """The reference evaluator's answer at one point of a host: allow, deny or undecided."""
    verdict = _decide(world, case.packet, case.point)
    undecided = any(layer.reason == UNDECIDED for layer in verdict.layers)
    return UNDECIDED if verdict.allowed and undecided else _word(verdict.allowed)


def simulated_host_verdict(simulator: Simulator, case: HostCase) -> str:
    """What the emitted tables say there. Where nothing restricts a point, the early ones leave it to the next."""
    answer = simulator.decide_host(case.packet, str(case.point))
    if answer is None:
        return UNDECIDED if case.point in EARLY else _word(True)
    return UNDECIDED if answer.undecided else _word(answer.allowed)


def _decide(world: ReferenceWorld, packet: Packet, point: Point = Point.ENDPOINT) -> SideVerdict:
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
        point.value,
    )


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
