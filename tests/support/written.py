"""What the policies and the inventory say in numbers: every port, prefix and address as written, and its neighbours.

In: objects as plain data. Out: addresses and L4 points to ask about. Nothing of the compiler is used, so a border that
the compiler loses is still asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

from bpfence.analyse.cases import EXTENSION_HEADERS, L4Probe
from bpfence.flows import ICMP_PROTOCOLS, PORT_PROTOCOLS, always_passes

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
OTHER_PROTOCOLS = (0, 2, 4, 41, 47, 50, 51, 112, 136)
CLIENT_PORT = 40000


def written_addresses(objects: Iterable[Any]) -> list[Address]:
    """Both ends of every prefix and address in the data, and what lies just outside."""
    found: set[Address] = set()
    for text in _texts(objects):
        network = _network(text)
        if network is not None:
            found |= set(_around(network))
    return sorted(found, key=lambda address: (address.version, int(address)))


def _around(network: Network) -> Iterator[Address]:
    make = IPv4Address if network.version == 4 else IPv6Address
    first, last = int(network.network_address), int(network.broadcast_address)
    for value in (first - 1, first, last, last + 1):
        if 0 <= value < 1 << network.max_prefixlen:
            yield make(value)


def _network(text: str) -> Network | None:
    if "." not in text and ":" not in text:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def written_l4(objects: Iterable[Any]) -> list[L4Probe]:
    """Every number in the data and its neighbours as destination port, source port, ICMP type, code and protocol."""
    numbers = set(_numbers(objects))
    near = {number + step for number in numbers for step in (-1, 0, 1)}
    ports = sorted({0, 1, 65535, *(number for number in near if 0 <= number <= 65535)})
    bytes_ = sorted({0, 255, *(number for number in near if 0 <= number <= 255)})
    probes = [*_port_probes(ports), *_icmp_probes(bytes_), *_protocol_probes(bytes_)]
    return [p for p in probes if not always_passes(p.version or 0, p.protocol, p.icmp_type, p.icmp_code)]


def _port_probes(ports: list[int]) -> Iterator[L4Probe]:
    for index, port in enumerate(ports):
        other = ports[(index * 7 + 3) % len(ports)]
        for protocol in sorted(PORT_PROTOCOLS):
            yield L4Probe(protocol, CLIENT_PORT, port)
            yield L4Probe(protocol, port, CLIENT_PORT)
            yield L4Probe(protocol, other, port)


def _icmp_probes(values: list[int]) -> Iterator[L4Probe]:
    for index, icmp_type in enumerate(values):
        for code in {0, 1, values[(index * 5 + 1) % len(values)]}:
            yield L4Probe(1, icmp_type=icmp_type, icmp_code=code, version=4)
            yield L4Probe(58, icmp_type=icmp_type, icmp_code=code, version=6)


def _protocol_probes(values: list[int]) -> Iterator[L4Probe]:
    """Protocols without ports; ICMP of the other family has no type that could be read."""
    for protocol in sorted({*values, *OTHER_PROTOCOLS} - PORT_PROTOCOLS - ICMP_PROTOCOLS):
        yield L4Probe(protocol, version=4 if protocol in EXTENSION_HEADERS else None)
    yield L4Probe(58, version=4)
    yield L4Probe(1, version=6)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _numbers(value: Any) -> Iterator[int]:
    """Numbers, texts of digits, and both ends of ``low:high``."""
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        yield value
    elif isinstance(value, str):
        yield from (int(part) for part in value.split(":") if part.isascii() and part.isdecimal())
    elif isinstance(value, dict):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
