"""The IPv6 twin of an IPv4 cluster and its policies: 10.1.0.8/29 becomes fd77::10.1.0.8/125, ICMP becomes ICMPv6.

In: objects as plain data, packets. Out: their twins. A packet's twin must get the packet's verdict.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_interface
from typing import Any

from bpfence.simulate.simulator import Packet

Data = Any
PLACE = int(IPv6Address("fd77::"))
_IPV4 = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(/[0-9]+)?")
_WORDS = {"world-ipv4": "world-ipv6", "world-ipv6": "world-ipv4", "IPv4": "IPv6"}
_PROTOCOLS = {"ICMP": "ICMPv6", "ICMPv6": "ICMP", 1: 58, 58: 1, "1": "58", "58": "1"}
_TYPES = {"EchoReply": 0, "EchoRequest": 8, "TimeExceeded": 11}


def twin(value: Data, key: str = "") -> Data:
    """The data with every address, family and ICMP protocol of IPv4 replaced."""
    if isinstance(value, list):
        return [twin(item, key) for item in value]
    if isinstance(value, dict):
        changed = {_twin_key(name): twin(item, name) for name, item in value.items()}
        return {**changed, "family": "IPv6"} if key == "fields" else changed
    if key in _VALUES:
        return _VALUES[key](value)
    if isinstance(value, str):
        return _WORDS.get(value) or (_twin_text(value) if _IPV4.fullmatch(value) else value)
    return value


def _twin_key(name: str) -> str:
    return name.replace("world-ipv6", "world-ipv4") if name.startswith("reserved:") else name


def _twin_text(text: str) -> str:
    interface = ip_interface(text)
    address = twin_address(IPv4Address(interface.ip))
    return f"{address}/{96 + interface.network.prefixlen}" if "/" in text else str(address)


def twin_address(address: Any) -> IPv6Address:
    return IPv6Address(PLACE + int(address))


def twin_packet(packet: Packet) -> Packet:
    """The packet between the twins of its ends."""
    protocol = {1: 58, 58: 1}.get(packet.protocol, packet.protocol)
    return replace(packet, own=twin_address(packet.own), peer=twin_address(packet.peer), protocol=protocol)


def _protocol(value: Data) -> Data:
    return _PROTOCOLS.get(value, value)


_VALUES: dict[str, Callable[[Data], Data]] = {
    "protocol": _protocol,
    "notProtocol": _protocol,
    "ipVersion": lambda version: 10 - version,
    "type": lambda value: _TYPES.get(value, value),
}
