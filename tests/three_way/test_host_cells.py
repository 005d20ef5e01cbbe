"""The cells of hosts, point by point: the emitted tables say what the reference evaluator says, over all atoms."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest

from bpfence.analyse.cases import l4_probes, peer_probes
from bpfence.classify.hosts import POINTS
from bpfence.classify.services import find_cell, service_cells
from bpfence.ir.nodes import Point
from bpfence.pipeline import Compiled, compile_with_classification
from bpfence.semantics import ReferenceWorld, decide_side
from bpfence.simulate.host_hooks import is_failsafe
from bpfence.simulate.simulator import Packet, Simulator
from packets.tables import PacketTable, packet_tables, twin_tables

TABLES = [table for table in (*packet_tables("hosts"), *twin_tables("hosts")) if "hosts" in table.needs]
UNKNOWN = ("192.0.2.250", "10.1.0.250", "fd00:192:0:2::250")
"""addresses that a host may have without anybody telling"""
FAILSAFE_POINTS = ("untracked", "endpoint")
"""where a port that policies of hosts never close is open, whatever the reference's policies say"""
SERVICE_POINTS = ("endpoint", "forward")
"""where a service's address is judged by its backends, which is not a matter of one side"""
PACKETS = 150
"""drawn per point"""


def host_packets(compiled: Compiled, seed: int) -> Iterator[tuple[Packet, str]]:
    """Packets at every host and point of the artefact, drawn evenly. Nothing comes from the node itself, and what is
    for the host is for one of its own addresses.
    """
    manifest = compiled.artefact.manifest
    texts = {*manifest.node_addresses, *(text for host in manifest.hosts for text in host.addresses)}
    own = sorted(map(ip_address, (*texts, *UNKNOWN)), key=str)
    peers = list(peer_probes(compiled.classification.peers))
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
    services = service_cells(loaded.inventory)
    wrong = []
    for node in sorted(item.name for item in loaded.inventory.nodes):
        compiled = compile_with_classification(loaded, table.options.model_copy(update={"node": node}))
        simulator = Simulator(compiled.artefact)
        hosts = {host.name: host for host in compiled.artefact.manifest.hosts}
        for packet, point in host_packets(compiled, 1):
            answer = simulator.decide_host(packet, point)
            if point in FAILSAFE_POINTS and is_failsafe(hosts[packet.endpoint], packet):
                assert answer is None or (answer.allowed, answer.undecided) == (True, point == "untracked"), packet
                continue
            if point in SERVICE_POINTS and find_cell(services, packet.own, packet.protocol, packet.destination_port):
                continue
            expected = decide_side(
                reference, packet.endpoint, packet.direction, packet.own, packet.peer, packet.protocol,
                packet.source_port, packet.destination_port, packet.icmp_type, packet.icmp_code, point,
            )  # fmt: skip
            undecided = any(layer.reason == "undecided" for layer in expected.layers)
            seen = (True, point in ("untracked", "pre-dnat")) if answer is None else (answer.allowed, answer.undecided)
            if seen != (expected.allowed, undecided):
                wrong.append(f"{packet} at {point}: reference {expected.allowed, undecided}, tables {seen}")
    assert not wrong, "\n".join(wrong[:5])
