"""``protocols`` of v1alpha2 and ``ports`` of v1alpha1: what their CRDs refuse."""

from __future__ import annotations

from bpfence.dialects.kubernetes import codes
from bpfence.dialects.kubernetes.admin_model import AdminPort
from bpfence.dialects.kubernetes.check import check_port_name, check_port_number, check_protocol
from bpfence.dialects.kubernetes.cluster_form import given_members
from bpfence.dialects.kubernetes.cluster_model import DestinationPort, ProtocolItem, ProtocolPorts
from bpfence.dialects.kubernetes.report import Path, Report

MAX_PROTOCOLS = 25
MAX_ADMIN_PORTS = 100


def check_protocols(items: tuple[ProtocolItem, ...] | None, by_address: bool, path: Path, report: Report) -> None:
    """``protocols``; ``path``: the list's. ``by_address``: the rule has a peer without container port names."""
    if items is None:
        return
    if not 1 <= len(items) <= MAX_PROTOCOLS:
        message = f"protocols has {len(items)} items; 1 to {MAX_PROTOCOLS} are allowed"
        report.error(codes.PROTOCOLS_COUNT, path, message, "for every protocol leave the list out")
    for index, item in enumerate(items):
        _check_item(item, by_address, (*path, index), report)


def _check_item(item: ProtocolItem, by_address: bool, path: Path, report: Report) -> None:
    members = given_members(item)
    if members or not report.lenient:
        report.exactly_one(codes.PROTOCOLS_MEMBER, path, members, "tcp, udp, sctp, destinationNamedPort")
    for word, ports in (("tcp", item.tcp), ("udp", item.udp), ("sctp", item.sctp)):
        if ports is not None:
            _check_protocol_ports(ports, (*path, word), report)
    if item.destination_named_port is not None:
        _check_name(item.destination_named_port, by_address, (*path, "destinationNamedPort"), report)


def _check_protocol_ports(ports: ProtocolPorts, path: Path, report: Report) -> None:
    if ports.destination_port is None:
        hint = "for every port write destinationPort: {range: {start: 1, end: 65535}}"
        report.error(codes.DESTINATION_PORT, path, "destinationPort is missing", hint)
        return
    _check_destination(ports.destination_port, (*path, "destinationPort"), report)


def _check_destination(place: DestinationPort, path: Path, report: Report) -> None:
    given = [word for word, value in (("number", place.number), ("range", place.range)) if value is not None]
    report.exactly_one(codes.DESTINATION_PORT, path, given, "number, range")
    if place.number is not None:
        check_port_number(place.number, (*path, "number"), report)
    if place.range is not None:
        _check_range(place.range.start, place.range.end, (*path, "range"), report)


def _check_range(start: int, end: int, path: Path, report: Report) -> None:
    check_port_number(start, (*path, "start"), report)
    check_port_number(end, (*path, "end"), report)
    if start >= end:
        message = f"the range's start {start} is not below its end {end}"
        report.error(codes.DESTINATION_PORT, path, message, "for one port name its number")


def _check_name(name: str, by_address: bool, path: Path, report: Report) -> None:
    check_port_name(name, path, report)
    if by_address:
        message = f"the port name {name!r} can't stand in a rule with networks, nodes or domainNames"
        report.error(
            codes.NAMED_PORT_PEER, path, message, "only pods have port names: write a number, or split the rule"
        )


def check_admin_ports(items: tuple[AdminPort, ...] | None, by_address: bool, path: Path, report: Report) -> None:
    """``ports`` of v1alpha1, as `check_protocols`."""
    if items is None:
        return
    if not 1 <= len(items) <= MAX_ADMIN_PORTS:
        message = f"ports has {len(items)} items; 1 to {MAX_ADMIN_PORTS} are allowed"
        report.error(codes.PROTOCOLS_COUNT, path, message, "for every port leave the list out")
    for index, item in enumerate(items):
        _check_admin_port(item, by_address, (*path, index), report)


def _check_admin_port(item: AdminPort, by_address: bool, path: Path, report: Report) -> None:
    members = given_members(item)
    if members or not report.lenient:
        report.exactly_one(codes.PROTOCOLS_MEMBER, path, members, "portNumber, portRange, namedPort")
    if item.port_number is not None:
        check_port_number(item.port_number.port, (*path, "portNumber", "port"), report)
        _check_admin_protocol(item.port_number.protocol, (*path, "portNumber", "protocol"), report)
    if item.port_range is not None:
        _check_range(item.port_range.start, item.port_range.end, (*path, "portRange"), report)
        _check_admin_protocol(item.port_range.protocol, (*path, "portRange", "protocol"), report)
    if item.named_port is not None:
        _check_name(item.named_port, by_address, (*path, "namedPort"), report)


def _check_admin_protocol(word: str | None, path: Path, report: Report) -> None:
    if word is not None:
        check_protocol(word, path, report)
