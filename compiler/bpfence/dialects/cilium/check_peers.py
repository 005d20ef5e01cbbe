"""The checks of a statement's peers: prefixes, entities, services, names and their combination in; diagnostics out.

Upstream: ``pkg/policy/api/{rule_validation,cidr,entity,service}.go``.
"""

from __future__ import annotations

from bpfence.dialects.cilium import codes
from bpfence.dialects.cilium.check_ports import check_name
from bpfence.dialects.cilium.check_selectors import CIDR_GROUPS, NODES, SERVICES, check_peer, check_selector
from bpfence.dialects.cilium.entities import UNLISTED_ENTITIES, known_entities
from bpfence.dialects.cilium.labels import selector_tests
from bpfence.dialects.cilium.model import CidrRule, NameSelector, Selector, ServiceRule
from bpfence.dialects.cilium.prefixes import is_inside, parse_prefix
from bpfence.dialects.cilium.report import Report
from bpfence.dialects.cilium.statements import Peers, Place
from bpfence.dialects.label_syntax import dns_subdomain_problem
from bpfence.ir.expressions import Network
from bpfence.source.documents import Path

_OPENING = ("toServices", "toFQDNs", "fromGroups", "toGroups")
"""Kinds whose empty list Cilium reads as every peer."""


def check_peers(peers: Peers, place: Place, report: Report) -> None:
    """All L3 members of one statement."""
    kinds = peers.kinds(place.prefix)
    used = [name for name, items in kinds.items() if items]
    if len(used) > 1:
        report.error(
            codes.KINDS_COMBINED,
            (*place.path, used[1]),
            f"combining {used[0]} and {used[1]} is not supported",
            "write one statement for each",
            of_key=True,
        )
    for name, items in kinds.items():
        if not items:
            _report_empty(name, place, report)
    _check_selectors(peers, place, report)
    _check_prefixes(peers, place, report)
    for index, entity in enumerate(peers.entities or ()):
        _check_entity(entity, (*place.path, f"{place.prefix}Entities", index), report)
    for index, service in enumerate(peers.services or ()):
        _check_service(service, (*place.path, "toServices", index), report)
    for index, item in enumerate(peers.names or ()):
        _check_name_member(item, (*place.path, "toFQDNs", index), report)


def _report_empty(name: str, place: Place, report: Report) -> None:
    path = (*place.path, name)
    if name in _OPENING:
        report.error(
            codes.EMPTY_OPENS,
            path,
            f"an empty {name} would open the ports to every peer",
            "name the peers, or remove the field if every peer is meant",
            of_key=True,
        )
    else:
        report.warning(
            codes.EMPTY_PEERS, path, f"an empty {name} selects no peer: the statement matches nothing", of_key=True
        )


def _check_selectors(peers: Peers, place: Place, report: Report) -> None:
    for index, selector in enumerate(peers.endpoints or ()):
        check_peer(selector, (*place.path, f"{place.prefix}Endpoints", index), report)
    for index, selector in enumerate(peers.requires or ()):
        check_peer(selector, (*place.path, f"{place.prefix}Requires", index), report)
    for index, selector in enumerate(peers.nodes or ()):
        check_selector(selector, NODES, (*place.path, f"{place.prefix}Nodes", index), report)


def _check_prefixes(peers: Peers, place: Place, report: Report) -> None:
    for index, text in enumerate(peers.cidrs or ()):
        _check_prefix(text, (*place.path, f"{place.prefix}CIDR", index), report, may_be_bare=report.is_old)
    for index, item in enumerate(peers.cidr_set or ()):
        _check_cidr_rule(item, (*place.path, f"{place.prefix}CIDRSet", index), report)


def _check_prefix(
    text: str, path: Path, report: Report, may_be_bare: bool = False, code: str = codes.CIDR
) -> Network | None:
    """Report what is wrong with a prefix; the network it means."""
    prefix = parse_prefix(text)
    if isinstance(prefix, str):
        report.error(code, path, f"{text!r} {prefix}" if text else f"the prefix {prefix}", "write address/length")
        return None
    if prefix.bare and not may_be_bare:
        report.error(
            code if code != codes.CIDR else codes.BARE_ADDRESS,
            path,
            f"{text!r} is an address, not a prefix",
            f"write {prefix.network}",
        )
        return None
    if prefix.bare:
        report.warning(
            codes.SPELLING, path, f"the API server refuses the bare address {text!r}", f"write {prefix.network}"
        )
    if prefix.host_bits:
        report.warning(codes.HOST_BITS, path, f"{text!r} means {prefix.network}: bits below the mask don't count")
    return prefix.network


def check_group_prefix(text: str, path: Path, report: Report) -> None:
    """An entry of a CIDRGroup."""
    _check_prefix(text, path, report, code=codes.GROUP_PREFIX)


def _check_cidr_rule(item: CidrRule, path: Path, report: Report) -> None:
    members = {"cidr": item.cidr, "cidrGroupRef": item.cidr_group_ref, "cidrGroupSelector": item.cidr_group_selector}
    given = [name for name, value in members.items() if value is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        report.error(
            codes.CIDR_SET_MEMBER,
            path,
            f"exactly one of cidr, cidrGroupRef, cidrGroupSelector must be given; this item has {found}",
        )
        return
    outer = _check_prefix(item.cidr, (*path, "cidr"), report) if item.cidr is not None else None
    if item.cidr_group_ref is not None and (problem := dns_subdomain_problem(item.cidr_group_ref)):
        report.error(codes.GROUP_NAME, (*path, "cidrGroupRef"), f"the CIDRGroup name {item.cidr_group_ref!r} {problem}")
    if item.cidr_group_selector is not None:
        _check_group_selector(item.cidr_group_selector, (*path, "cidrGroupSelector"), report)
    for index, text in enumerate(item.except_ or ()):
        at = (*path, "except", index)
        inner = _check_prefix(text, at, report)
        if inner is not None and outer is not None and not is_inside(inner, outer):
            report.error(codes.EXCEPT, at, f"the exception {text} is not inside {item.cidr}")


def _check_group_selector(selector: Selector, path: Path, report: Report) -> None:
    if not check_selector(selector, CIDR_GROUPS, path, report):
        return
    if all(test.is_negative for test in selector_tests(selector)):
        report.error(
            codes.GROUP_SELECTOR,
            path,
            "the selector names no label that a CIDRGroup must have; Cilium would let it match everything",
            "add a label that the groups meant have",
        )


def _check_entity(name: str, path: Path, report: Report) -> None:
    known = known_entities(report.is_old)
    if name not in known:
        report.error(codes.ENTITY, path, f"unknown entity {name!r}", f"use one of {', '.join(known)}")
    elif name in UNLISTED_ENTITIES:
        report.warning(codes.SPELLING, path, f"the API server refuses the entity {name}", "write the prefix instead")


def _check_service(item: ServiceRule, path: Path, report: Report) -> None:
    by_name, by_labels = item.k8s_service, item.k8s_service_selector
    if (by_name is None) == (by_labels is None):
        report.error(
            codes.SERVICE_MEMBER,
            path,
            "exactly one of k8sService and k8sServiceSelector must be given",
            "name the service; without one Cilium would open the ports to every peer",
        )
        return
    if by_name is not None and not by_name.service_name:
        report.error(codes.SERVICE_MEMBER, (*path, "k8sService"), "serviceName is missing or empty", "name the service")
    if by_labels is not None:
        check_selector(by_labels.selector, SERVICES, (*path, "k8sServiceSelector", "selector"), report)


def _check_name_member(item: NameSelector, path: Path, report: Report) -> None:
    if (item.match_name is None) == (item.match_pattern is None):
        report.error(codes.NAME_MEMBER, path, "exactly one of matchName and matchPattern must be given")
    check_name(item, path, report)
