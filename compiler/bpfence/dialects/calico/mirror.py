"""Rules for replies: a rule in, the rules of the opposite direction that its replies need out; and whether one
rule covers another as written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import collapse_addresses

from bpfence.dialects.calico.model import EntityRule, IcmpFields, Rule, ServiceMatch
from bpfence.dialects.calico.rules import rule_families
from bpfence.dialects.calico.selectors import SideSelectors, side_selectors
from bpfence.dialects.calico.values import ICMP_NUMBERS, read_cidr, read_port, read_protocol
from bpfence.ir.expressions import Network

_ANSWERS = {8: 0, 13: 14, 15: 16, 17: 18, 128: 129}
"""ICMP and ICMPv6 requests that are answered, with the type of the answer."""


def mirrored(rule: Rule) -> Iterator[Rule]:
    """What the replies need, one rule per listed network and port; nothing for ICMP messages without an answer."""
    icmp = rule.icmp
    if icmp is not None and icmp.type is not None:
        if icmp.type not in _ANSWERS:
            return
        icmp = IcmpFields(type=_ANSWERS[icmp.type])
    for source in _parts(rule.source):
        for destination in _parts(rule.destination):
            yield rule.model_copy(update={"source": destination, "destination": source, "icmp": icmp})


def _parts(entity: EntityRule) -> Iterator[EntityRule]:
    for net in entity.nets or (None,):
        for port in entity.ports or (None,):
            nets = () if net is None else (net,)
            ports = () if port is None else (port,)
            yield entity.model_copy(update={"nets": nets, "ports": ports})


Range = tuple[int, int] | str


@dataclass(frozen=True, slots=True)
class Networks:
    """Networks without overlap. ``lengths``: the prefix lengths among them, per family."""

    listed: tuple[Network, ...]
    known: frozenset[Network]
    lengths: frozenset[tuple[int, int]]

    def hold(self, net: Network) -> bool:
        """Whether one of them contains the whole network."""
        lengths = (length for version, length in self.lengths if version == net.version and length <= net.prefixlen)
        return any(net.supernet(new_prefix=length) in self.known for length in lengths)


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a rule, read once."""

    selectors: SideSelectors
    services: ServiceMatch | None
    nets: Networks
    not_nets: Networks
    ports: tuple[Range, ...]
    not_ports: frozenset[int | str]


@dataclass(frozen=True, slots=True)
class ReadRule:
    """A rule of a global policy, read once so that it can be compared with many."""

    families: frozenset[int]
    protocol: int | None
    not_protocol: int | None
    icmp: IcmpFields | None
    not_icmp: IcmpFields | None
    source: Side
    destination: Side


def read_rule(rule: Rule) -> ReadRule:
    """What `covers` compares."""
    return ReadRule(
        frozenset(rule_families(rule)),
        _number(rule.protocol),
        _number(rule.not_protocol),
        rule.icmp,
        rule.not_icmp,
        _read_side(rule.source),
        _read_side(rule.destination),
    )


def covers_rule(wide: Rule, narrow: Rule) -> bool:
    """As `covers`, of rules that are not compared with others."""
    return covers(read_rule(wide), read_rule(narrow))


def covers(wide: ReadRule, narrow: ReadRule) -> bool:
    """Whether ``wide`` surely matches every packet that ``narrow`` matches, going by what is written.

    Both stand in global policies.
    """
    return (
        _covers_protocol(wide, narrow)
        and narrow.families <= wide.families
        and _covers_icmp(wide, narrow)
        and _covers_side(wide.source, narrow.source)
        and _covers_side(wide.destination, narrow.destination)
    )


def _read_side(entity: EntityRule) -> Side:
    return Side(
        side_selectors(entity, ""),
        entity.services,
        _networks(tuple(entity.nets)),
        _networks(tuple(entity.not_nets)),
        tuple(read_port(port) for port in entity.ports),
        frozenset(entity.not_ports),
    )


def _number(value: int | str | None) -> int | None:
    return None if value is None else read_protocol(value).number


def _covers_protocol(wide: ReadRule, narrow: ReadRule) -> bool:
    given = narrow.protocol
    if wide.protocol is not None and wide.protocol != given:
        return False
    left_out = wide.not_protocol
    return left_out is None or left_out == narrow.not_protocol or (given is not None and given != left_out)


def _covers_icmp(wide: ReadRule, narrow: ReadRule) -> bool:
    if wide.icmp is not None and wide.icmp.type is not None:
        if narrow.icmp is None or narrow.icmp.type != wide.icmp.type:
            return False
        if wide.icmp.code not in (None, narrow.icmp.code):
            return False
    if wide.not_icmp is None or wide.not_icmp.type is None or wide.not_icmp == narrow.not_icmp:
        return True
    other_protocol = narrow.protocol is not None and narrow.protocol not in ICMP_NUMBERS
    other_type = narrow.icmp is not None and narrow.icmp.type not in (None, wide.not_icmp.type)
    return other_protocol or other_type


def _covers_side(wide: Side, narrow: Side) -> bool:
    return (
        wide.selectors.positive in (None, narrow.selectors.positive)
        and wide.selectors.negative in (None, narrow.selectors.negative)
        and (wide.services is None or wide.services == narrow.services)
        and _covers_ports(wide.ports, narrow.ports)
        and wide.not_ports <= narrow.not_ports
        and (not wide.nets.listed or (bool(narrow.nets.listed) and all(map(wide.nets.hold, narrow.nets.listed))))
        and all(map(narrow.not_nets.hold, wide.not_nets.listed))
    )


@lru_cache(maxsize=1 << 14)
def _networks(texts: tuple[str, ...]) -> Networks:
    networks = [read_cidr(text) for text in texts]
    found: list[Network] = []
    found.extend(collapse_addresses(net for net in networks if net.version == 4))
    found.extend(collapse_addresses(net for net in networks if net.version == 6))
    return Networks(tuple(found), frozenset(found), frozenset((net.version, net.prefixlen) for net in found))


def _covers_ports(wide: Sequence[Range], narrow: Sequence[Range]) -> bool:
    if not wide:
        return True
    if not narrow:
        return False
    return all(any(_port_within(port, other) for other in wide) for port in narrow)


def _port_within(port: Range, other: Range) -> bool:
    if isinstance(port, str) or isinstance(other, str):
        return port == other
    return other[0] <= port[0] and port[1] <= other[1]
