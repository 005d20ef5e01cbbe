"""One table's world, asked three ways: the reference evaluator, explain (the IR), the simulator (the emitted tables).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bpfence.analyse.explain import EPHEMERAL_PORT, Explainer, Query
from bpfence.analyse.parties import Party, common_family, find_party
from bpfence.analyse.verify import Agreement, verify
from bpfence.emit.artefact import Artefact
from bpfence.flows import PORT_PROTOCOLS, Flow
from bpfence.identity.inventory import Address
from bpfence.loader.trial import Trial
from bpfence.loading import LoadedInput
from bpfence.options import Options
from bpfence.pipeline import analyse, compile_artefact
from bpfence.semantics import ReferenceWorld, decide
from bpfence.simulate.simulator import Packet, Simulator
from packets.tables import PacketTable


class Simulators:
    """The emitted tables of every node of a world, compiled when first asked."""

    def __init__(self, loaded: LoadedInput, options: Options) -> None:
        self._loaded = loaded
        self._options = options
        self._known: dict[str, Simulator] = {}

    def of_node(self, node: str) -> Simulator:
        if node not in self._known:
            self._known[node] = Simulator(self.artefact(node))
        return self._known[node]

    def artefact(self, node: str) -> Artefact:
        return compile_artefact(self._loaded, self._options.model_copy(update={"node": node}))


class TableAnswers:
    """Answers flows for one packet table."""

    def __init__(self, table: PacketTable, folder: Path) -> None:
        loaded = table.load(folder)
        loaded.diagnostics.stop_on_errors()
        self.loaded = loaded
        self._options = table.options
        self.world = analyse(loaded, table.options)
        self._reference = ReferenceWorld(loaded.inventory, loaded.policies, table.options)
        self._explainer = Explainer(self.world.program, self.world.world, "")
        self.simulators = Simulators(loaded, table.options)

    def ask(self, flow: Flow) -> tuple[bool, bool, bool]:
        """(reference, explain, simulator): allowed or not."""
        return decide(self._reference, flow).allowed, self._explain(flow), self._simulate(flow)

    def ask_kernel(self, place: Trial, flows: Sequence[Flow]) -> list[bool]:
        """The kernel's answer to each flow: every policed side must let it pass."""
        verdicts = [True] * len(flows)
        for node in self.nodes:
            asked = [(n, packet) for n, flow in enumerate(flows) for at, packet in self.packets(flow) if at == node]
            if not asked:
                continue
            place.use(self.simulators.artefact(node))
            for (number, _), allowed in zip(asked, place.allowed([packet for _, packet in asked]), strict=True):
                verdicts[number] = verdicts[number] and allowed
        return verdicts

    def verify_nodes(self, place: Trial, limit: int) -> Iterator[Agreement]:
        """`verify` for every node that has pods."""

        def kernel(artefact: Artefact, packets: Sequence[Packet]) -> list[bool]:
            place.use(artefact)
            return place.allowed(packets)

        for node in self.nodes:
            yield verify(self.loaded, self._options.model_copy(update={"node": node}), limit, kernel)

    @property
    def nodes(self) -> list[str]:
        return sorted({pod.node for pod in self.world.world.pods if pod.node})

    def _explain(self, flow: Flow) -> bool:
        query = Query(
            flow.source, flow.destination, flow.protocol, flow.source_port, flow.destination_port,
            flow.icmp_type, flow.icmp_code, flow.family,
        )  # fmt: skip
        return self._explainer.explain(query).allowed

    def _simulate(self, flow: Flow) -> bool:
        sides = self.packets(flow)
        return all(self.simulators.of_node(node).decide(packet).allowed for node, packet in sides)

    def packets(self, flow: Flow) -> list[tuple[str, Packet]]:
        """(node, packet) for each policed side of the flow; none for a pod talking to itself."""
        source, destination = (find_party(text, self.world.world, "") for text in (flow.source, flow.destination))
        if source.entity is not None and source.entity is destination.entity:
            return []
        version = flow.family or {1: 4, 58: 6}.get(flow.protocol)
        left, right = common_family(source, destination, version)
        assert left is not None
        assert right is not None
        packet = self._packet(flow, left, right)
        sides = []
        if source.policed:
            sides.append(_at(source, packet, "egress", left, right))
        if destination.policed:
            sides.append(_at(destination, packet, "ingress", right, left))
        return sides

    def _packet(self, flow: Flow, own: Address, peer: Address) -> Packet:
        ports = flow.protocol in PORT_PROTOCOLS
        source_port = flow.source_port if flow.source_port is not None else EPHEMERAL_PORT
        return Packet(
            "", "egress", own, peer, flow.protocol, source_port if ports else None, flow.destination_port,
            flow.icmp_type, flow.icmp_code,
        )  # fmt: skip


def _at(party: Party, packet: Packet, direction: str, own: Address, peer: Address) -> tuple[str, Packet]:
    assert party.entity is not None
    return party.entity.node, replace(packet, endpoint=party.entity.name, direction=direction, own=own, peer=peer)
