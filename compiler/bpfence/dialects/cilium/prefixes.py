"""Prefixes as Cilium spells them: text in, network out, or what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, ip_address, ip_network

from bpfence.ir.expressions import Network

_TEXT = re.compile(r"(?P<address>[0-9A-Fa-f.:]{2,45})(?P<length>/(?:0|[1-9][0-9]{0,2}))?\Z")
_NO_PREFIX = "is no prefix"


@dataclass(frozen=True, slots=True)
class Prefix:
    """``network`` is masked. ``bare``: written without a length. ``host_bits``: the text named bits below the mask."""

    network: Network
    bare: bool
    host_bits: bool


def parse_prefix(text: str) -> Prefix | str:
    """The prefix (or bare address) that ``text`` means, or the reason why it is none.

    Masks in dotted form, zones, leading zeros and IPv4-mapped IPv6 are no prefixes.
    """
    if not text:
        return "is empty: an IP is required"
    match = _TEXT.match(text)
    if match is None:
        return _NO_PREFIX
    try:
        network = ip_network(text, strict=False)
        address = ip_address(match["address"])
    except ValueError:
        return _NO_PREFIX
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return "is an IPv4-mapped IPv6 prefix"
    return Prefix(network, match["length"] is None, network.network_address != address)


def network_of(text: str) -> Network:
    """The network of a text that was checked before. Raises ValueError for any other."""
    prefix = parse_prefix(text)
    if isinstance(prefix, str):
        raise ValueError(f"{text!r} {prefix}")
    return prefix.network


def is_inside(inner: Network, outer: Network) -> bool:
    """Whether every address of ``inner`` is in ``outer``; families never mix."""
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return not isinstance(outer, IPv4Network) and inner.subnet_of(outer)


def sort_networks(networks: set[Network]) -> tuple[Network, ...]:
    """Sorted, IPv4 first, each once."""
    return tuple(sorted(networks, key=lambda n: (n.version, int(n.network_address), n.prefixlen)))
