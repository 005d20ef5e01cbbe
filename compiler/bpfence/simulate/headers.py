"""A frame's bytes -> what a policy can be asked about, or why it can't be read.

Written from the formats (RFC 791, 8200, 9293, 768, 9260, 792, 4443, IEEE 802.1Q), not from the programs. Whatever lies
beyond the IP length is no part of the packet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

Address = IPv4Address | IPv6Address
Problem = Literal["not-ip", "malformed"]
"""names of `REASONS`"""

ETHERNET = 14
IPV4, IPV6 = 0x0800, 0x86DD
VLAN_TAGS = frozenset((0x8100, 0x88A8))
MOST_TAGS = 2
TCP, UDP, SCTP = 6, 17, 132
ICMP_OF = {4: 1, 6: 58}
LEAST = {TCP: 20, UDP: 8, SCTP: 12}
"""bytes of a header that must be there, by protocol"""
LEAST_ICMP = 8
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
EXTENSIONS = frozenset((HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION))
MOST_EXTENSIONS = 8
IPV6_HEADER = 40
FRAGMENT_HEADER = 8
SOURCE_ROUTES = frozenset((131, 137))
TCP_FLAGS_AT = 13


@dataclass(frozen=True, slots=True)
class Fragment:
    """``offset``: bytes; 0 = the first fragment, whose headers reach ``headers`` bytes into the datagram's fragmented
    part. With IPv6 the extension headers before the fragment header are counted in.
    """

    identification: int
    offset: int
    headers: int = 0


@dataclass(frozen=True, slots=True)
class Headers:
    """What a packet says. Ports and ICMP fields are None where the protocol has none, and in later fragments.

    ``protocol`` of a later IPv6 fragment is that of the first extension header. ``identifier``: of an ICMP message.
    """

    source: Address
    destination: Address
    protocol: int
    hop_limit: int
    fragment: Fragment | None = None
    source_port: int | None = None
    destination_port: int | None = None
    tcp_flags: int = 0
    icmp_type: int | None = None
    icmp_code: int | None = None
    identifier: int = 0

    @property
    def version(self) -> int:
        return self.source.version

    @property
    def is_later_fragment(self) -> bool:
        return self.fragment is not None and self.fragment.offset > 0


class _MalformedError(Exception):
    pass


def read_frame(frame: bytes, *, segmented: bool = False) -> Headers | Problem:
    """What an Ethernet frame has to say. Tags in the frame alone: one that the kernel took out is not there.
    ``segmented``: it may stand for several packets, so an IP length of zero means all that is there.
    """
    try:
        kind, at = _behind_tags(frame)
        if kind == IPV4:
            return _read_ipv4(frame[at:], segmented)
        return _read_ipv6(frame[at:], segmented) if kind == IPV6 else "not-ip"
    except _MalformedError:
        return "malformed"


def _behind_tags(frame: bytes) -> tuple[int, int]:
    """(ethertype, where its payload begins)."""
    _demand(len(frame) >= ETHERNET)
    kind, at = _number(frame, 12, 2), ETHERNET
    for _ in range(MOST_TAGS):
        if kind not in VLAN_TAGS:
            break
        _demand(len(frame) >= at + 4)
        kind, at = _number(frame, at + 2, 2), at + 4
    _demand(kind not in VLAN_TAGS)
    return kind, at


def _read_ipv4(data: bytes, segmented: bool) -> Headers:
    _demand(len(data) >= 20 and data[0] >> 4 == 4)
    header, total = (data[0] & 15) * 4, _number(data, 2, 2)
    total = len(data) if segmented and not total else total
    _demand(20 <= header <= total <= len(data))
    _check_options(data[20:header])
    found = Headers(IPv4Address(data[12:16]), IPv4Address(data[16:20]), data[9], data[8])
    payload = data[header:total]
    field = _number(data, 6, 2)
    more, offset = bool(field & 0x2000), (field & 0x1FFF) * 8
    if not more and not offset:
        return _read_transport(found, payload)
    fragment = Fragment(_number(data, 4, 2), offset, _least(4, data[9]))
    if not offset:
        return _read_transport(replace(found, fragment=fragment), payload)
    _demand(data[9] != TCP or not offset <= TCP_FLAGS_AT < offset + 8)
    return replace(found, fragment=replace(fragment, headers=0))


def _check_options(options: bytes) -> None:
    """Lengths that fit, and no source route that leads on."""
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == 0:
            return
        if kind == 1:
            at += 1
            continue
        _demand(at + 1 < len(options))
        length = options[at + 1]
        _demand(2 <= length <= len(options) - at)
        if kind in SOURCE_ROUTES:
            _demand(length >= 3 and options[at + 2] > length)
        at += length


def _read_ipv6(data: bytes, segmented: bool) -> Headers:
    _demand(len(data) >= IPV6_HEADER and data[0] >> 4 == 6)
    length = _number(data, 4, 2)
    end = len(data) if segmented and not length else IPV6_HEADER + length
    _demand(end <= len(data))
    found = Headers(IPv6Address(data[8:24]), IPv6Address(data[24:40]), data[6], data[7])
    return _read_chain(found, data[IPV6_HEADER:end])


def _read_chain(found: Headers, data: bytes) -> Headers:
    """Through the extension headers. ``data``: behind the fixed header."""
    following, at = found.protocol, 0
    kinds: list[int] = []
    fragment = None
    while following in EXTENSIONS:
        _demand(len(kinds) < MOST_EXTENSIONS and at + 8 <= len(data))
        if following == FRAGMENT:
            _demand(FRAGMENT not in kinds)
            field, identification = _number(data, at + 2, 2), _number(data, at + 4, 4)
            if field & 0xFFF8:
                return replace(found, fragment=Fragment(identification, field & 0xFFF8))
            fragment = Fragment(identification, 0) if field & 1 else None
        _demand(following != ROUTING or data[at + 3] == 0)
        kinds.append(following)
        following, at = data[at], at + _extension_length(following, data[at + 1])
    _demand(at <= len(data))
    if fragment is not None:
        fragment = replace(fragment, headers=at - FRAGMENT_HEADER + _least(6, following))
    return _read_transport(replace(found, protocol=following, fragment=fragment), data[at:])


def _extension_length(kind: int, units: int) -> int:
    if kind == FRAGMENT:
        return FRAGMENT_HEADER
    return (units + 2) * 4 if kind == AUTHENTICATION else (units + 1) * 8


def _read_transport(found: Headers, data: bytes) -> Headers:
    _demand(len(data) >= _least(found.version, found.protocol))
    if found.protocol in LEAST:
        flags = data[TCP_FLAGS_AT] if found.protocol == TCP else 0
        source, destination = _number(data, 0, 2), _number(data, 2, 2)
        return replace(found, source_port=source, destination_port=destination, tcp_flags=flags)
    if found.protocol == ICMP_OF[found.version]:
        return replace(found, icmp_type=data[0], icmp_code=data[1], identifier=_number(data, 4, 2))
    return found


def _least(version: int, protocol: int) -> int:
    """Bytes that the protocol's header must have."""
    return LEAST_ICMP if protocol == ICMP_OF[version] else LEAST.get(protocol, 0)


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _demand(holds: bool) -> None:
    if not holds:
        raise _MalformedError
