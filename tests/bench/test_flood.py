"""The flood: all subjects are given the same rules, these allow none of it, and a subject that errs gives no figure."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bpfence.bench import flood_rules
from bpfence.bench.flood import check
from bpfence.bench.flood_subjects import QUICK_SIZES, Subject, subjects
from bpfence.bench.lane import POD, load_generator, open_lane
from bpfence.bench.place import Place
from bpfence.bench.traffic import FLOOD_PORTS, FLOOD_PORTS_MASK, PEERS, POD_ADDRESS
from bpfence.cli import run
from bpfence.demo.sandbox import run_isolated
from bpfence.errors import KernelError
from bpfence.flows import Flow
from bpfence.loader.node import NodePaths
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact
from bpfence.semantics.decide import decide
from bpfence.semantics.world import ReferenceWorld
from bpfence.simulate.simulator import Packet, Simulator

COUNT = 60


def flood_ports() -> range:
    return range(FLOOD_PORTS, FLOOD_PORTS + FLOOD_PORTS_MASK + 1)


def test_no_rule_names_what_the_flood_sends() -> None:
    ports = {port for _, port in flood_rules.rules(flood_rules.MOST)}
    assert ports
    assert not ports & set(flood_ports())
    assert len(set(flood_rules.rules(flood_rules.MOST))) == flood_rules.MOST
    assert all(address in PEERS for address, _ in flood_rules.rules(COUNT))


def test_everybody_is_given_the_same_rules() -> None:
    for address, port in flood_rules.rules(COUNT):
        assert f"ip daddr {address} udp dport {port} accept" in flood_rules.nft_linear(COUNT)
        assert f"{address} . {port} : accept" in flood_rules.nft_map(COUNT)
        assert f"-A PREROUTING -d {address} -p udp --dport {port} -j ACCEPT" in flood_rules.iptables(COUNT)
        assert f"add allowed {address},udp:{port}\n" in flood_rules.ipset(COUNT)
    assert "accept" not in flood_rules.nft_linear(0)


def test_the_policies_say_what_the_others_rules_say(tmp_path: Path) -> None:
    path = tmp_path / "policies.json"
    flood_rules.write_policies(path, COUNT)
    simulator = Simulator(compile_artefact(load_input([str(path)], Options()), Options()))

    def allowed(peer: IPv4Address, port: int) -> bool:
        packet = Packet(POD, "egress", POD_ADDRESS, peer, 17, source_port=1, destination_port=port)
        return simulator.decide(packet).allowed

    rules = set(flood_rules.rules(COUNT))
    ports = sorted({port for _, port in rules})
    assert all(allowed(address, port) == ((address, port) in rules) for address, _ in rules for port in ports)
    assert not any(allowed(address, flood_ports()[0]) for address, _ in rules)


def test_host_policies_say_the_same_the_other_way_round(tmp_path: Path) -> None:
    path = tmp_path / "policies.json"
    flood_rules.write_host_policies(path, COUNT, "eth0")
    options = Options(node="here")
    loaded = load_input([str(path)], options)
    reference = ReferenceWorld(loaded.inventory, loaded.policies, options)

    def allowed(peer: IPv4Address, port: int) -> bool:
        return decide(reference, Flow(str(peer), "node/here", 17, destination_port=port)).allowed

    rules = flood_rules.rules(COUNT)[::10]
    assert all(allowed(address, port) for address, port in rules)
    assert not any(allowed(address, port + 1) for address, port in rules if (address, port + 1) not in set(rules))
    assert not any(allowed(address, FLOOD_PORTS) for address, _ in rules)


def test_peers_whose_tools_are_missing_are_left_out_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found, notes = subjects(QUICK_SIZES)
    assert {subject.name for subject in found} >= {"none", "xdp-drop", "tc-drop", "bpfence-tc"}
    assert not [subject.name for subject in found if subject.name.startswith(("nft", "ipt"))]
    assert any("nftables-linear" in note for note in notes)
    assert any("iptables-ipset" in note for note in notes)


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel_trial")
def test_all_subjects_refuse_packets_and_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    children = _children()
    assert run(["bench", "flood", "--quick", "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = document["results"]
    told = [note.partition(" is left out")[0] for note in document["notes"]]
    wanted = [subject for subject in subjects(QUICK_SIZES)[0] if subject.title not in told]
    assert all(title.startswith("bpfence-xdp") for title in told)
    assert [(row["subject"], row["params"].get("rules", 0)) for row in rows] == [(s.name, s.rules) for s in wanted]
    assert all(row["unit"] == "packets/s" and row["metric"] == "rate" and row["value"] > 1000 for row in rows)
    assert _children() == children


def _children() -> set[str]:
    """Namespaces, programs and pins of the flood end with the process that has them."""
    return {pid for place in Path("/proc/self/task").glob("*/children") for pid in place.read_text().split()}


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel_trial")
@pytest.mark.parametrize(
    ("name", "rules", "complaint"),
    [("none", 0, "lets 1000 of 1000 packets pass that no rule allows"), ("tc-drop", 10, "lets 0 of 1000 packets pass")],
)
def test_a_subject_that_errs_gives_no_figure(name: str, rules: int, complaint: str) -> None:
    """``none`` told to filter, ``tc-drop`` told to let pass what rules allow."""
    found, _ = subjects(QUICK_SIZES)
    install = next(subject.install for subject in found if subject.name == name)
    with pytest.raises(KernelError, match=complaint):
        run_isolated(partial(_checked, Subject(name, install, rules)))


def _checked(subject: Subject, paths: NodePaths) -> None:
    folder = paths.bpffs.parent / "bench"
    folder.mkdir()
    with ExitStack() as stack:
        lane = open_lane(load_generator(Place(folder, stack)), stack)
        subject.install(lane, paths)
        check(subject, lane)
