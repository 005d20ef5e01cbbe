"""The fixture of ``verdict``: what it expects is what the compiler's tables and the LPM entries say."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
import pytest

from bpfence.bench.cilium_layout import FIRST_IDENTITY, policy_entries, port_prefixes
from bpfence.bench.fixture import ENDPOINT, PORT_SPECS, SPACE, TCP, Fixture, address, make_fixture, options
from bpfence.bench.keys import Keys, draw_keys
from bpfence.pipeline import compile_artefact
from bpfence.simulate.simulator import Packet, Simulator

ASKED = 300


@pytest.fixture(scope="module")
def fixture() -> Fixture:
    return make_fixture(60, apps=8)


@pytest.mark.parametrize("distribution", ["hot", "random", "zipf"])
def test_the_tables_answer_as_expected(fixture: Fixture, tmp_path: Path, distribution: str) -> None:
    simulator = Simulator(compile_artefact(fixture.load(tmp_path), options()))
    keys = draw_keys(fixture, distribution)
    for number in range(ASKED):
        peer = address(int(keys.addresses[number]), 4)
        ports = {"source_port": 40000, "destination_port": int(keys.ports[number])}
        own, protocol = IPv4Address("10.63.0.1"), int(keys.protocols[number])
        packet = Packet(f"{SPACE}/{ENDPOINT}", "ingress", own, peer, protocol, **ports)
        assert simulator.decide(packet).allowed == keys.expected[number]


def test_the_longest_prefix_entries_answer_as_expected(fixture: Fixture) -> None:
    keys = draw_keys(fixture, "zipf")
    entries, _ = policy_entries(fixture)
    known = {
        (int(e["identity"]), int(e["protocol"]), int(np.uint16(e["port"]).byteswap()), int(e["prefix_length"]))
        for e in entries
    }
    assert len(known) == len(entries)
    for number in range(ASKED):
        assert _is_covered(known, fixture, keys, number) == keys.expected[number]


def _is_covered(known: set[tuple[int, int, int, int]], fixture: Fixture, keys: Keys, number: int) -> bool:
    identity = FIRST_IDENTITY + int(fixture.workload_of[keys.addresses[number]])
    protocol, port = int(keys.protocols[number]), int(keys.ports[number])
    return any(
        (who, protocol, port >> (64 - length) << (64 - length), length) in known
        for who in (identity, 0)
        for length in range(48, 65)
    )


@pytest.mark.parametrize("spec", [*PORT_SPECS, (TCP, 0, 65535), (TCP, 1, 65535)])
def test_port_prefixes_cover_the_range_and_nothing_else(spec: tuple[int, int, int]) -> None:
    covered = [port for first, length in port_prefixes(spec) for port in range(first, first + (1 << (64 - length)))]
    assert covered == list(range(spec[1], spec[2] + 1))


def test_rules_are_distinct_and_the_same_every_time(fixture: Fixture) -> None:
    assert len(set(fixture.grants)) == len(fixture.grants) == 60
    assert make_fixture(60, apps=8).grants == fixture.grants
    with pytest.raises(ValueError, match="distinct rules"):
        make_fixture(10_000, apps=8)
