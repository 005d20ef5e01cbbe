"""Traps in the text of one NetworkPolicy."""

from __future__ import annotations

from bpfence.dialects.kubernetes import codes
from bpfence.dialects.kubernetes.model import NetworkPolicy, Peer, Port
from bpfence.dialects.kubernetes.report import Path, Report


def lint_network_policy(policy: NetworkPolicy, report: Report) -> None:
    """Report readings that surprise."""
    spec = policy.spec
    written = report.document.data.get("spec")
    if not written:
        message = "the policy has no spec: it denies all ingress of every pod of its namespace"
        report.warning(codes.SPEC_MISSING, ("spec",), message, "write what is meant")
    elif spec.pod_selector is None:
        message = "podSelector is missing: the policy selects every pod of its namespace"
        report.warning(codes.POD_SELECTOR_MISSING, ("spec",), message, "write podSelector: {} if that is meant")
    if "egress" in spec.model_fields_set and not spec.egress and not spec.policy_types:
        message = "egress: [] without policyTypes does nothing for egress"
        hint = "to deny all egress write policyTypes: [Ingress, Egress]"
        report.warning(codes.EGRESS_UNTOUCHED, ("spec", "egress"), message, hint)
    for index, rule in enumerate(spec.ingress):
        _lint_rule(rule.peers, rule.ports, ("spec", "ingress", index), "from", report)
    for index, outgoing in enumerate(spec.egress):
        path: Path = ("spec", "egress", index)
        _lint_rule(outgoing.peers, outgoing.ports, path, "to", report)
        _lint_names_of_addresses(outgoing.peers, outgoing.ports, path, report)


def _lint_rule(peers: tuple[Peer, ...], ports: tuple[Port, ...], path: Path, field: str, report: Report) -> None:
    for index, port in enumerate(ports):
        if port.protocol is None and port.port is None:
            message = "a port item without protocol means every TCP port, not every port"
            hint = "leave ports out for everything, or write protocol"
            report.warning(codes.TCP_ONLY, (*path, "ports", index), message, hint)
    _lint_ored_peers(peers, (*path, field), report)


def _lint_ored_peers(peers: tuple[Peer, ...], path: Path, report: Report) -> None:
    spaces = [
        index for index, peer in enumerate(peers) if peer.namespace_selector is not None and peer.pod_selector is None
    ]
    pods = [
        index for index, peer in enumerate(peers) if peer.pod_selector is not None and peer.namespace_selector is None
    ]
    if spaces and pods:
        message = "namespaceSelector and podSelector in two list items are ORed: either is enough"
        hint = "for pods of those namespaces alone write both in one item"
        report.warning(codes.PEERS_ORED, (*path, max(spaces[0], pods[0])), message, hint)


def _lint_names_of_addresses(peers: tuple[Peer, ...], ports: tuple[Port, ...], path: Path, report: Report) -> None:
    if not any(peer.ip_block is not None for peer in peers):
        return
    for index, port in enumerate(ports):
        if isinstance(port.port, str):
            message = f"addresses have no port names: {port.port!r} matches nothing towards ipBlock peers"
            report.warning(codes.NAME_OF_ADDRESS, (*path, "ports", index, "port"), message, "write the number")
