"""A list of prefixes to the shortest sorted list of prefixes that covers the same addresses."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from bpfence.ir.expressions import Network

_Prefix = tuple[int, int]
"""First address and length. In ascending order a prefix comes right before everything inside it."""


def collapse_prefixes(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Covered prefixes left out, two halves joined; sorted, IPv4 first.

    On numbers, because `ipaddress.collapse_addresses` takes seconds for the 100,000 prefixes a large program has.
    """
    prefixes: dict[int, list[_Prefix]] = {4: [], 6: []}
    for network in networks:
        prefixes[network.version].append((int(network.network_address), network.prefixlen))
    ipv4 = map(IPv4Network, _collapse(prefixes[4], 32))
    ipv6 = map(IPv6Network, _collapse(prefixes[6], 128))
    return (*ipv4, *ipv6)


def _collapse(prefixes: list[_Prefix], bits: int) -> list[_Prefix]:
    done: list[_Prefix] = []
    end = 0
    for first, length in sorted(prefixes):
        # `done` is disjoint and ascending: what its last prefix does not cover, none of them covers.
        if done and first < end:
            continue
        end = first + (1 << bits - length)
        done.append((first, length))
        _join_halves(done, bits)
    return done


def _join_halves(done: list[_Prefix], bits: int) -> None:
    """As long as the last two prefixes are the halves of one, puts that one in their place."""
    while len(done) > 1:
        (low, length), (high, high_length) = done[-2:]
        if length != high_length or low ^ high != 1 << bits - length:
            return
        done[-2:] = [(low, length - 1)]
