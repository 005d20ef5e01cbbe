"""Generated policies, changed: what the diff of the tables says is what the simulator answers before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from bpfence.analyse.table_diff import diff_tables
from bpfence.analyse.table_names import known_names
from bpfence.analyse.table_rows import ChangeRow, rows_of
from bpfence.analyse.table_sides import Side, everywhere
from bpfence.emit.artefact import Artefact
from bpfence.flows import PORT_PROTOCOLS, PROTOCOL_NUMBERS, protocol_name
from bpfence.identity.world import World
from bpfence.pipeline import Compiled, analyse, compile_with_classification
from bpfence.simulate.arrays import TableArrays
from bpfence.simulate.simulator import Packet, Simulator
from support.fuzzing import run_examples
from support.policy_strategies import GeneratedInput, Refusals, inputs
from support.sampling import sample_packets
from support.written import written_addresses, written_l4

EXAMPLES, PACKETS = 5, 300
MIXES = (("kubernetes",), ("kubernetes", "cluster"), ("cilium",), ("calico",), ("kubernetes", "cilium", "calico"))


@pytest.mark.parametrize("languages", MIXES, ids="+".join)
def test_rows_are_what_the_simulator_answers_otherwise(languages: Sequence[str], tmp_path: Path) -> None:
    refusals = Refusals()
    changed = 0

    def examine(case: GeneratedInput) -> None:
        nonlocal changed
        new = _compiled(case, refusals, tmp_path)
        old = _compiled(_with_half(case), refusals, tmp_path)
        world = analyse(case.load(tmp_path), case.options).world
        rows = list(_rows(old.artefact, new.artefact, world))
        _check_examples(rows, old.artefact, new.artefact)
        objects = (*case.inventory, *case.policies)
        pools = (written_addresses(objects),), (written_l4(objects),)
        packets = [packet for one in (old, new) for packet in sample_packets(one, *pools, PACKETS)]
        changed += _check_packets(packets, rows, old.artefact, new.artefact, world)
        assert _mirrored(_rows(new.artefact, old.artefact, world)) == sorted(map(_key, rows))
        assert not list(_rows(new.artefact, new.artefact, world))

    run_examples(examine, inputs(languages), EXAMPLES)
    refusals.check()
    assert changed > 20, "nearly nothing changed: the property says little"


def _with_half(case: GeneratedInput) -> GeneratedInput:
    """Without every other policy; what policies refer to stays."""
    numbered = enumerate(case.policies)
    kept = tuple(item for number, item in numbered if number % 2 or not item["kind"].endswith("Policy"))
    return replace(case, policies=kept)


def _compiled(case: GeneratedInput, refusals: Refusals, folder: Path) -> Compiled:
    loaded = refusals.load(case, folder)
    nodes = sorted({pod.node for pod in loaded.inventory.pods if pod.node})
    return compile_with_classification(loaded, case.options.model_copy(update={"node": nodes[0] if nodes else None}))


def _rows(old: Artefact, new: Artefact, world: World) -> Iterator[ChangeRow]:
    known = known_names((world,), (old.manifest, new.manifest))
    changes = diff_tables(_side(old), _side(new), known)
    return (row for group in changes.groups for row in rows_of(group))


def _side(artefact: Artefact) -> Side:
    return everywhere(artefact.manifest, TableArrays(artefact.manifest, artefact.tables))


def _key(row: ChangeRow) -> tuple[object, ...]:
    return (row.kind, row.source, row.destination, row.protocol, row.ports, row.direction, row.before, row.after)


def _mirrored(rows: Iterator[ChangeRow]) -> list[tuple[object, ...]]:
    """The change taken back."""
    other = {"added": "removed", "removed": "added"}
    return sorted(_key(replace(row, kind=other[row.kind], before=row.after, after=row.before)) for row in rows)


def _check_examples(rows: Sequence[ChangeRow], old: Artefact, new: Artefact) -> None:
    """Every row's own packet changes as it says, for the reasons it gives."""
    simulators = Simulator(old), Simulator(new)
    for row in rows:
        packet = _packet_of(row)
        before, after = (simulator.decide(packet) for simulator in simulators)
        assert (before.allowed, after.allowed) == (row.kind == "removed", row.kind == "added"), row
        for answer, origin in ((before, row.before), (after, row.after)):
            assert origin.verdict == ("allow" if answer.allowed else "deny")
            if answer.layers:
                assert (origin.policy, origin.rule) in {(layer.policy, layer.rule) for layer in answer.layers}, row


def _packet_of(row: ChangeRow) -> Packet:
    example = row.example
    source, destination = (ip_address(str(example[end])) for end in ("src", "dst"))
    own, peer = (source, destination) if row.direction == "egress" else (destination, source)
    word = str(example["protocol"])
    protocol = PROTOCOL_NUMBERS.get(word.upper()) or int(word)
    ports = (example.get("src_port"), example.get("dst_port"), example.get("icmp_type"), example.get("icmp_code"))
    return Packet(row.endpoints[0], row.direction, own, peer, protocol, *ports)  # type: ignore[arg-type]


def _check_packets(
    packets: Sequence[Packet], rows: Sequence[ChangeRow], old: Artefact, new: Artefact, world: World
) -> int:
    """Every sampled packet whose verdict changes is in a row of its kind. How many there were."""
    simulators = Simulator(old), Simulator(new)
    known = known_names((world,), (old.manifest, new.manifest))
    changed = 0
    for packet in packets:
        before, after = (simulator.decide(packet).allowed for simulator in simulators)
        label = known.at.get(packet.peer)
        itself = label is not None and label == known.owner[packet.endpoint]
        if before == after or itself or packet.destination_port == 0 or packet.source_port == 0:
            continue
        if packet.icmp_type is None and packet.protocol in (1, 58):
            continue
        if packet.protocol in PORT_PROTOCOLS and packet.destination_port is None:
            continue
        changed += 1
        name = None if label is None else known.labels[label]
        kind = "added" if after else "removed"
        assert any(row.kind == kind and _holds(row, packet, name) for row in rows), (packet, kind)
    return changed


def _holds(row: ChangeRow, packet: Packet, name: str | None) -> bool:
    if packet.direction != row.direction or packet.endpoint not in row.endpoints:
        return False
    peer = row.destination if row.direction == "egress" else row.source
    if name is not None and peer != name:
        return False
    if name is None and not _in_range(peer, packet):
        return False
    if row.everything:
        return True
    wanted = packet.icmp_type if packet.icmp_type is not None else packet.destination_port
    ports = any(low <= (wanted or 0) <= high for low, high in row.ports) or not row.ports
    return row.protocol == protocol_name(packet.protocol) and ports


def _in_range(name: str, packet: Packet) -> bool:
    if not name.endswith("[External]"):
        return False
    low, high = map(ip_address, name.removesuffix("[External]").split("-"))
    return low.version == packet.peer.version and int(low) <= int(packet.peer) <= int(high)
