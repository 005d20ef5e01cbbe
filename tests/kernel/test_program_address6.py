"""IPv6 peer classes against a model: random prefixes of every length, asked at their borders."""

from __future__ import annotations

import random
from ipaddress import IPv6Address, IPv6Network

import pytest

from bpfence.loader.kernel import test_run_many as run_many
from kernel import frames
from kernel.images import FULL, Tables
from kernel.plane import PASS, Plane

pytestmark = pytest.mark.kernel

POD6 = "fd00::5"


def random_prefixes(seed: int, lengths: list[int], count: int) -> dict[str, int]:
    """Nested and separate prefixes, each with a class from 1 to 7."""
    draw = random.Random(seed)
    found: dict[str, int] = {}
    base = draw.getrandbits(128)
    for _ in range(count):
        length = draw.choice(lengths)
        near = draw.random() < 0.7
        address = base ^ draw.getrandbits(128) >> draw.randrange(1, 128) if near else draw.getrandbits(128)
        network = IPv6Network((address >> (128 - length) << (128 - length), length))
        found[str(network)] = draw.randrange(1, 8)
    return found


def expected(prefixes: dict[IPv6Network, int], address: IPv6Address) -> int:
    holding = [network for network in prefixes if address in network]
    return prefixes[max(holding, key=lambda network: network.prefixlen)] if holding else 0


def borders(network: IPv6Network) -> set[IPv6Address]:
    low, high = int(network.network_address), int(network.broadcast_address)
    return {IPv6Address(value % 2**128) for value in (low, high, low - 1, high + 1)}


CASES = {
    "few lengths": (1, [32, 64, 128], 60),
    "every length": (2, list(range(129)), 200),
    "one default route": (3, [0], 1),
    "word borders": (4, [31, 32, 33, 63, 64, 65, 95, 96, 97, 127, 128], 150),
}


@pytest.mark.parametrize("case", CASES)
def test_the_longest_prefix_gives_the_class(plane: Plane, case: str) -> None:
    ask(plane, random_prefixes(*CASES[case]))


def test_addresses_close_together_are_told_apart(plane: Plane) -> None:
    """The pods of two nodes: a block of classes for each."""
    pods = {f"fd01::{node}:{pod:x}/128": 1 + (node + pod) % 7 for node in (1, 2) for pod in range(0, 256, 5)}
    ask(plane, {**pods, "fd01::1:f0/124": 3, "fd01::/64": 2})


def ask(plane: Plane, text: dict[str, int]) -> None:
    """The addresses at the borders of every prefix are of the class of their longest one."""
    prefixes = {IPv6Network(network): peer for network, peer in text.items()}
    asked = sorted({address for network in prefixes for address in borders(network)})
    packets = [frames.ip(str(address), POD6, 89, b"") for address in asked]
    wanted = [expected(prefixes, address) for address in asked]
    for peer in range(8):
        plane.forget()
        tables = Tables(FULL)
        tables.endpoint(0, 1, [POD6], egress=0, ingress=1)
        tables.peer6(text)
        tables.cell(1, peer, 0)
        slot = plane.fill(tables)
        answers = run_many(slot.programs["workload_ingress"].fd, packets)
        assert [answer == PASS for answer in answers] == [number == peer for number in wanted]
