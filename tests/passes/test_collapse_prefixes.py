"""Collapsing gives what the standard library gives, for both families at once."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from hypothesis import given
from hypothesis import strategies as st

from bpfence.passes.collapse_prefixes import collapse_prefixes


def _network(bits: int, number: int, length: int) -> tuple[int, int]:
    return number >> (bits - length) << (bits - length), length


# Few addresses at both ends of the space, so that prefixes cover each other and are halves of one another.
ipv4 = st.builds(_network, st.just(32), st.integers(0, 15) | st.just(2**32 - 1), st.integers(0, 32)).map(IPv4Network)
ipv6 = st.builds(_network, st.just(128), st.integers(0, 15) | st.just(2**128 - 1), st.integers(0, 128)).map(IPv6Network)


@given(st.lists(ipv4, max_size=12), st.lists(ipv6, max_size=12))
def test_as_the_standard_library(four: list[IPv4Network], six: list[IPv6Network]) -> None:
    expected = (*collapse_addresses(four), *collapse_addresses(six))
    assert collapse_prefixes([*six, *four]) == expected
