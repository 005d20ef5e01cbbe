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


def port_cases(entity: EntityRule, side: Side, protocols: frozenset[int], context: Context) -> tuple[PortCase, ...]:
    """The alternatives of a side's port lists; ``protocols``: those with ports that the rule can match."""
    if not entity.ports and not entity.not_ports:
        return (PortCase(),)
    lists = _read_lists(entity)
    not_named = _named(lists.not_names, side, protocols)
    excluded = tuple(_init_ports(lists.not_names, protocols, context))
    cases = list(_positive_cases(lists, bool(entity.ports), side, protocols, context, by_number=bool(excluded)))
    cases = [replace(case, not_named=not_named) for case in cases]
    for port in excluded:
        cases = [part for case in cases for part in _without(case, port)]
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
    lists: PortLists, given: bool, side: Side, protocols: frozenset[int], context: Context, by_number: bool
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
        yield from _numbered_names(lists, protocols, context)
    for port in _init_ports(lists.names, protocols, context):
        if not _holds(lists.not_numbers, port.number):
            yield PortCase(_pod_of(port), frozenset((port.protocol,)), ((port.number, port.number),))


def _numbered_names(lists: PortLists, protocols: frozenset[int], context: Context) -> Iterator[PortCase]:
    """The names as the numbers that they have in the cluster, for those numbers that ``notPorts`` leaves."""
    pods = (
        (port.name, port.protocol, port.number)
        for pod in context.inventory.pods
        for port in pod.ports
        if not port.init or port.restartable
    )
    hosts = (port for endpoint in context.hosts for port in endpoint.ports)
    known = {port for port in chain(pods, hosts) if port[0] in lists.names and port[1] in protocols}
    for name, protocol, number in sorted(known):
        if not _holds(lists.not_numbers, number):
            key = f"port:{_PROTOCOL_WORDS[protocol]}:{name}:{number}"
            where = HasObject(LabelTest((key,), LabelOperator.EXISTS))
            yield PortCase(where, frozenset((protocol,)), ((number, number),))


def _init_ports(names: Iterable[str], protocols: frozenset[int], context: Context) -> Iterator[InitPort]:
    wanted = frozenset(names)
    return (port for port in context.init_ports if port.name in wanted and port.protocol in protocols)


def _pod_of(port: InitPort) -> PeerExpr:
    namespace = LabelTest(("meta:namespace",), LabelOperator.IN, (port.namespace,))
    name = LabelTest(("meta:name",), LabelOperator.IN, (port.pod,))
    return HasObject(all_labels(kind_is("pod"), namespace, name))


def _without(case: PortCase, port: InitPort) -> Iterator[PortCase]:
    """The case minus one port of one pod: elsewhere, the pod with other protocols, the pod with other ports."""
    if case.protocols is None or port.protocol not in case.protocols:
        yield case
        return
    there = _pod_of(port)
    yield replace(case, where=all_peers(case.where, PeerNot(there)))
    others = case.protocols - {port.protocol}
    if others:
        yield replace(case, where=all_peers(case.where, there), protocols=others)
    rest = _subtract(case.ports or (), ((port.number, port.number),))
    yield replace(case, where=all_peers(case.where, there), protocols=frozenset((port.protocol,)), ports=rest)


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
