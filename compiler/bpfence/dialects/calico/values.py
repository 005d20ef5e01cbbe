"""Calico's small notations: the text or number of a field in, its value out; `BadValueError` when it is none.

Source: ``libcalico-go/lib/validator/v3`` and ``api/pkg/lib/numorstring`` of projectcalico/calico. Patterns are ASCII
and match whole texts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

from bpfence.dialects.label_syntax import port_name_problem
from bpfence.ir.expressions import Network

MAX_PORT = 65535
_DIGITS = re.compile(r"[0-9]+")
_RANGE = re.compile(r"([0-9]+):([0-9]+)")
_CIDR = re.compile(r"([0-9A-Fa-f:.]+)/([0-9]{1,3})")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]+")

PROTOCOLS = {"TCP": 6, "UDP": 17, "ICMP": 1, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}
FAMILY_OF_NAME = {"ICMP": 4, "ICMPv6": 6}
ICMP_NUMBERS = frozenset((1, 58))


class BadValueError(ValueError):
    """What is wrong with a value, in words; ``help`` says what to write."""

    def __init__(self, message: str, help: str = "") -> None:  # noqa: A002 - the diagnostic's word
        super().__init__(message)
        self.message = message
        self.help = help


class MappedAddressError(BadValueError):
    """The value is an IPv4 address written as IPv6."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """``family``: 4 or 6 when the protocol was given by a name that implies it, else None."""

    number: int
    family: int | None = None


def read_protocol(value: int | str) -> Protocol:
    """A number 1-255, also as text, or one of the names."""
    if isinstance(value, str) and value in PROTOCOLS:
        return Protocol(PROTOCOLS[value], FAMILY_OF_NAME.get(value))
    number = _number(value)
    if number is None:
        raise BadValueError(f"{value!r} is no protocol", _protocol_help(str(value)))
    if not 1 <= number <= 255:
        raise BadValueError(f"protocol {value} is not in 1-255")
    return Protocol(number)


def _protocol_help(text: str) -> str:
    for name in PROTOCOLS:
        if name.lower() == text.lower():
            return f"write {name}: upper and lower case matter"
    return f"write {', '.join(PROTOCOLS)} or a number"


def _number(value: int | str) -> int | None:
    """The value of an integer or of a text of digits; a text too long for any field here counts as out of range."""
    if isinstance(value, int):
        return value
    if not _DIGITS.fullmatch(value):
        return None
    significant = value.lstrip("0") or "0"
    return int(significant) if len(significant) <= 9 else 999_999_999


def read_port(value: int | str) -> tuple[int, int] | str:
    """An inclusive range of port numbers, or a port name."""
    number = _number(value)
    if number is not None:
        return _port_range(value, number, number)
    text = str(value)
    if match := _RANGE.fullmatch(text):
        low, high = (_number(part) or 0 for part in match.groups())
        return _port_range(value, low, high)
    if problem := port_name_problem(text):
        raise BadValueError(f"the port {text!r} is no number or range, and as a name it {problem}", _port_help(text))
    return text


def _port_range(value: int | str, low: int, high: int) -> tuple[int, int]:
    if not 1 <= low <= MAX_PORT or not 1 <= high <= MAX_PORT:
        raise BadValueError(f"the port {value!r} is not in 1-{MAX_PORT}")
    if low > high:
        raise BadValueError(f"the port range {value!r} ends before it begins", f'write "{high}:{low}"')
    return low, high


def _port_help(text: str) -> str:
    return 'a range is written with a colon: "80:90"' if re.fullmatch(r"[0-9]+-[0-9]+", text) else ""


def read_cidr(text: str) -> Network:
    """The network of a rule's CIDR: a prefix length is required, bits beyond it must be zero."""
    network = _network(text)
    written = ip_address(text.partition("/")[0])
    if written != network.network_address:
        raise BadValueError(f"{text!r} has bits set beyond its prefix length", f"write {network}")
    return network


def read_set_cidr(text: str) -> Network:
    """The network of a network set's entry: an address, or a CIDR whose host bits are dropped."""
    if not _ADDRESS.fullmatch(text):
        return _network(text)
    try:
        return _unmapped(text, ip_network(ip_address(text)))
    except ValueError as error:
        raise _refused(text, error) from None


def _network(text: str) -> Network:
    if not _CIDR.fullmatch(text):
        problem = "has no prefix length" if _ADDRESS.fullmatch(text) else "is no CIDR"
        raise BadValueError(f"{text!r} {problem}", "write ADDRESS/LENGTH, like 10.0.0.0/8")
    try:
        return _unmapped(text, ip_network(text, strict=False))
    except ValueError as error:
        raise _refused(text, error) from None


def _refused(text: str, error: ValueError) -> BadValueError:
    return error if isinstance(error, BadValueError) else BadValueError(f"{text!r} is no address or network")


def _unmapped(text: str, network: Network) -> Network:
    if isinstance(network, IPv6Network) and _is_mapped(ip_address(text.partition("/")[0]), network):
        help_text = "write the IPv4 network itself"
        raise MappedAddressError(
            f"{text!r} is an IPv4 address in IPv6 notation: it could mean either family", help_text
        )
    return network


def _is_mapped(written: object, network: IPv6Network) -> bool:
    return network.network_address.ipv4_mapped is not None or (
        isinstance(written, IPv6Address) and written.ipv4_mapped is not None
    )
