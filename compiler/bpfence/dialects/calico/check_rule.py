"""Checks of one rule: what Calico refuses in any of its validation layers. Rule and its place in, diagnostics out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bpfence.dialects.calico import codes
from bpfence.dialects.calico.check_http import check_http
from bpfence.dialects.calico.check_side import check_nets, check_ports, check_side
from bpfence.dialects.calico.metadata import check_annotations
from bpfence.dialects.calico.model import IcmpFields, Rule
from bpfence.dialects.calico.report import Report
from bpfence.dialects.calico.values import ICMP_NUMBERS, BadValueError, Protocol, read_protocol
from bpfence.source.documents import Path

ACTIONS = ("Allow", "Deny", "Log", "Pass")
_ICMP_FAMILY = {1: 4, 58: 6}
_MAX_ICMP_TYPE = 254
_MAX_ICMP_CODE = 255


@dataclass(frozen=True, slots=True)
class RulePlace:
    """Where a rule stands: its path, the direction of its list, and whether its policy has a namespace."""

    path: Path
    direction: Literal["ingress", "egress"]
    namespaced: bool


def check_rule(report: Report, place: RulePlace, rule: Rule) -> None:
    """Report everything wrong with the rule."""
    _check_action(report, place.path, rule.action)
    protocol = _read_protocol(report, (*place.path, "protocol"), rule.protocol)
    excluded = _read_protocol(report, (*place.path, "notProtocol"), rule.not_protocol)
    _check_version(report, place.path, rule, (protocol, excluded))
    _check_icmp(report, place.path, rule, protocol)
    check_side(report, (*place.path, "source"), rule.source, place.namespaced)
    check_side(report, (*place.path, "destination"), rule.destination, place.namespaced)
    check_ports(report, place.path, rule, protocol)
    check_nets(report, place.path, rule)
    _check_service_side(report, place, rule)
    if rule.http is not None:
        check_http(report, place.path, rule, place.direction, protocol)
    check_annotations(report, (*place.path, "metadata", "annotations"), rule.metadata.annotations)


def _check_action(report: Report, path: Path, action: str) -> None:
    if action in ACTIONS:
        return
    spelt = next((name for name in ACTIONS if name.lower() == action.lower()), "")
    help_text = f"write {spelt}: upper and lower case matter" if spelt else f"write one of {', '.join(ACTIONS)}"
    report.error(codes.ACTION, (*path, "action"), f"{action!r} is no action", help_text)


def _read_protocol(report: Report, path: Path, value: int | str | None) -> Protocol | None:
    if value is None:
        return None
    try:
        return read_protocol(value)
    except BadValueError as problem:
        report.error(codes.PROTOCOL, path, problem.message, problem.help)
        return None


def _check_version(report: Report, path: Path, rule: Rule, protocols: tuple[Protocol | None, ...]) -> None:
    if rule.ip_version is None:
        return
    if rule.ip_version not in (4, 6):
        report.error(codes.IP_VERSION, (*path, "ipVersion"), f"ipVersion must be 4 or 6, not {rule.ip_version}")
        return
    for protocol, field in zip(protocols, ("protocol", "notProtocol"), strict=True):
        if protocol and _ICMP_FAMILY.get(protocol.number, rule.ip_version) != rule.ip_version:
            message = f"{field} {getattr(rule, _ATTRIBUTES[field])} does not exist with ipVersion {rule.ip_version}"
            report.error(codes.IP_VERSION_CONFLICT, (*path, field), message, "ICMP goes with 4, ICMPv6 with 6")


_ATTRIBUTES = {"protocol": "protocol", "notProtocol": "not_protocol"}


def _check_icmp(report: Report, path: Path, rule: Rule, protocol: Protocol | None) -> None:
    if rule.icmp is not None:
        if rule.protocol is None or (protocol and protocol.number not in ICMP_NUMBERS):
            message = "icmp needs protocol ICMP or ICMPv6"
            report.error(codes.ICMP_PROTOCOL, (*path, "icmp"), message, "write the protocol beside it")
        _check_icmp_fields(report, (*path, "icmp"), rule.icmp)
    if rule.not_icmp is not None:
        _check_icmp_fields(report, (*path, "notICMP"), rule.not_icmp)


def _check_icmp_fields(report: Report, path: Path, fields: IcmpFields) -> None:
    if fields.code is not None and fields.type is None:
        report.error(codes.ICMP_CODE_ALONE, (*path, "code"), "an ICMP code needs a type", "write the type beside it")
    for name, value, limit in (("type", fields.type, _MAX_ICMP_TYPE), ("code", fields.code, _MAX_ICMP_CODE)):
        if value is not None and not 0 <= value <= limit:
            report.error(codes.ICMP_RANGE, (*path, name), f"the ICMP {name} {value} is not in 0-{limit}")


def _check_service_side(report: Report, place: RulePlace, rule: Rule) -> None:
    """Services are peers: sources of ingress, destinations of egress."""
    wrong, entity = ("destination", rule.destination) if place.direction == "ingress" else ("source", rule.source)
    if entity.services is not None:
        message = f"{wrong}.services can't stand in an {place.direction} rule"
        report.error(codes.SERVICE_SIDE, (*place.path, wrong, "services"), message)
    destination = rule.destination
    if destination.services is not None and (destination.ports or destination.not_ports):
        field = "ports" if destination.ports else "notPorts"
        message = f"destination.{field} can't stand beside destination.services, which brings its own ports"
        report.error(codes.SERVICE_PORTS, (*place.path, "destination", field), message, "remove one of them")
