"""Host endpoints in the diff of two sets of tables: what it says is what the programs at a host's interface answer."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from itertools import product
from pathlib import Path

import pytest

from bpfence.analyse.table_diff import diff_tables
from bpfence.analyse.table_names import known_names
from bpfence.analyse.table_rows import ChangeRow, rows_of
from bpfence.analyse.table_sides import everywhere
from bpfence.emit.artefact import Artefact
from bpfence.flows import PROTOCOL_NUMBERS
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import analyse, compile_artefact
from bpfence.simulate.arrays import TableArrays
from bpfence.simulate.host_hooks import HostHooks
from bpfence.simulate.simulator import Packet, Simulator
from support.host_objects import FAR, INVENTORY, NODE1, NODE2, OUT, PODS, gnp, hep

OPTIONS = Options(node="node1")
HEPS = (hep("h0"), hep("star", interface="*"))
RULE = "{{action: {0}, protocol: TCP, destination: {{ports: [{1}]}}, source: {{nets: ['198.51.100.0/24']}}}}"
POLICIES = {
    "normal": gnp("normal", "has(hep)", f"ingress: [{RULE.format('Allow', 6379)}], egress: [{{action: Allow}}]"),
    "forward": gnp(
        "forward", "has(hep)", f"applyOnForward: true, ingress: [{RULE.format('Deny', 8080)}, {{action: Allow}}]"
    ),
    "early": gnp(
        "early", "hep == 'h0'", f"doNotTrack: true, applyOnForward: true, ingress: [{RULE.format('Deny', 80)}]"
    ),
    "dnat": gnp("dnat", "has(hep)", f"preDNAT: true, applyOnForward: true, ingress: [{RULE.format('Deny', 443)}]"),
}
PEERS = (*OUT, *FAR, *NODE2, *(address for pod in PODS.values() for address in pod))
PORTS = (22, 80, 443, 6379, 8080, 9999)


def compiled(folder: Path, *names: str) -> tuple[Artefact, ...]:
    (folder / "input.yaml").write_text("\n---\n".join((INVENTORY, *HEPS, *(POLICIES[name] for name in names))))
    loaded = load_input([str(folder / "input.yaml")], OPTIONS)
    return (compile_artefact(loaded, OPTIONS),)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((), ("normal",)),
        (("normal",), ("normal", "forward")),
        (("normal",), ("normal", "early")),
        (("forward", "early"), ("dnat", "normal")),
        (("normal", "forward", "early", "dnat"), ("normal",)),
    ],
)
def test_hosts(old: tuple[str, ...], new: tuple[str, ...], tmp_path: Path) -> None:
    [first], [second] = compiled(tmp_path, *old), compiled(tmp_path, *new)
    rows = [row for row in found(first, second, tmp_path) if row.traffic]
    hooks = [HostHooks(Simulator(artefact)) for artefact in (first, second)]
    assert rows
    for row in rows:
        before, after = (answer(hook, artefact, row) for hook, artefact in zip(hooks, (first, second), strict=True))
        assert (before, after) == (row.kind == "removed", row.kind == "added"), row
    hosts = sorted({host.name for artefact in (first, second) for host in artefact.manifest.hosts})
    changed = 0
    for host, direction, party, packet in packets(hosts):
        verdicts = [
            at(hook, artefact, host, packet, party) for hook, artefact in zip(hooks, (first, second), strict=True)
        ]
        if verdicts[0] != verdicts[1]:
            changed += 1
            kind = "added" if verdicts[1] else "removed"
            assert any(holds(row, host, direction, party, packet, kind) for row in rows), (host, party, packet, kind)
    assert changed


def found(old: Artefact, new: Artefact, folder: Path) -> Iterator[ChangeRow]:
    world = analyse(load_input([str(folder / "input.yaml")], OPTIONS), OPTIONS).world
    sides = [everywhere(one.manifest, TableArrays(one.manifest, one.tables)) for one in (old, new)]
    changes = diff_tables(sides[0], sides[1], known_names((world,), (old.manifest, new.manifest)))
    return (row for group in changes.groups for row in rows_of(group))


def at(hooks: HostHooks, artefact: Artefact, host: str, packet: Packet, party: bool) -> bool:
    entry = next((one for one in artefact.manifest.hosts if one.name == host and host.startswith("hep/")), None)
    return hooks.at_interface(entry, packet, party=party).passes


def answer(hooks: HostHooks, artefact: Artefact, row: ChangeRow) -> bool:
    """Of the row's own example."""
    example = row.example
    source, destination = (ip_address(str(example[end])) for end in ("src", "dst"))
    own, peer = (source, destination) if row.direction == "egress" else (destination, source)
    word = str(example["protocol"])
    protocol = PROTOCOL_NUMBERS.get(word.upper()) or int(word)
    rest = [example.get(name) for name in ("src_port", "dst_port", "icmp_type", "icmp_code")]
    packet = Packet("", row.direction, own, peer, protocol, *rest)  # type: ignore[arg-type]
    return at(hooks, artefact, row.endpoints[0], packet, row.traffic == "own")


def packets(hosts: list[str]) -> Iterator[tuple[str, str, bool, Packet]]:
    for host, direction, party, peer, port in product(hosts, ("ingress", "egress"), (True, False), PEERS, PORTS):
        if not party and not host.startswith("hep/"):
            continue
        remote = ip_address(peer)
        own = ip_address(NODE1[0 if remote.version == 4 else 1])
        yield host, direction, party, Packet("", direction, own, remote, 6, 40000, port)


def holds(row: ChangeRow, host: str, direction: str, party: bool, packet: Packet, kind: str) -> bool:
    traffic = "own" if party else "forwarded"
    if (row.kind, row.direction, row.traffic) != (kind, direction, traffic) or host not in row.endpoints:
        return False
    ports = row.everything or any(low <= (packet.destination_port or 0) <= high for low, high in row.ports)
    return ports and row.protocol in ("ANY", "TCP")
