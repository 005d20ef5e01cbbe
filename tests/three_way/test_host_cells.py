"""The cells of hosts, point by point: the emitted tables say what the reference evaluator says, over all atoms."""

from __future__ import annotations

from collections.abc import Container, Iterator
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest

from bpfence.analyse.cases import l4_probes, peer_probes
from bpfence.classify.hosts import POINTS
from bpfence.identity.inventory import Address
from bpfence.ir.nodes import Point
from bpfence.pipeline import Compiled, compile_with_classification
from bpfence.semantics import ReferenceWorld, decide_side
from bpfence.simulate.simulator import Packet, Simulator
from packets.tables import PacketTable, packet_tables, twin_tables

TABLES = [table for table in (*packet_tables("hosts"), *twin_tables("hosts")) if "hosts" in table.needs]
PACKETS = 150
"""drawn per point"""


def host_packets(compiled: Compiled, services: Container[Address], seed: int) -> Iterator[tuple[Packet, str]]:
    """Packets at every host and point of the artefact, drawn evenly. Nothing comes from the node itself, what is for
    the host is for one of its own addresses, and services' addresses have packet tables of their own.
    """
    manifest = compiled.artefact.manifest
    texts = {*manifest.node_addresses, *(text for host in manifest.hosts for text in host.addresses)}
    own = sorted(map(ip_address, texts), key=str)
    peers = [peer for peer in peer_probes(compiled.classification.peers) if peer not in services]
    probes = l4_probes(compiled.classification.l4)
    random = Random(seed)
    for host in manifest.hosts:
        for point, direction in POINTS["node" if host.name.startswith("node/") else "hostendpoint"]:
            for _ in range(PACKETS // len(manifest.hosts)):
                near, far = random.choice(own if point is Point.ENDPOINT else peers), random.choice(peers)
                probe = random.choice(probes)
                if near.version != far.version or probe.version not in (None, near.version) or far in (near, *own):
                    continue
                l4 = (probe.protocol, probe.source_port, probe.destination_port, probe.icmp_type, probe.icmp_code)
                yield Packet(host.name, str(direction), near, far, *l4), str(point)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.id)
def test_cells_of_hosts_agree_with_the_reference(table: PacketTable, tmp_path: Path) -> None:
    loaded = table.load(tmp_path)
    reference = ReferenceWorld(loaded.inventory, loaded.policies, table.options)
    services = {address for service in loaded.inventory.services for address in service.addresses}
    wrong = []
    for node in sorted(item.name for item in loaded.inventory.nodes):
        compiled = compile_with_classification(loaded, table.options.model_copy(update={"node": node}))
        simulator = Simulator(compiled.artefact)
        for packet, point in host_packets(compiled, services, 1):
            answer = simulator.decide_host(packet, point)
            expected = decide_side(
                reference, packet.endpoint, packet.direction, packet.own, packet.peer, packet.protocol,
                packet.source_port, packet.destination_port, packet.icmp_type, packet.icmp_code, point,
            )  # fmt: skip
            undecided = any(layer.reason == "undecided" for layer in expected.layers)
            seen = (True, point in ("untracked", "pre-dnat")) if answer is None else (answer.allowed, answer.undecided)
            if seen != (expected.allowed, undecided):
                wrong.append(f"{packet} at {point}: reference {expected.allowed, undecided}, tables {seen}")
    assert not wrong, "\n".join(wrong[:5])
