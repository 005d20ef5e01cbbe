"""One side's ports and services: lists of numbers, ranges and names in; alternatives of address and port out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_network
from itertools import chain

from bpfence.dialects.calico.context import Context, InitPort
from bpfence.dialects.calico.model import EntityRule, ServiceMatch
from bpfence.dialects.calico.peers import in_networks
from bpfence.dialects.calico.values import read_port
from bpfence.flows import PORT_PROTOCOLS
from bpfence.identity.inventory import EndpointsEntry
from bpfence.ir.expressions import (
    ANYONE,
    HasObject,
    LabelExpr,
    LabelOperator,
    LabelTest,
    PeerExpr,
    PeerNot,
    all_labels,
    all_peers,
    kind_is,
)
from bpfence.ir.nodes import NamedPort, Ranges, Side
from bpfence.ir.ranges import PORTS, complement, normalise

_PROTOCOL_WORDS = {6: "TCP", 17: "UDP", 132: "SCTP"}


@dataclass(frozen=True, slots=True)
class PortCase:
    """One alternative: the side's address satisfies ``where``, the protocol is one of ``protocols`` (None: any),
    the port is in ``ports`` (None: no criterion) or leads to one of ``named``, and to none of ``not_named``.
    """

    where: PeerExpr = ANYONE
    protocols: frozenset[int] | None = None
    ports: Ranges | None = None
    named: tuple[NamedPort, ...] = ()
    not_named: tuple[NamedPort, ...] = ()


@dataclass(frozen=True, slots=True)
class PortLists:
    """A side's ``ports`` and ``notPorts``, read: numbers and names apart."""

    numbers: Ranges
    names: tuple[str, ...]
    not_numbers: Ranges
    not_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One port of the objects that ``there`` describes."""

    there: PeerExpr
    protocol: int
    number: int


def port_cases(
    entity: EntityRule, side: Side, protocols: frozenset[int], context: Context, holders: LabelExpr | None = None
) -> tuple[PortCase, ...]:
    """The alternatives of a side's port lists; ``protocols``: those with ports that the rule can match.

    ``holders``: whose port names count; None: those of whoever has the address, which has to be no one else then.
    """
    if not entity.ports and not entity.not_ports:
        return (PortCase(),)
    lists = _read_lists(entity)
    excluded = list(_init_exclusions(lists.not_names, protocols, context, holders))
    not_named: tuple[NamedPort, ...] = ()
    if holders is None:
        not_named = _named(lists.not_names, side, protocols)
    else:
        excluded += [
            Exclusion(_with_port(holders, port), port[1], port[2])
            for port in _known_ports(lists.not_names, protocols, context)
        ]
    by_number = bool(excluded) or holders is not None
    cases = list(_positive_cases(lists, bool(entity.ports), side, protocols, context, holders, by_number=by_number))
    cases = [replace(case, not_named=not_named) for case in cases]
    if excluded:
        cases = [part for case in cases for part in _without(case, excluded)]
    return tuple(case for case in cases if case.ports != ())


def _read_lists(entity: EntityRule) -> PortLists:
    ports = [read_port(port) for port in entity.ports]
    excluded = [read_port(port) for port in entity.not_ports]
    return PortLists(_numbers(ports), _names(ports), _numbers(excluded), _names(excluded))


def _numbers(ports: Iterable[tuple[int, int] | str]) -> Ranges:
    return normalise(port for port in ports if not isinstance(port, str))


def _names(ports: Iterable[tuple[int, int] | str]) -> tuple[str, ...]:
    return tuple(sorted({port for port in ports if isinstance(port, str)}))


def _named(names: Iterable[str], side: Side, protocols: frozenset[int]) -> tuple[NamedPort, ...]:
    return tuple(NamedPort(name, protocol, side) for name in names for protocol in sorted(protocols))


def _positive_cases(
    lists: PortLists,
    given: bool,
    side: Side,
    protocols: frozenset[int],
    context: Context,
    holders: LabelExpr | None,
    by_number: bool,
) -> Iterator[PortCase]:
    """What ``ports`` without the numbers in ``notPorts`` admits.

    A name beside excluded numbers (or ``by_number``) has to be taken apart into its numbers; else it stays a name.
    """
    if not given:
        yield PortCase(protocols=protocols, ports=complement(lists.not_numbers, PORTS))
        return
    numbers = _subtract(lists.numbers, lists.not_numbers)
    if not lists.not_numbers and not by_number:
        named = _named(lists.names, side, protocols)
        yield PortCase(protocols=protocols, ports=numbers or None, named=named)
    else:
        yield PortCase(protocols=protocols, ports=numbers)
        for port in _known_ports(lists.names, protocols, context):
            if not _holds(lists.not_numbers, port[2]):
                yield PortCase(_with_port(holders, port), frozenset((port[1],)), ((port[2], port[2]),))
    for found in _init_exclusions(lists.names, protocols, context, holders):
        if not _holds(lists.not_numbers, found.number):
            yield PortCase(found.there, frozenset((found.protocol,)), ((found.number, found.number),))


def _known_ports(names: Iterable[str], protocols: frozenset[int], context: Context) -> list[tuple[str, int, int]]:
    """The names with the numbers that they have in the cluster."""
    wanted = frozenset(names)
    pods = (
        (port.name, port.protocol, port.number)
        for pod in context.inventory.pods
        for port in pod.ports
        if not port.init or port.restartable
    )
    hosts = (port for endpoint in context.hosts for port in endpoint.ports)
    return sorted({port for port in chain(pods, hosts) if port[0] in wanted and port[1] in protocols})


def _with_port(holders: LabelExpr | None, port: tuple[str, int, int]) -> PeerExpr:
    """An object that has the port, and is one of the holders."""
    name, protocol, number = port
    has_port = LabelTest((f"port:{_PROTOCOL_WORDS[protocol]}:{name}:{number}",), LabelOperator.EXISTS)
    return HasObject(has_port if holders is None else all_labels(holders, has_port))


def _init_exclusions(
    names: Iterable[str], protocols: frozenset[int], context: Context, holders: LabelExpr | None
) -> Iterator[Exclusion]:
    """Ports of these names that only init containers have."""
    wanted = frozenset(names)
    for port in context.init_ports:
        if port.name in wanted and port.protocol in protocols:
            yield Exclusion(_pod_of(port, holders), port.protocol, port.number)


def _pod_of(port: InitPort, holders: LabelExpr | None) -> PeerExpr:
    namespace = LabelTest(("meta:namespace",), LabelOperator.IN, (port.namespace,))
    name = LabelTest(("meta:name",), LabelOperator.IN, (port.pod,))
    others = () if holders is None else (holders,)
    return HasObject(all_labels(kind_is("pod"), namespace, name, *others))


def _without(case: PortCase, excluded: Iterable[Exclusion]) -> Iterator[PortCase]:
    """The case minus ports of some objects: every other port, and each of these ports elsewhere."""
    there: dict[tuple[int, int], list[PeerExpr]] = {}
    for item in excluded:
        if case.protocols is not None and item.protocol in case.protocols and _holds(case.ports or (), item.number):
            there.setdefault((item.protocol, item.number), []).append(item.there)
    concerned = {protocol for protocol, _ in there}
    if (case.protocols or frozenset()) - concerned or case.protocols is None:
        yield replace(case, protocols=None if case.protocols is None else case.protocols - concerned)
    for protocol in sorted(concerned):
        taken = tuple((number, number) for found, number in sorted(there) if found == protocol)
        yield replace(case, protocols=frozenset((protocol,)), ports=_subtract(case.ports or (), taken))
    for (protocol, number), places in sorted(there.items()):
        elsewhere = all_peers(case.where, *(PeerNot(place) for place in places))
        yield replace(case, where=elsewhere, protocols=frozenset((protocol,)), ports=((number, number),))


def _subtract(ranges: Ranges, excluded: Ranges) -> Ranges:
    return complement((*complement(ranges, PORTS), *excluded), PORTS)


def _holds(ranges: Ranges, number: int) -> bool:
    return any(low <= number <= high for low, high in ranges)


def service_entries(service: ServiceMatch, namespace: str, context: Context) -> tuple[EndpointsEntry, ...]:
    """Every endpoint of the service, ready or not."""
    where = (service.namespace or namespace, service.name)
    return tuple(entry for entry in context.inventory.endpoints if (entry.namespace, entry.service) == where)


def service_addresses(service: ServiceMatch, namespace: str, context: Context) -> PeerExpr:
    """The addresses of the service's endpoints: what a service as a source means."""
    return in_networks(ip_network(entry.address) for entry in service_entries(service, namespace, context))


def service_cases(service: ServiceMatch, namespace: str, context: Context) -> tuple[PortCase, ...]:
    """Address, protocol and port of the service's endpoints: what a service as a destination means."""
    members: dict[tuple[int, int], list[EndpointsEntry]] = {}
    for entry in service_entries(service, namespace, context):
        for _, protocol, number in entry.ports:
            if protocol in PORT_PROTOCOLS:
                members.setdefault((protocol, number), []).append(entry)
    return tuple(
        PortCase(
            in_networks(ip_network(entry.address) for entry in entries), frozenset((protocol,)), ((number, number),)
        )
        for (protocol, number), entries in sorted(members.items())
    )
