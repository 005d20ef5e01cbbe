"""Flows that need no state: which they are, that leaving them out changes no answer, and that `verify` would notice."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpfence.analyse.verify import Agreement, verify
from bpfence.classify import classification, stateless
from bpfence.classify.decide import RowDecisions
from bpfence.emit.artefact import Artefact
from bpfence.loader.trial import Trial
from bpfence.loading import LoadedInput, load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact, compile_with_classification
from bpfence.simulate.simulator import Packet, Simulator
from packets.tables import PacketTable, packet_tables
from support.agreement import TableAnswers

INPUT = Path(__file__).parent / "automatic_notrack.yaml"
OPTIONS = Options(node="here", automatic_notrack=True)
TABLES = packet_tables("services")[3::16]
ICMP, TCP, UDP, GRE, ICMPV6, SCTP = 1, 6, 17, 47, 58, 132
FAR, NEAR = "8.8.8.8", "192.0.2.7"
SPLIT = "198.51.100.7"
FAR6 = "2001:db8::8"

# endpoint, protocol, peer, ICMP type -> left out
CASES = [
    ("free", TCP, FAR, 0, True),
    ("free", ICMP, FAR, 8, True),
    ("free", ICMP, FAR, 0, True),
    ("free", ICMP, FAR, 13, False),
    ("free", ICMP, FAR, 3, False),
    ("free", GRE, FAR6, 0, True),
    ("few", TCP, FAR, 0, True),
    ("few", TCP, NEAR, 0, False),
    ("few", UDP, NEAR, 0, True),
    ("few", TCP, FAR6, 0, True),
    ("few", SCTP, FAR, 0, False),
    ("few", GRE, FAR, 0, True),
    ("few", ICMP, FAR, 8, True),
    ("few", ICMP, FAR, 0, True),
    ("few", ICMP, SPLIT, 8, False),
    ("few", ICMP, SPLIT, 0, False),
    ("few", ICMP, FAR, 13, False),
    ("few", ICMPV6, FAR6, 128, True),
    ("few", UDP, SPLIT, 0, True),
    ("one", TCP, FAR, 0, False),
    ("one", UDP, FAR, 0, False),
    ("two", UDP, FAR, 0, False),
    ("one", SCTP, FAR, 0, True),
    ("two", SCTP, FAR6, 0, True),
    ("deaf", UDP, FAR, 0, False),
    ("deaf", UDP, FAR6, 0, True),
    ("noted", UDP, FAR, 0, False),
    ("noted", TCP, FAR, 0, True),
]


@pytest.fixture(scope="module")
def loaded() -> LoadedInput:
    return load_input([str(INPUT)], OPTIONS)


@pytest.fixture(scope="module")
def simulator(loaded: LoadedInput) -> Simulator:
    return Simulator(compile_artefact(loaded, OPTIONS))


@pytest.mark.parametrize("direction", ["egress", "ingress"])
@pytest.mark.parametrize(("endpoint", "protocol", "peer", "kind", "left_out"), CASES)
def test_which_flows_need_no_state(
    simulator: Simulator, direction: str, endpoint: str, protocol: int, peer: str, kind: int, left_out: bool
) -> None:
    """The same in both directions, also where one of them is unrestricted."""
    address = ip_address(peer)
    name = f"shop/{endpoint}"
    own = next(
        item
        for entry in simulator.manifest.endpoints
        if entry.name == name
        for item in map(ip_address, entry.addresses)
        if item.version == address.version
    )
    ports = (4000, 4001) if protocol in (TCP, UDP, SCTP) else (None, None)
    icmp = (kind, 0) if protocol in (ICMP, ICMPV6) else (None, None)
    packet = Packet(name, direction, own, address, protocol, *ports, *icmp)
    assert simulator.decide(packet).stateless == left_out


def test_without_the_option_everything_is_remembered(loaded: LoadedInput) -> None:
    compiled = compile_with_classification(loaded, OPTIONS.model_copy(update={"automatic_notrack": False}))
    assert not compiled.artefact.manifest.features["stateless"]
    assert compiled.classification.left_out == (0, 0)


def test_the_numbers(loaded: LoadedInput) -> None:
    flagged, cells = compile_with_classification(loaded, OPTIONS).classification.left_out
    assert 0 < flagged < cells


HOSTS = """
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: %(name)s, labels: {role: host}}
spec: {node: here, interfaceName: "%(interface)s"}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: passing}
spec:
  selector: role == 'host'
  applyOnForward: true
  types: [Ingress, Egress]
  ingress: [{action: Deny, protocol: TCP, destination: {ports: [25]}}, {action: Allow}]
  egress: [{action: Allow}]
"""


@pytest.mark.parametrize(("interface", "decides"), [("*", True), ("eth0", False)])
def test_where_hosts_decide_too_everything_is_remembered(tmp_path: Path, interface: str, decides: bool) -> None:
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text(HOSTS % {"name": "host", "interface": interface})
    artefact = compile_artefact(load_input([str(INPUT), str(hosts)], OPTIONS), OPTIONS)
    assert artefact.manifest.features["hosts_at_workloads"] == decides
    assert artefact.manifest.features["stateless"] != decides


def compare(loaded: LoadedInput, options: Options, place: Trial, limit: int) -> Agreement:
    def verdicts(artefact: Artefact, packets: Any) -> list[bool]:
        place.use(artefact)
        return place.allowed(packets)

    def exchanges(artefact: Artefact, packets: Any) -> list[tuple[bool, ...]]:
        place.use(artefact)
        return place.exchanges(packets)

    return verify(loaded, options, limit, verdicts, exchanges)


@pytest.mark.kernel
def test_no_answer_changes(loaded: LoadedInput, kernel_trial: Trial) -> None:
    agreement = compare(loaded, OPTIONS, kernel_trial, 6_000)
    assert agreement.checked == agreement.kernel_checked
    assert agreement.exchanged > agreement.left_out > 1000
    assert not agreement.differing, agreement.counterexamples[0].document()


@pytest.mark.kernel
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.id)
def test_no_answer_of_the_packet_tables_changes(table: PacketTable, tmp_path: Path, kernel_trial: Trial) -> None:
    marked = replace(table, options=table.options.model_copy(update={"automatic_notrack": True}))
    answers = TableAnswers(marked, tmp_path)
    for node in answers.nodes:
        agreement = compare(answers.loaded, marked.options.model_copy(update={"node": node}), kernel_trial, 200)
        assert not agreement.differing, agreement.counterexamples[0].document()


def everything(rows: list[RowDecisions], *_: object) -> list[np.ndarray]:
    """Whatever a row allows."""
    return [np.array([item.allowed for item in row.decisions], dtype=bool)[row.numbers] for row in rows]


def whatever_routers_say(is_open: np.ndarray, *_: object) -> np.ndarray:
    return np.ones(len(is_open), dtype=bool)


def each_row_for_itself(pairs: Any) -> list[tuple[int, ...]]:
    return [(row,) for row in sorted({row for pair in pairs for row in pair if row is not None})]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("owner", "name", "careless"),
    [
        (classification, "stateless_marks", everything),
        (stateless, "_errors_pass", whatever_routers_say),
        (stateless, "_joined", each_row_for_itself),
    ],
)
def test_a_careless_proof_is_found_out(
    loaded: LoadedInput,
    kernel_trial: Trial,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    careless: object,
) -> None:
    monkeypatch.setattr(owner, name, careless)
    agreement = compare(loaded, OPTIONS, kernel_trial, 3_000)
    assert agreement.differing
