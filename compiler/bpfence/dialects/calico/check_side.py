"""Checks of a rule's two sides: selectors, services, service accounts, ports and networks."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bpfence.dialects.calico import codes
from bpfence.dialects.calico.check_selector import check_namespace_selector, check_selector
from bpfence.dialects.calico.model import EntityRule, Rule, ServiceMatch
from bpfence.dialects.calico.report import Report
from bpfence.dialects.calico.values import BadValueError, MappedAddressError, Protocol, read_cidr, read_port
from bpfence.dialects.label_syntax import dns_subdomain_problem
from bpfence.flows import PORT_PROTOCOLS
from bpfence.ir.expressions import Network
from bpfence.source.documents import Path

MAX_NETS = 256
MAX_PORTS = 50


def check_side(report: Report, path: Path, entity: EntityRule, namespaced: bool) -> None:
    """Selectors, service accounts and services of one side."""
    check_selector(report, (*path, "selector"), entity.selector)
    check_selector(report, (*path, "notSelector"), entity.not_selector)
    check_namespace_selector(report, (*path, "namespaceSelector"), entity.namespace_selector)
    accounts = entity.service_accounts
    place = (*path, "serviceAccounts")
    check_selector(report, (*place, "selector"), accounts.selector, limit=sys.maxsize)
    for index, name in enumerate(accounts.names):
        report.name_problem(
            codes.SERVICE_ACCOUNT_NAME, (*place, "names", index), name, "service account name", dns_subdomain_problem
        )
    report.repeated((*place, "names"), accounts.names, "service account")
    if entity.services is not None:
        _check_service(report, path, entity, entity.services, namespaced)


def _check_service(report: Report, path: Path, entity: EntityRule, service: ServiceMatch, namespaced: bool) -> None:
    place = (*path, "services")
    report.name_problem(codes.SERVICE_NAME, (*place, "name"), service.name, "service name", dns_subdomain_problem)
    if service.namespace:
        problem = dns_subdomain_problem
        report.name_problem(codes.SERVICE_NAME, (*place, "namespace"), service.namespace, "namespace", problem)
    elif not namespaced:
        message = "services.namespace is required in a GlobalNetworkPolicy"
        report.error(codes.SERVICE_NAME, place, message, "write the namespace of the service")
    for field, given in _beside_services(entity):
        if given:
            report.error(codes.SERVICE_MIXED, (*path, field), f"{field} can't stand beside services", "use two rules")


def _beside_services(entity: EntityRule) -> tuple[tuple[str, bool], ...]:
    return (
        ("selector", bool(entity.selector)),
        ("notSelector", bool(entity.not_selector)),
        ("namespaceSelector", bool(entity.namespace_selector)),
        ("nets", bool(entity.nets)),
        ("notNets", bool(entity.not_nets)),
        ("serviceAccounts", "service_accounts" in entity.model_fields_set),
    )


def check_ports(report: Report, path: Path, rule: Rule, protocol: Protocol | None) -> None:
    """The four port lists against the rule's protocol."""
    for place, ports in _port_lists(path, rule):
        if len(ports) > MAX_PORTS:
            report.error(codes.PORT_COUNT, place, f"{place[-1]} has {len(ports)} entries, the limit is {MAX_PORTS}")
        numeric = [_is_numeric(report, (*place, index), port) for index, port in enumerate(ports)]
        if rule.protocol is None and any(numeric):
            message = "port numbers need a protocol"
            report.error(
                codes.PORT_WITHOUT_PROTOCOL, (*place, numeric.index(True)), message, "write protocol: TCP, UDP or SCTP"
            )
        if ports and protocol is not None and protocol.number not in PORT_PROTOCOLS:
            message = f"protocol {rule.protocol} has no ports"
            report.error(codes.PROTOCOL_WITHOUT_PORTS, place, message, "only TCP, UDP and SCTP have")


def _port_lists(path: Path, rule: Rule) -> Iterator[tuple[Path, tuple[int | str, ...]]]:
    for side, entity in (("source", rule.source), ("destination", rule.destination)):
        yield (*path, side, "ports"), entity.ports
        yield (*path, side, "notPorts"), entity.not_ports


def _is_numeric(report: Report, path: Path, port: int | str) -> bool:
    try:
        return not isinstance(read_port(port), str)
    except BadValueError as problem:
        report.error(codes.PORT, path, problem.message, problem.help)
        return False


def check_nets(report: Report, path: Path, rule: Rule) -> None:
    """The four net lists: each by itself, then their families together."""
    first: Network | None = None
    for place, texts in _net_lists(path, rule):
        if len(texts) > MAX_NETS:
            report.error(codes.CIDR_COUNT, place, f"{place[-1]} has {len(texts)} entries, the limit is {MAX_NETS}")
        report.repeated(place, texts, "network")
        for index, text in enumerate(texts):
            network = _read_net(report, (*place, index), text)
            if network is not None:
                first = first or network
                _check_family(report, (*place, index), rule, network, first)


def _net_lists(path: Path, rule: Rule) -> Iterator[tuple[Path, tuple[str, ...]]]:
    for side, entity in (("source", rule.source), ("destination", rule.destination)):
        yield (*path, side, "nets"), entity.nets
        yield (*path, side, "notNets"), entity.not_nets


def _read_net(report: Report, path: Path, text: str) -> Network | None:
    try:
        network = read_cidr(text)
    except BadValueError as problem:
        code = codes.CIDR_MAPPED if isinstance(problem, MappedAddressError) else codes.CIDR
        report.error(code, path, problem.message, problem.help)
        return None
    if network.prefixlen == 0 and path[-2] == "notNets":
        report.error(codes.EXCLUDES_EVERYTHING, path, f"notNets {text} excludes every address", "remove the rule")
    return network


def _check_family(report: Report, path: Path, rule: Rule, network: Network, first: Network) -> None:
    if rule.ip_version in (4, 6) and network.version != rule.ip_version:
        report.error(codes.IP_VERSION_CONFLICT, path, f"{network} is not of ipVersion {rule.ip_version}")
    elif network.version != first.version:
        message = f"a rule can't have both IPv4 and IPv6 networks ({first} and {network})"
        report.error(codes.CIDR_FAMILIES, path, message, "write one rule for each family")
