"""The checks of ports, ICMP types and L7 members: a statement's L4 part in, diagnostics out.

Upstream: ``pkg/policy/api/rule_validation.go``.
"""

from __future__ import annotations

from bpfence.dialects.cilium import codes
from bpfence.dialects.cilium.model import (
    IcmpField,
    L7Rules,
    NameSelector,
    PortDenyRule,
    PortProtocol,
    PortRule,
    Statement,
)
from bpfence.dialects.cilium.ports import (
    ANY,
    EXTENDED,
    ICMP_FAMILIES,
    ICMP_NAMES,
    MAX_PORT,
    TRANSPORTS,
    BadPort,
    PortName,
    PortNumber,
    icmp_type,
    parse_port,
    protocol_word,
)
from bpfence.dialects.cilium.report import Report
from bpfence.dialects.cilium.statements import Place, icmp_rules, port_rules
from bpfence.ir.nodes import Direction
from bpfence.selectors.fqdn import depends_on_profile, name_problem, pattern_problem
from bpfence.source.documents import Path

MAX_PORTS = 40


def check_l4(statement: Statement, place: Place, report: Report) -> None:
    """``toPorts`` and ``icmps`` of one statement."""
    if statement.to_ports and statement.icmps:
        report.error(
            codes.PORTS_AND_ICMPS,
            (*place.path, "icmps"),
            "toPorts and icmps can't stand in one statement",
            "define a separate rule for ports",
            of_key=True,
        )
    for path, rule in port_rules(statement, place.path):
        _check_port_rule(rule, path, place, report)
    for path, icmp in icmp_rules(statement, place.path):
        fields = icmp.fields or []
        if not fields:
            report.warning(codes.EMPTY_PORTS, path, "an item of icmps without fields allows nothing")
        if len(fields) > MAX_PORTS:
            report.error(codes.LIMIT, (*path, "fields"), f"more than {MAX_PORTS} ICMP fields", "write several items")
        for index, field in enumerate(fields):
            _check_icmp(field, (*path, "fields", index), report)


def _check_port_rule(rule: PortRule | PortDenyRule, path: Path, place: Place, report: Report) -> None:
    ports = rule.ports or []
    if not ports:
        report.warning(codes.EMPTY_PORTS, path, "an item of toPorts without ports matches nothing")
    if len(ports) > MAX_PORTS:
        report.error(codes.LIMIT, (*path, "ports"), f"more than {MAX_PORTS} ports", "write several items of toPorts")
    for index, port in enumerate(ports):
        _check_port(port, (*path, "ports", index), report)
    if isinstance(rule, PortRule):
        _check_l7(rule, path, place, report)


def _check_port(port: PortProtocol, path: Path, report: Report) -> None:
    word = protocol_word(port)
    if not _check_protocol(port, word, path, report):
        return
    if port.end_port is not None and not 0 <= port.end_port <= MAX_PORT:
        report.error(codes.END_PORT, (*path, "endPort"), f"endPort {port.end_port} is not in 0-{MAX_PORT}")
        return
    if word in EXTENDED:
        _check_portless(port, word, path, report)
        return
    if not port.port:
        report.error(codes.PORT_MISSING, path, "port is missing or empty", 'write a port, or "0" for every port')
        return
    _check_port_text(port, parse_port(port.port), path, report)


def _check_protocol(port: PortProtocol, word: str, path: Path, report: Report) -> bool:
    at = (*path, "protocol")
    written = port.protocol
    if word in ICMP_NAMES:
        report.error(codes.PROTOCOL, at, f"protocol {written} has no ports", "use icmps to name ICMP types")
        return False
    if word in EXTENDED and report.is_old:
        report.error(
            codes.PROTOCOL, at, f"protocol {written} is not part of the 1.18 profile", "use --cilium-profile 1.20"
        )
        return False
    if word != ANY and word not in TRANSPORTS and word not in EXTENDED:
        known = ", ".join((*TRANSPORTS, ANY, *(() if report.is_old else EXTENDED)))
        report.error(codes.PROTOCOL, at, f"unknown protocol {written!r}", f"use one of {known}")
        return False
    if written is not None and written != word:
        report.warning(codes.SPELLING, at, f"the API server refuses the spelling {written!r}", f"write {word}")
    return True


def _check_portless(port: PortProtocol, word: str, path: Path, report: Report) -> None:
    if port.port not in (None, "", "0"):
        report.error(codes.PORT, (*path, "port"), f"protocol {word} has no ports", 'leave port out, or write "0"')
    if port.end_port:
        report.error(codes.END_PORT, (*path, "endPort"), f"protocol {word} has no ports", "leave endPort out")


def _check_port_text(port: PortProtocol, parsed: PortNumber | PortName | BadPort, path: Path, report: Report) -> None:
    end = port.end_port or 0
    match parsed:
        case BadPort(True, problem):
            report.error(
                codes.PORT_AMBIGUOUS, (*path, "port"), f"port {port.port!r} {problem}", "write a plain decimal number"
            )
        case BadPort(_, problem):
            report.error(codes.PORT, (*path, "port"), f"port {port.port!r} {problem}")
        case PortName() if end:
            report.error(codes.END_PORT, (*path, "endPort"), "endPort beside a port name is no range", "write numbers")
        case PortNumber(0) if end:
            report.error(
                codes.END_PORT, (*path, "endPort"), "endPort beside port 0, which means every port", "start at 1"
            )
        case PortNumber(number) if end and end < number:
            report.error(codes.END_PORT, (*path, "endPort"), f"endPort {end} is below port {number}")
        case _:
            return


def _check_icmp(field: IcmpField, path: Path, report: Report) -> None:
    family = "IPv4" if field.family is None else field.family
    if family not in ICMP_FAMILIES:
        report.error(codes.ICMP_FAMILY, (*path, "family"), f"wrong family {family!r}", "use IPv4 or IPv6")
    elif icmp_type(field) is None:
        report.error(
            codes.ICMP_TYPE,
            (*path, "type"),
            f"{family} has no ICMP type {field.type!r}",
            "use a number from 0 to 255 or a CamelCase name of that family",
        )


def _check_l7(rule: PortRule, path: Path, place: Place, report: Report) -> None:
    families = _l7_families(rule.rules) if rule.rules is not None else []
    if rule.rules is not None:
        _check_l7_members(rule.rules, families, (*path, "rules"), report)
        if rule.rules.dns:
            _check_dns(rule, rule.rules.dns, path, place, report)
    if set(families) - {"dns"}:
        _check_l7_ports(rule, path, report)
    _check_context(rule, families, path, place, report)


def check_host_l7(statement: Statement, place: Place, report: Report) -> None:
    """What policies for nodes can't say: any L7 in ingress, other L7 than DNS in egress."""
    for path, rule in port_rules(statement, place.path):
        if not isinstance(rule, PortRule) or rule.rules is None:
            continue
        families = _l7_families(rule.rules)
        if place.direction is Direction.INGRESS and families:
            report.error(
                codes.L7_DIRECTION, (*path, "rules"), "a policy for nodes has no L7 rules in ingress", of_key=True
            )
        elif set(families) - {"dns"}:
            report.error(
                codes.L7_DIRECTION, (*path, "rules"), "a policy for nodes has no L7 rules but DNS rules", of_key=True
            )


def _l7_families(rules: L7Rules) -> list[str]:
    members = (("http", rules.http), ("kafka", rules.kafka), ("l7", rules.l7), ("dns", rules.dns))
    return [name for name, items in members if items]


def _check_l7_members(rules: L7Rules, families: list[str], path: Path, report: Report) -> None:
    if not families and not rules.l7proto:
        report.warning(codes.EMPTY_L7, path, "empty rules restrict nothing: every use of the port is meant")
    if len(families) > 1 or (rules.l7proto and set(families) - {"l7"}):
        report.error(
            codes.L7_FAMILY, path, f"one item of toPorts has L7 rules of one kind; here are {', '.join(families)}"
        )
    if rules.l7 and not rules.l7proto:
        report.error(codes.L7_FAMILY, (*path, "l7"), "l7 without l7proto", "name the parser in l7proto")
    if report.is_old:
        return
    for name, value in (("kafka", rules.kafka), ("l7proto", rules.l7proto), ("l7", rules.l7)):
        if value is not None:
            report.error(
                codes.PROFILE_FIELD,
                (*path, name),
                f"unknown field {name!r} in the 1.20 profile",
                "remove it",
                of_key=True,
            )


def _check_l7_ports(rule: PortRule, path: Path, report: Report) -> None:
    for index, port in enumerate(rule.ports or ()):
        at = (*path, "ports", index)
        if protocol_word(port) != "TCP":
            report.error(codes.L7_PROTOCOL, at, "L7 rules other than dns need protocol TCP", "write protocol: TCP")
        if port.port == "0":
            report.error(codes.L7_PORT, at, "L7 rules need a port, and 0 means every port")


def _check_dns(rule: PortRule, items: list[NameSelector], path: Path, place: Place, report: Report) -> None:
    at = (*path, "rules", "dns")
    if place.direction is Direction.INGRESS:
        report.error(codes.L7_DIRECTION, at, "DNS rules stand in egress alone", of_key=True)
    if not rule.ports:
        report.error(
            codes.L7_PORT, at, "DNS rules need ports: port 53 must be given", 'add ports: [{port: "53"}]', True
        )
    for index, port in enumerate(rule.ports or ()):
        if protocol_word(port) in EXTENDED:
            report.error(codes.L7_PORT, (*path, "ports", index), f"DNS rules need a port, and {port.protocol} has none")
        elif port.port == "0" or (port.end_port and str(port.end_port) != port.port):
            report.error(codes.L7_PORT, (*path, "ports", index), "DNS rules need single ports, neither 0 nor a range")
    report.warning(
        codes.DNS_NOT_ENFORCED,
        at,
        "the tables of this version read no DNS queries: a port with DNS rules stays closed there",
        "allow the port without rules",
        of_key=True,
    )
    if all(item.match_name is None and item.match_pattern is None for item in items):
        report.error(codes.NAME_MEMBER, (*at, 0), "the DNS rules name nothing: every query would be refused")
    for index, item in enumerate(items):
        if item.match_name is not None and item.match_pattern is not None:
            report.warning(codes.SPELLING, (*at, index), "the API server refuses matchName beside matchPattern")
        check_name(item, (*at, index), report)


def check_name(item: NameSelector, path: Path, report: Report) -> None:
    """Spelling of a name and a pattern."""
    members = (
        ("matchName", item.match_name, name_problem),
        ("matchPattern", item.match_pattern, pattern_problem),
    )
    for field, text, find_problem in members:
        if text is None:
            continue
        if problem := find_problem(text):
            report.error(codes.NAME, (*path, field), f"{field} {text!r} {problem}")
    if item.match_pattern is not None and depends_on_profile(item.match_pattern):
        report.warning(
            codes.NAME_PROFILE,
            (*path, "matchPattern"),
            f"the pattern {item.match_pattern!r} means one label in Cilium 1.18 and any number of labels in 1.20",
        )


def _check_context(rule: PortRule, families: list[str], path: Path, place: Place, report: Report) -> None:
    """Listeners and server names, which bpfence refuses in any case."""
    if rule.listener is not None and (place.direction is Direction.INGRESS or families):
        where = "in ingress" if place.direction is Direction.INGRESS else "beside L7 rules"
        report.error(codes.L7_CONTEXT, (*path, "listener"), f"listener can't stand {where}", of_key=True)
    for index, name in enumerate(rule.server_names or ()):
        if not name:
            report.error(codes.L7_CONTEXT, (*path, "serverNames", index), "an empty server name")
    if rule.server_names and families and rule.terminating_tls is None:
        report.error(
            codes.L7_CONTEXT, (*path, "serverNames"), "serverNames beside L7 rules need terminatingTLS", of_key=True
        )
