"""One table's world, asked three ways: the reference evaluator, explain (the IR), the simulator (the tables)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from bpfence.analyse.explain import Explainer
from bpfence.analyse.parties import Party, common_family, find_party
from bpfence.analyse.query import EPHEMERAL_PORT, Query
from bpfence.analyse.verify import Agreement, verify
from bpfence.classify.services import find_cell
from bpfence.diagnostics import Diagnostics
from bpfence.emit.artefact import Artefact
from bpfence.flows import PORT_PROTOCOLS, Flow
from bpfence.identity.inventory import Address
from bpfence.loader.trial import Trial
from bpfence.loading import LoadedInput
from bpfence.lowering import pending_policies
from bpfence.options import Options
from bpfence.pipeline import analyse, compile_artefact
from bpfence.semantics import ReferenceWorld, decide, pending_world
from bpfence.simulate.hosts import Transit, passes
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
        self._explainer = Explainer(
            self.world.program, self.world.world, "", self.world.services, self.world.settings_of, self.world.pending
        )
        self.simulators = Simulators(loaded, table.options)
        pending = pending_policies(loaded.policies, table.options, Diagnostics())
        self._pending_simulators = Simulators(replace(loaded, policies=pending), table.options)

    def ask(self, flow: Flow) -> tuple[bool, bool, bool]:
        """(reference, explain, simulator): allowed or not. No table knows names: there explain speaks for both."""
        explained = self._explain(flow)
        return (
            decide(self._reference, flow).allowed,
            explained,
            explained if flow.fqdn else self._simulate(flow, self.simulators),
        )

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

    def ask_pending(self, flow: Flow) -> tuple[bool, bool | None, bool]:
        """(reference, explain, simulator) with the staged policies in force; None when explain knows of none."""
        answer = self._explainer.explain(_query(flow)).pending
        reference = decide(pending_world(self._reference), flow).allowed
        return reference, None if answer is None else answer.allowed, self._simulate(flow, self._pending_simulators)

    def _explain(self, flow: Flow) -> bool:
        return self._explainer.explain(_query(flow)).allowed

    def _simulate(self, flow: Flow, simulators: Simulators) -> bool:
        """Every node that the flow meets lets it pass."""
        return all(passes(simulators.of_node(node), transit) for node, transit in self.transits(flow))

    def transits(self, flow: Flow) -> list[tuple[str, Transit]]:
        """The flow as each node sees it that it meets; none for a pod talking to itself."""
        source, destination, left, right = self._ends(flow)
        if source.entity is not None and source.entity is destination.entity and source.policed:
            return []
        nodes = {party.entity.node for party in (source, destination) if party.policed or party.is_host if party.entity}
        if not nodes and flow.out_interface:
            nodes = {item.node for item in self.world.world.entities if item.kind == "hostendpoint"}
        return [(node, self._transit(flow, (source, left), (destination, right), node)) for node in sorted(nodes)]

    def is_beyond_hooks(self, flow: Flow) -> bool:
        """Whether a hook sees another address than the policy does: before translation to something that no service of
        the inventory stands for.
        """
        return bool(flow.original_destination)

    def _transit(
        self, flow: Flow, source: tuple[Party, Address], destination: tuple[Party, Address], node: str
    ) -> Transit:
        """The flow as one node sees it."""
        packet = self._packet(flow, source[1], destination[1])
        crossed = [
            party.entity.name
            for party, _ in (source, destination)
            if party.entity and party.entity.kind == "hostendpoint" and party.entity.node == node and not flow.interface
        ]
        cell = find_cell(self.world.services, destination[1], flow.protocol, flow.destination_port)
        return Transit(
            source[1], destination[1], flow.protocol, packet.source_port, packet.destination_port,
            packet.icmp_type, packet.icmp_code, flow.interface, flow.out_interface, "".join(crossed[:1]),
            ip_address(flow.original_destination) if flow.original_destination else None, flow.original_port,
            None if cell is None else cell.backends,
        )  # fmt: skip

    def _ends(self, flow: Flow) -> tuple[Party, Party, Address, Address]:
        source, destination = (find_party(text, self.world.world, "") for text in (flow.source, flow.destination))
        left, right = common_family(source, destination, flow.family or {1: 4, 58: 6}.get(flow.protocol))
        assert left is not None
        assert right is not None
        return source, destination, left, right

    def packets(self, flow: Flow) -> list[tuple[str, Packet]]:
        """(node, packet) for each policed side of the flow; none for a pod talking to itself."""
        source, destination, left, right = self._ends(flow)
        if source.entity is not None and source.entity is destination.entity:
            return []
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


def _query(flow: Flow) -> Query:
    return Query(
        flow.source, flow.destination, flow.protocol, flow.source_port, flow.destination_port,
        flow.icmp_type, flow.icmp_code, flow.family, flow.interface, flow.out_interface,
        flow.fqdn, flow.original_destination, flow.original_port,
    )  # fmt: skip


def _at(party: Party, packet: Packet, direction: str, own: Address, peer: Address) -> tuple[str, Packet]:
    assert party.entity is not None
    return party.entity.node, replace(packet, endpoint=party.entity.name, direction=direction, own=own, peer=peer)
