"""NetworkPolicy: what the API server refuses, at the place where it stands.

Source: ``pkg/apis/networking/validation/validation.go`` of kubernetes/kubernetes.
"""

from __future__ import annotations

from bpfence.dialects.kubernetes import codes
from bpfence.dialects.kubernetes.model import IPBlock, NetworkPolicy, Peer, Port
from bpfence.dialects.kubernetes.prefixes import is_strict_subset, parse_prefix
from bpfence.dialects.kubernetes.report import Path, Report
from bpfence.dialects.label_syntax import port_name_problem

POLICY_TYPES = ("Ingress", "Egress")
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
MAX_PORT = 65535


def check_network_policy(policy: NetworkPolicy, report: Report) -> None:
    """Report everything that makes the policy invalid."""
    spec = policy.spec
    report.selector(spec.pod_selector, "spec", "podSelector")
    _check_policy_types(spec.policy_types, report)
    for index, rule in enumerate(spec.ingress):
        _check_rule(rule.peers, rule.ports, ("spec", "ingress", index), "from", report)
    for index, outgoing in enumerate(spec.egress):
        _check_rule(outgoing.peers, outgoing.ports, ("spec", "egress", index), "to", report)


def _check_policy_types(types: tuple[str, ...], report: Report) -> None:
    if len(types) > len(POLICY_TYPES):
        report.error(codes.POLICY_TYPE_COUNT, ("spec", "policyTypes"), "policyTypes has more than two items")
    for index, word in enumerate(types):
        if word not in POLICY_TYPES:
            message = f"{word!r} is no policy type"
            report.error(codes.POLICY_TYPE, ("spec", "policyTypes", index), message, "write Ingress or Egress")


def _check_rule(peers: tuple[Peer, ...], ports: tuple[Port, ...], path: Path, peers_field: str, report: Report) -> None:
    for index, peer in enumerate(peers):
        _check_peer(peer, (*path, peers_field, index), report)
    for index, port in enumerate(ports):
        check_port(port, (*path, "ports", index), report)


def _check_peer(peer: Peer, path: Path, report: Report) -> None:
    selectors = peer.pod_selector is not None or peer.namespace_selector is not None
    if peer.ip_block is None and not selectors:
        hint = "write podSelector, namespaceSelector or ipBlock; for everybody leave the list out"
        report.error(codes.PEER_EMPTY, path, "the peer is empty; it must name somebody", hint)
    if peer.ip_block is not None and selectors:
        hint = "make two list items of it: they are ORed"
        report.error(codes.PEER_MIXED, (*path, "ipBlock"), "ipBlock can't stand beside a selector", hint, of_key=True)
    report.selector(peer.pod_selector, *path, "podSelector")
    report.selector(peer.namespace_selector, *path, "namespaceSelector")
    if peer.ip_block is not None:
        _check_ip_block(peer.ip_block, (*path, "ipBlock"), report)


def _check_ip_block(block: IPBlock, path: Path, report: Report) -> None:
    outer = parse_prefix(block.cidr)
    if isinstance(outer, str):
        report.error(codes.CIDR, (*path, "cidr"), f"cidr {block.cidr!r} {outer}")
    elif outer.host_bits:
        warn_host_bits(report, (*path, "cidr"), block.cidr, str(outer.network))
    for index, text in enumerate(block.except_):
        place = (*path, "except", index)
        inner = parse_prefix(text)
        if isinstance(inner, str):
            report.error(codes.CIDR, place, f"except {text!r} {inner}")
            continue
        if inner.host_bits:
            warn_host_bits(report, place, text, str(inner.network))
        if not isinstance(outer, str) and not is_strict_subset(inner.network, outer.network):
            message = f"except {text} is no strict part of cidr {block.cidr}"
            report.error(codes.EXCEPT, place, message, "name a longer prefix inside cidr, or remove it")


def warn_host_bits(report: Report, path: Path, text: str, network: str) -> None:
    """A prefix with bits below its mask means the masked network."""
    report.warning(codes.HOST_BITS, path, f"{text} has bits below its mask; it means {network}", f"write {network}")


def check_port(port: Port, path: Path, report: Report) -> None:
    """One item of ``ports``."""
    if port.protocol is not None:
        check_protocol(port.protocol, (*path, "protocol"), report)
    if isinstance(port.port, str):
        check_port_name(port.port, (*path, "port"), report)
    elif port.port is not None:
        check_port_number(port.port, (*path, "port"), report)
    if port.end_port is not None:
        _check_end_port(port.end_port, port.port, (*path, "endPort"), report)


def check_protocol(word: str, path: Path, report: Report) -> None:
    """A protocol word: TCP, UDP or SCTP, in capitals."""
    if word in PROTOCOLS:
        return
    hint = f"write {word.upper()}" if word.upper() in PROTOCOLS else "write TCP, UDP or SCTP"
    report.error(codes.PROTOCOL, path, f"{word!r} is no protocol that a policy can name", hint)


def check_port_name(name: str, path: Path, report: Report) -> None:
    """The name of a container port."""
    problem = port_name_problem(name)
    if problem is None:
        return
    hint = "remove the quotes: a quoted number is a port name" if name.isdigit() else ""
    report.error(codes.PORT_NAME, path, f"the port name {name!r} {problem}", hint)


def check_port_number(number: int, path: Path, report: Report) -> None:
    """A port number, 1-65535."""
    if not 1 <= number <= MAX_PORT:
        report.error(codes.PORT_NUMBER, path, f"port {number} is outside 1-{MAX_PORT}")


def _check_end_port(end: int, start: int | str | None, path: Path, report: Report) -> None:
    if start is None:
        report.error(codes.END_PORT, path, "endPort needs port, the first port of the range")
    elif isinstance(start, str):
        report.error(codes.END_PORT, path, "endPort can't follow a port name", "write the number of the port")
    elif not 1 <= end <= MAX_PORT:
        report.error(codes.END_PORT, path, f"endPort {end} is outside 1-{MAX_PORT}")
    elif end < start:
        report.error(codes.END_PORT, path, f"endPort {end} is below port {start}")
