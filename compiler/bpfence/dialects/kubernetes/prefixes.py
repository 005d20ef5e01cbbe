"""Prefixes as Kubernetes spells them: text in, network out, or what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

_PREFIX = re.compile(r"(?P<address>[0-9A-Fa-f.:]+)/(?P<length>0|[1-9][0-9]{0,2})\Z")
_LEADING_ZERO = re.compile(r"(?:^|\.)0[0-9]")
MAX_TEXT = 64


@dataclass(frozen=True, slots=True)
class ParsedPrefix:
    """``network`` is masked; ``host_bits``: the text named bits below the mask."""

    network: Network
    host_bits: bool


def parse_prefix(text: str) -> ParsedPrefix | str:
    """The network that ``text`` (``address/length``) means, or the reason why it is refused.

    Host bits are masked as the API server does. Leading zeros and IPv4-mapped IPv6 are refused: readers disagree there.
    """
    match = _PREFIX.match(text) if len(text) <= MAX_TEXT else None
    if match is None:
        return "is no prefix; write address/length, for instance 10.0.0.0/8"
    if "." in match["address"] and _LEADING_ZERO.search(match["address"].rpartition(":")[2]):
        return "has leading zeros, which readers take for decimal or for octal"
    try:
        address = ip_address(match["address"])
        network = ip_network(text, strict=False)
    except ValueError:
        return "is no prefix; write address/length, for instance 10.0.0.0/8"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return "is an IPv4-mapped IPv6 prefix; write the IPv4 prefix"
    return ParsedPrefix(network, network.network_address != address)


def network_of(text: str) -> Network:
    """The network of a text that has been checked before. Raises ValueError for any other."""
    parsed = parse_prefix(text)
    if isinstance(parsed, str):
        raise ValueError(f"{text!r} {parsed}")
    return parsed.network


def is_subset(inner: Network, outer: Network) -> bool:
    """Whether ``inner`` lies in ``outer``; families never mix."""
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network):
        return inner.subnet_of(outer)
    return False


def is_strict_subset(inner: Network, outer: Network) -> bool:
    """Whether ``inner`` lies in ``outer`` and leaves something of it out."""
    return inner != outer and is_subset(inner, outer)
