"""The order in which IPv6 prefix lengths are asked: never too many of them, and the longest prefix is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bpfence.plan.address6 import build_address6
from bpfence.plan.layout import ADDRESS6_STEPS
from bpfence.plan.lengths6 import most_steps, order_lengths, way_to

LENGTHS = st.sets(st.integers(0, 128), min_size=1)


@given(LENGTHS)
def test_every_length_is_reached_in_few_steps(lengths: set[int]) -> None:
    nodes = order_lengths(lengths)
    assert {node.length for node in nodes} == lengths
    assert most_steps(nodes) <= ADDRESS6_STEPS
    for length in lengths:
        assert all(passed < length for passed in way_to(nodes, length))


def test_all_lengths_are_reached_in_few_steps() -> None:
    assert most_steps(order_lengths(range(129))) == ADDRESS6_STEPS


def test_few_lengths_are_asked_from_the_longest_on_and_need_no_help() -> None:
    nodes = order_lengths({48, 64, 128})
    assert [(node.length, node.longer, node.shorter) for node in nodes] == [
        (128, None, 1),
        (64, None, 2),
        (48, None, None),
    ]
    assert [way_to(nodes, length) for length in (48, 64, 128)] == [(), (), ()]


def test_a_signpost_has_the_class_of_what_holds_it() -> None:
    """Beside one address, and in nothing but the prefixes that hold the way to it."""
    base = 0x20010DB8 << 96
    prefixes = [((base, length), 1 + length % 7) for length in range(20, 64)] + [((base | 1, 128), 9)]
    table = build_address6(prefixes, 0)
    assert table.used > len(prefixes)
    asked = {
        base | 1: 9,
        base: 1 + 63 % 7,
        base | 1 << 64: 1 + 63 % 7,
        base ^ 1 << 65: 1 + 62 % 7,
        base ^ 1 << 90: 1 + 37 % 7,
    }
    assert {address: table.lookup(address) for address in asked} == asked
    assert table.lookup(base ^ 1 << 127) == 0
