"""The address tables answer every address as the intervals and prefixes they were made from."""

from __future__ import annotations

from ipaddress import IPv6Network

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfence.plan.address4 import build_address4
from bpfence.plan.address6 import LEAST_SLOTS, build_address6, prune_prefixes
from support.layouts import force_fine_blocks

ADDRESSES = st.one_of(
    st.integers(0, (1 << 32) - 1),
    st.integers(0x0A000000, 0x0A0003FF),
    st.sampled_from([0, 255, 256, 65535, 65536, (1 << 32) - 1]),
)


@pytest.mark.parametrize("fine", [False, True], ids=["16-8-8", "20-6-6"])
@given(steps=st.dictionaries(ADDRESSES, st.integers(0, 4), max_size=40), asked=st.lists(ADDRESSES, max_size=30))
def test_ipv4_lookup_finds_the_interval(fine: bool, steps: dict[int, int], asked: list[int]) -> None:
    steps = {0: 0, **steps}
    starts = np.array(sorted(steps), dtype=np.int64)
    classes = np.array([steps[int(start)] for start in starts], dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        if fine:
            force_fine_blocks(patch)
        table = build_address4(starts, classes)
    assert table.fine == fine
    ends = [int(start) - 1 for start in starts[1:]]
    for address in (*asked, *starts.tolist(), *ends, (1 << 32) - 1):
        position = int(np.searchsorted(starts, address, side="right")) - 1
        assert table.lookup(address) == classes[position]


def test_ipv4_equal_blocks_are_shared() -> None:
    starts = np.arange(0, 256, dtype=np.int64) << 24
    table = build_address4(starts, np.arange(256, dtype=np.int64) % 2)
    assert (len(table.level2), len(table.level3)) == (2, 2)


def test_ipv4_scattered_addresses_get_small_blocks() -> None:
    """One address in every /16: with blocks of 256 each of them needs 512 bytes of the second level."""
    scattered = (np.arange(65536, dtype=np.int64) << 16) + (np.arange(65536) * 40503 & 0xFFFF)
    classes = np.arange(131073) % 2
    starts = np.concatenate([[0], np.stack([scattered + 1, scattered + 2], axis=1).reshape(-1)])
    table = build_address4(starts, classes)
    assert table.fine
    assert table.bytes * 2 < 65536 * 512
    assert [table.lookup(int(scattered[9]) + step) for step in range(3)] == [0, 1, 0]


def test_ipv4_sharing_is_counted() -> None:
    starts = np.arange(0, 256, dtype=np.int64) << 24
    assert build_address4(starts, np.arange(256) % 2).unshared == (256, 256)


def test_ipv4_one_address_costs_one_block_of_each_level() -> None:
    address = 0x0A010203
    table = build_address4(np.array([0, address, address + 1]), np.array([0, 1, 0]))
    assert (len(table.level2), len(table.level3)) == (2, 2)
    assert [table.lookup(address + step) for step in (-1, 0, 1)] == [0, 1, 0]


PREFIXES = st.tuples(
    st.integers(0, (1 << 128) - 1) | st.integers(0xFD << 120, (0xFD << 120) + 4096), st.integers(0, 128)
).map(lambda pair: (pair[0] >> (128 - pair[1]) << (128 - pair[1]) if pair[1] else 0, pair[1]))


@given(st.dictionaries(PREFIXES, st.integers(0, 3), max_size=40), st.lists(st.integers(0, (1 << 128) - 1), max_size=10))
def test_ipv6_lookup_is_the_longest_prefix(prefixes: dict[tuple[int, int], int], asked: list[int]) -> None:
    table = build_address6(sorted(prefixes.items()), 9, 1)
    borders = [edge for start, length in prefixes for edge in (start, start + (1 << (128 - length)) - 1)]
    for address in (*asked, *borders):
        covers = [(length, peer) for (start, length), peer in prefixes.items() if _inside(address, start, length)]
        assert table.lookup(address) == max(covers, default=(0, 9))[1]


def _inside(address: int, start: int, length: int) -> bool:
    return (
        address in range(start, start + (1 << (128 - length)))
        if length < 65
        else start <= address < start + (1 << (128 - length))
    )


def test_ipv6_prefixes_like_their_cover_are_left_out() -> None:
    def prefix(text: str) -> tuple[int, int]:
        network = IPv6Network(text)
        return int(network.network_address), network.prefixlen

    rows = [(prefix("fd00::/16"), 1), (prefix("fd00::/64"), 1), (prefix("fd00::1/128"), 2), (prefix("fd00:1::/64"), 0)]
    kept = prune_prefixes(rows, 0)
    assert [peer for _, peer in kept] == [1, 2, 0]


def test_ipv6_addresses_close_together_share_a_block() -> None:
    base = 0xFD << 120
    dense = {(base + (node << 8) + pod, 128): 1 + pod % 3 for node in range(2) for pod in range(0, 256, 2)}
    table = build_address6(sorted({**dense, (base, 64): 4, (base + 1, 128): 5}.items()), 9)
    assert [node.length for node in table.lengths] == [120, 64]
    assert len(table.blocks) == 2
    asked = {base: 1, base + 1: 5, base + 2: 3, base + 3: 4, base + 0x102: 3, base + 0x101: 4, base + 0x200: 4}
    assert {address: table.lookup(address) for address in asked} == asked
    assert table.lookup(base - 1) == 9


def test_ipv6_equal_blocks_are_one_and_few_addresses_make_none() -> None:
    base = 0xFD << 120
    equal = [((base + (node << 8) + pod, 128), 1) for node in range(50) for pod in range(20)]
    assert len(build_address6(equal, 0).blocks) == 1
    assert [node.length for node in build_address6(equal[:10], 0).lengths] == [128]


def test_prefixes_that_differ_by_what_their_lengths_differ_by_find_places() -> None:
    """2001:db8:31:1::/64 and 2001:db8:31::/65 differ in one bit of the address, and by one in the length."""
    upper = 0x20010DB800310000
    prefixes = [((upper << 64, 65), 1), (((upper + 1) << 64, 64), 2)]
    table = build_address6(prefixes, 0)
    assert table.slots == LEAST_SLOTS
    assert [table.lookup(upper << 64), table.lookup((upper + 1) << 64), table.lookup(upper + 2 << 64)] == [1, 2, 0]
