"""Rules for replies: a rule in, the rules of the opposite direction that its replies need out; and whether one
rule covers another as written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import collapse_addresses

from bpfence.dialects.calico.model import EntityRule, IcmpFields, Rule
from bpfence.dialects.calico.rules import rule_families
from bpfence.dialects.calico.selectors import side_selectors
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


def covers_rule(wide: Rule, narrow: Rule) -> bool:
    """Whether ``wide`` surely matches every packet that ``narrow`` matches, going by what is written.

    Both stand in global policies.
    """
    return (
        rule_families(narrow) <= rule_families(wide)
        and _covers_protocol(wide, narrow)
        and _covers_icmp(wide, narrow)
        and _covers_side(wide.source, narrow.source)
        and _covers_side(wide.destination, narrow.destination)
    )


def _number(value: int | str | None) -> int | None:
    return None if value is None else read_protocol(value).number


def _covers_protocol(wide: Rule, narrow: Rule) -> bool:
    given, excluded = _number(narrow.protocol), _number(narrow.not_protocol)
    if wide.protocol is not None and _number(wide.protocol) != given:
        return False
    left_out = _number(wide.not_protocol)
    return left_out is None or left_out == excluded or (given is not None and given != left_out)


def _covers_icmp(wide: Rule, narrow: Rule) -> bool:
    if wide.icmp is not None and wide.icmp.type is not None:
        if narrow.icmp is None or narrow.icmp.type != wide.icmp.type:
            return False
        if wide.icmp.code not in (None, narrow.icmp.code):
            return False
    if wide.not_icmp is None or wide.not_icmp.type is None or wide.not_icmp == narrow.not_icmp:
        return True
    other_protocol = narrow.protocol is not None and _number(narrow.protocol) not in ICMP_NUMBERS
    other_type = narrow.icmp is not None and narrow.icmp.type not in (None, wide.not_icmp.type)
    return other_protocol or other_type


def _covers_side(wide: EntityRule, narrow: EntityRule) -> bool:
    return (
        _covers_selectors(wide, narrow)
        and (wide.services is None or wide.services == narrow.services)
        and (not wide.nets or _all_within(_networks(narrow.nets), _networks(wide.nets)))
        and _all_within(_networks(wide.not_nets), _networks(narrow.not_nets), empty=True)
        and _covers_ports(wide.ports, narrow.ports)
        and set(wide.not_ports) <= set(narrow.not_ports)
    )


def _covers_selectors(wide: EntityRule, narrow: EntityRule) -> bool:
    first, second = side_selectors(wide, ""), side_selectors(narrow, "")
    return first.positive in (None, second.positive) and first.negative in (None, second.negative)


def _networks(texts: Iterable[str]) -> list[Network]:
    networks = [read_cidr(text) for text in texts]
    found: list[Network] = []
    found.extend(collapse_addresses(net for net in networks if net.version == 4))
    found.extend(collapse_addresses(net for net in networks if net.version == 6))
    return found


def _all_within(inner: Sequence[Network], outer: Sequence[Network], empty: bool = False) -> bool:
    """Every inner network lies in an outer one. ``empty``: so does the absence of any."""
    if not inner:
        return empty
    return all(
        any(
            net.version == other.version and other.prefixlen <= net.prefixlen and net.network_address in other
            for other in outer
        )
        for net in inner
    )


def _covers_ports(wide: Iterable[int | str], narrow: Sequence[int | str]) -> bool:
    lists = [read_port(port) for port in wide]
    if not lists:
        return True
    if not narrow:
        return False
    return all(any(_port_within(read_port(port), other) for other in lists) for port in narrow)


def _port_within(port: tuple[int, int] | str, other: tuple[int, int] | str) -> bool:
    if isinstance(port, str) or isinstance(other, str):
        return port == other
    return other[0] <= port[0] and port[1] <= other[1]
