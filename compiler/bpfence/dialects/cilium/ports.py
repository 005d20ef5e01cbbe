"""Ports and ICMP types: the written forms in, meanings and IR matches out.

Upstream: ``pkg/policy/api/{l4,icmp}.go``, ``pkg/iana/svcname.go``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bpfence.dialects.cilium.model import IcmpField, PortProtocol
from bpfence.flows import PROTOCOL_NUMBERS
from bpfence.ir.nodes import L4Match, NamedPort, Ranges
from bpfence.ir.ranges import normalise

MAX_PORT = 65535
TRANSPORTS = {"TCP": 6, "UDP": 17, "SCTP": 132}
EXTENDED = {"VRRP": 112, "IGMP": 2, "GRE": 47, "IPIP": 4, "IPV6": 41, "ESP": 50, "AH": 51}
ANY = "ANY"
ICMP_NAMES = frozenset(("ICMP", "ICMPV6"))

_SERVICE_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9](?:-?[A-Za-z0-9])*\Z")
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]*)\Z")
_OTHER_NUMBER = re.compile(r"(?:0[xX].*|0[bB][01_]+|0[oO][0-7_]+|0[0-9_]+|[0-9]+(?:_[0-9]+)+)\Z", re.DOTALL)

ICMP4_TYPES = {
    "EchoReply": 0,
    "DestinationUnreachable": 3,
    "Redirect": 5,
    "Echo": 8,
    "EchoRequest": 8,
    "RouterAdvertisement": 9,
    "RouterSelection": 10,
    "TimeExceeded": 11,
    "ParameterProblem": 12,
    "Timestamp": 13,
    "TimestampReply": 14,
    "Photuris": 40,
    "ExtendedEchoRequest": 42,
    "ExtendedEchoReply": 43,
}
ICMP6_TYPES = {
    "DestinationUnreachable": 1,
    "PacketTooBig": 2,
    "TimeExceeded": 3,
    "ParameterProblem": 4,
    "EchoRequest": 128,
    "EchoReply": 129,
    "MulticastListenerQuery": 130,
    "MulticastListenerReport": 131,
    "MulticastListenerDone": 132,
    "RouterSolicitation": 133,
    "RouterAdvertisement": 134,
    "NeighborSolicitation": 135,
    "NeighborAdvertisement": 136,
    "RedirectMessage": 137,
    "RouterRenumbering": 138,
    "ICMPNodeInformationQuery": 139,
    "ICMPNodeInformationResponse": 140,
    "InverseNeighborDiscoverySolicitation": 141,
    "InverseNeighborDiscoveryAdvertisement": 142,
    "HomeAgentAddressDiscoveryRequest": 144,
    "HomeAgentAddressDiscoveryReply": 145,
    "MobilePrefixSolicitation": 146,
    "MobilePrefixAdvertisement": 147,
    "DuplicateAddressRequestCodeSuffix": 157,
    "DuplicateAddressConfirmationCodeSuffix": 158,
    "ExtendedEchoRequest": 160,
    "ExtendedEchoReply": 161,
}
ICMP_FAMILIES = {"IPv4": ICMP4_TYPES, "IPv6": ICMP6_TYPES}
_ICMP_PROTOCOL = {"IPv4": PROTOCOL_NUMBERS["ICMP"], "IPv6": PROTOCOL_NUMBERS["ICMPV6"]}


@dataclass(frozen=True, slots=True)
class PortNumber:
    """A plain decimal number; 0 is the wildcard."""

    number: int


@dataclass(frozen=True, slots=True)
class PortName:
    """A container port name, in lower case."""

    name: str


@dataclass(frozen=True, slots=True)
class BadPort:
    """``ambiguous``: a spelling that readers take for different ports."""

    ambiguous: bool
    problem: str


def parse_port(text: str) -> PortNumber | PortName | BadPort:
    """What a non-empty ``port`` means: a service name if it is one, else a plain decimal number."""
    if _OTHER_NUMBER.match(text):
        return BadPort(True, "is ambiguous: it reads as a number in another base, or as a name")
    if len(text) <= 15 and _SERVICE_NAME.match(text):
        return PortName(text.lower())
    if not _DECIMAL.match(text):
        return BadPort(False, "is neither a port number nor a port name")
    if len(text) > 5 or int(text) > MAX_PORT:
        return BadPort(False, f"is above {MAX_PORT}")
    return PortNumber(int(text))


def protocol_word(port: PortProtocol) -> str:
    """The protocol in upper case; missing or empty is ANY."""
    return (port.protocol or ANY).upper()


def transport_numbers(word: str) -> tuple[int, ...]:
    """The protocols that have ports: one, or all of them for ANY."""
    return tuple(TRANSPORTS.values()) if word == ANY else (TRANSPORTS[word],)


def lower_port(port: PortProtocol) -> L4Match:
    """One entry of ``ports`` that passed the checks."""
    word = protocol_word(port)
    if word in EXTENDED:
        return L4Match(protocols=((EXTENDED[word], EXTENDED[word]),))
    match parse_port(port.port or ""):
        case PortName(name):
            return _lower_name(name, word)
        case PortNumber(0):
            return L4Match() if word == ANY else L4Match(protocols=_single_protocols(word))
        case PortNumber(number):
            last = port.end_port or number
            return L4Match(protocols=_single_protocols(word), destination_ports=((number, last),))
        case BadPort(problem=problem):
            raise ValueError(f"port {port.port!r} {problem}")


def _lower_name(name: str, word: str) -> L4Match:
    named = tuple(NamedPort(name, number, "destination") for number in transport_numbers(word))
    return L4Match(protocols=_single_protocols(word), named_ports=named)


def _single_protocols(word: str) -> Ranges:
    return normalise((number, number) for number in transport_numbers(word))


def icmp_type(field: IcmpField) -> int | None:
    """The number of an ICMP type, or None when the family has no such type (or there is no such family)."""
    names = ICMP_FAMILIES.get(field.family or "IPv4")
    if names is None:
        return None
    if isinstance(field.type, int):
        return field.type if 0 <= field.type <= 255 else None
    if _DECIMAL.match(field.type):
        return int(field.type) if len(field.type) <= 3 and int(field.type) <= 255 else None
    return names.get(field.type)


def lower_icmp(field: IcmpField) -> L4Match:
    """One ICMP field that passed the checks: the type with every code."""
    number = icmp_type(field)
    if number is None:
        raise ValueError(f"{field.type!r} is no ICMP type")
    protocol = _ICMP_PROTOCOL[field.family or "IPv4"]
    return L4Match(protocols=((protocol, protocol),), icmp_types=((number, number),))
