"""A question about one flow: the words of a batch line or of the command's options, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bpfence.errors import UsageError
from bpfence.flows import ICMP_PROTOCOLS, PORT_PROTOCOLS, PROTOCOL_NUMBERS

EPHEMERAL_PORT = 40000
"""the source port of a question that names none"""


@dataclass(frozen=True, slots=True)
class Query:
    """A question, its numbers checked.

    ``interface``: the host interface that outside traffic uses; ``out_interface``: by which a node passes on what is
    between two outside addresses. ``fqdn``: the name under which the source has learnt the destination.
    ``original_destination``, ``original_port``: what was on the wire before translation; empty and None = the same.
    """

    source: str
    destination: str
    protocol: int
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    family: int | None = None
    interface: str = ""
    out_interface: str = ""
    fqdn: str = ""
    original_destination: str = ""
    original_port: int | None = None

    @property
    def implied_family(self) -> int | None:
        """The family asked for, or the one the protocol belongs to."""
        return self.family if self.family is not None else {1: 4, 58: 6}.get(self.protocol)


def make_query(values: Mapping[str, object]) -> Query:
    """A question from the keys of a batch line or the options of the command. UsageError naming what is wrong."""
    protocol = parse_protocol(values.get("protocol"))
    ports = protocol in PORT_PROTOCOLS
    icmp = protocol in ICMP_PROTOCOLS
    destination_port = _number(values, "dst_port", 65535)
    if ports and destination_port is None:
        raise UsageError(f"protocol {values.get('protocol')} needs a destination port (dst_port)")
    icmp_type = _number(values, "icmp_type", 255)
    if icmp and icmp_type is None:
        icmp_type = 8 if protocol == 1 else 128
    icmp_code = _number(values, "icmp_code", 255)
    fqdn = _optional(values, "fqdn").lower().rstrip(".")
    return Query(
        _text(values, "src"),
        _optional(values, "dst") or fqdn or _text(values, "dst"),
        protocol,
        _number(values, "src_port", 65535),
        destination_port,
        icmp_type if icmp else None,
        (0 if icmp_code is None else icmp_code) if icmp else None,
        _family(values.get("family")),
        _optional(values, "interface"),
        _optional(values, "out_interface"),
        fqdn,
        _optional(values, "original_dst"),
        _number(values, "original_dst_port", 65535),
    )


def parse_protocol(value: object) -> int:
    """``TCP``, ``icmpv6``, a number 0-255 or its text."""
    if isinstance(value, str) and value.upper() in PROTOCOL_NUMBERS:
        return PROTOCOL_NUMBERS[value.upper()]
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if text.isascii() and text.isdigit() and int(text) <= 255:
        return int(text)
    raise UsageError(f"protocol {value!r}: give TCP, UDP, SCTP, ICMP, ICMPv6 or a number 0-255")


def _family(value: object) -> int | None:
    if value is None:
        return None
    if str(value) in ("4", "6"):
        return int(str(value))
    raise UsageError(f"family {value!r}: give 4 or 6")


def _text(values: Mapping[str, object], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{key} is missing")
    return value


def _optional(values: Mapping[str, object], key: str) -> str:
    value = values.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UsageError(f"{key} must be a text, not {value!r}")
    return value


def _number(values: Mapping[str, object], key: str, most: int) -> int | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise UsageError(f"{key} must be a number from 0 to {most}, not {value!r}")
    return value
