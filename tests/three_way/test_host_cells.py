"""The cells of hosts, point by point: the emitted tables say what the reference evaluator says, over all atoms."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from random import Random

import pytest

from bpfence.analyse.cases import l4_probes, peer_probes
from bpfence.classify.hosts import POINTS
from bpfence.ir.nodes import Point
from bpfence.pipeline import Compiled, compile_with_classification
from bpfence.semantics import ReferenceWorld, decide_side
from bpfence.simulate.simulator import Packet, Simulator
from packets.tables import PacketTable, packet_tables, twin_tables

TABLES = [table for table in (*packet_tables("hosts"), *twin_tables("hosts")) if "hosts" in table.needs]
PACKETS = 400


def host_packets(compiled: Compiled, seed: int) -> list[tuple[Packet, str]]:
    """Packets at every host and point of the artefact, an even share of all combinations. Nothing comes from the node
    itself, and what is for the host is for one of its own addresses.
    """
    peers = peer_probes(compiled.classification.peers)
    probes = l4_probes(compiled.classification.l4)
    random = Random(seed)
    found = []
    hosts = compiled.artefact.manifest.hosts
    own = {*compiled.artefact.manifest.node_addresses, *(text for host in hosts for text in host.addresses)}
    asked = [
        (host, point) for host in hosts for point in POINTS["node" if host.name.startswith("node/") else "hostendpoint"]
    ]
    for host, (point, direction) in asked:
        space = [(a, b, p) for a, b in product(peers, peers) if a.version == b.version and a != b for p in probes]
        space = [item for item in space if item[2].version in (None, item[0].version) and str(item[1]) not in own]
        if point is Point.ENDPOINT:
            space = [item for item in space if str(item[0]) in own]
        for near, far, probe in random.sample(space, min(len(space), PACKETS // len(asked))):
            l4 = (probe.protocol, probe.source_port, probe.destination_port, probe.icmp_type, probe.icmp_code)
            found.append((Packet(host.name, str(direction), near, far, *l4), str(point)))
    return found


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.id)
def test_cells_of_hosts_agree_with_the_reference(table: PacketTable, tmp_path: Path) -> None:
    loaded = table.load(tmp_path)
    reference = ReferenceWorld(loaded.inventory, loaded.policies, table.options)
    wrong = []
    for node in sorted(item.name for item in loaded.inventory.nodes):
        compiled = compile_with_classification(loaded, table.options.model_copy(update={"node": node}))
        simulator = Simulator(compiled.artefact)
        for packet, point in host_packets(compiled, 1):
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
