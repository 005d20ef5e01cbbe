"""Checks of what HostEndpoint and WorkloadEndpoint objects say: spec in, diagnostics out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address, ip_address

from bpfence.dialects.calico import codes
from bpfence.dialects.calico.labels import ORCHESTRATOR_LABEL
from bpfence.dialects.calico.model import (
    HostEndpointPort,
    HostEndpointSpec,
    WorkloadEndpointSpec,
    WorkloadPort,
)
from bpfence.dialects.calico.report import Report
from bpfence.dialects.calico.selectors import ACCOUNT_LABEL, NAMESPACE_LABEL
from bpfence.dialects.calico.values import BadValueError, MappedAddressError, read_protocol, read_set_cidr
from bpfence.dialects.label_syntax import dns_subdomain_problem, port_name_problem
from bpfence.dialects.model_base import ObjectMeta
from bpfence.flows import PORT_PROTOCOLS
from bpfence.source.documents import Path

__all__ = ["NAMESPACE_LABEL", "check_host_endpoint", "check_inherited_labels", "check_workload_endpoint"]

MAX_PORT = 65535
_INTERFACE = re.compile(r"\*|[a-zA-Z0-9_.-]{1,15}")
_LOOPBACK = "lo"
_RESERVED_LABELS = (NAMESPACE_LABEL, ACCOUNT_LABEL)


def check_host_endpoint(report: Report, labels: Mapping[str, str], spec: HostEndpointSpec) -> None:
    """Everything wrong with a host endpoint but its metadata."""
    check_inherited_labels(report, ("metadata", "labels"), labels)
    _check_node(report, spec.node)
    _check_interface(report, spec)
    report.repeated(("spec", "expectedIPs"), spec.expected_ips, "address")
    for index, text in enumerate(spec.expected_ips):
        _check_address(report, ("spec", "expectedIPs", index), text)
    _check_profiles(report, spec.profiles)
    for index, port in enumerate(spec.ports):
        _check_port(report, ("spec", "ports", index), port)


def check_inherited_labels(report: Report, path: Path, labels: Mapping[str, str]) -> None:
    """A host endpoint with a pod's implicit labels would be selected by policies of a namespace."""
    for key in _RESERVED_LABELS:
        if key in labels:
            report.error_at_key(codes.LABEL, (*path, key), f"the label {key} is Calico's own", "remove it")


def _check_node(report: Report, node: str) -> None:
    if not node:
        report.error(codes.HOST_NODE, ("spec",), "the endpoint says no node", "write spec.node")
    elif problem := dns_subdomain_problem(node):
        report.error(codes.HOST_NODE, ("spec", "node"), f"the node {node!r} {problem}", "write the name of a node")


def _check_interface(report: Report, spec: HostEndpointSpec) -> None:
    path = ("spec", "interfaceName")
    if not spec.interface_name and not spec.expected_ips:
        message = "a host endpoint needs an interfaceName or expectedIPs"
        report.error(codes.HOST_INTERFACE, ("spec",), message, "write the name of the interface")
    elif spec.interface_name and not _INTERFACE.fullmatch(spec.interface_name):
        message = f"{spec.interface_name!r} is no interface name"
        help_text = 'write up to 15 letters, digits, "_", "." and "-", or "*" for every interface'
        report.error(codes.HOST_INTERFACE, path, message, help_text)
    elif spec.interface_name == _LOOPBACK:
        message = "the loopback interface is never policed"
        report.error(codes.HOST_INTERFACE, path, message, "write the interface that leads to the outside")


def _check_address(report: Report, path: Path, text: str) -> None:
    try:
        address = ip_address(text)
    except ValueError:
        report.error(codes.HOST_ADDRESS, path, f"{text!r} is no address", "write one address, without a length")
        return
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            message = f"{text!r} is an IPv4 address in IPv6 notation: it could mean either family"
            report.error(codes.CIDR_MAPPED, path, message, "write the IPv4 address itself")
        elif address.scope_id is not None:
            report.error(codes.HOST_ADDRESS, path, f"{text!r} has a zone", "write the address without it")


def _check_profiles(report: Report, names: Sequence[str]) -> None:
    report.repeated(("spec", "profiles"), names, "profile")
    for index, name in enumerate(names):
        path = ("spec", "profiles", index)
        report.name_problem(codes.PROFILE_NAME, path, name, "profile name", dns_subdomain_problem)


def _check_port(report: Report, path: Path, port: HostEndpointPort | WorkloadPort) -> None:
    if port.name or isinstance(port, HostEndpointPort):
        report.name_problem(codes.ENDPOINT_PORT, (*path, "name"), port.name, "port name", port_name_problem)
    elif not port.host_port:
        report.error(codes.ENDPOINT_PORT, path, "a port without a name needs a hostPort", "write the name")
    try:
        if read_protocol(port.protocol).number not in PORT_PROTOCOLS:
            message = f"protocol {port.protocol} has no ports"
            report.error(codes.ENDPOINT_PORT, (*path, "protocol"), message, "only TCP, UDP and SCTP have")
    except BadValueError as problem:
        report.error(codes.ENDPOINT_PORT, (*path, "protocol"), problem.message, problem.help)
    if not 1 <= port.port <= MAX_PORT:
        report.error(codes.ENDPOINT_PORT, (*path, "port"), f"the port {port.port} is not in 1-{MAX_PORT}")


def check_workload_endpoint(report: Report, metadata: ObjectMeta, spec: WorkloadEndpointSpec) -> None:
    """Everything wrong with a workload endpoint. Calico's own labels of it may only say what the endpoint says."""
    implied = {NAMESPACE_LABEL: metadata.namespace or "default", ORCHESTRATOR_LABEL: "k8s"}
    if spec.service_account_name:
        implied[ACCOUNT_LABEL] = spec.service_account_name
    for key, value in implied.items():
        if metadata.labels.get(key, value) != value:
            message = f"the label {key} is {metadata.labels[key]!r}, but the endpoint's is {value!r}"
            report.error(codes.LABEL, ("metadata", "labels", key), message, "remove the label")
    if spec.orchestrator not in (None, "", "k8s"):
        message = "only pods are workloads here, whose orchestrator is k8s"
        report.error(codes.WORKLOAD_POD, ("spec", "orchestrator"), message, "write k8s, or remove the endpoint")
    if spec.node:
        _check_node(report, spec.node)
    if not spec.pod:
        message = "the endpoint names no pod: only pods are workloads here"
        report.error(codes.WORKLOAD_POD, ("spec",), message, "write spec.pod")
    else:
        report.name_problem(codes.WORKLOAD_POD, ("spec", "pod"), spec.pod, "pod name", dns_subdomain_problem)
    if spec.service_account_name:
        path, name = ("spec", "serviceAccountName"), spec.service_account_name
        report.name_problem(codes.SERVICE_ACCOUNT_NAME, path, name, "service account name", dns_subdomain_problem)
    report.repeated(("spec", "ipNetworks"), spec.ip_networks, "network")
    for index, text in enumerate(spec.ip_networks):
        _check_single(report, ("spec", "ipNetworks", index), text)
    _check_profiles(report, spec.profiles)
    for index, port in enumerate(spec.ports):
        _check_port(report, ("spec", "ports", index), port)


def _check_single(report: Report, path: Path, text: str) -> None:
    try:
        network = read_set_cidr(text)
    except MappedAddressError as problem:
        report.error(codes.CIDR_MAPPED, path, problem.message, problem.help)
        return
    except BadValueError as problem:
        report.error(codes.WORKLOAD_NETWORK, path, problem.message, problem.help)
        return
    if network.prefixlen != network.max_prefixlen:
        report.error(codes.WORKLOAD_NETWORK, path, f"{text} is more than one address", "write a /32 or a /128")
