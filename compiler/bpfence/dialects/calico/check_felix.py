"""Checks of the fields of a FelixConfiguration that change verdicts: spec in, diagnostics out."""

from __future__ import annotations

from collections.abc import Iterable

from bpfence.dialects.calico import codes
from bpfence.dialects.calico.hosts import DEFAULT_CONFIGURATION, NODE_CONFIGURATION
from bpfence.dialects.calico.model import FelixConfigurationSpec, ProtocolPort
from bpfence.dialects.calico.report import Report
from bpfence.dialects.calico.values import BadValueError, MappedAddressError, read_set_cidr

HOST_ACTIONS = ("accept", "drop", "return")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_MAX_PORT = 65535


def check_configuration(report: Report, name: str, spec: FelixConfigurationSpec) -> None:
    """Everything wrong with it; a name that Felix never asks for is a warning."""
    if name != DEFAULT_CONFIGURATION and not name.startswith(NODE_CONFIGURATION):
        message = f"Felix reads only the configurations default and node.NAME: {name} has no effect"
        report.warning(codes.CONFIGURATION_NAME, ("metadata", "name"), message, "rename it, or remove it")
    action = spec.default_endpoint_to_host_action
    if action and action.lower() not in HOST_ACTIONS:
        path = ("spec", "defaultEndpointToHostAction")
        report.error(codes.HOST_ACTION, path, f"{action!r} is no action", "write Accept, Drop or Return")
    _check_ports(report, "failsafeInboundHostPorts", spec.failsafe_inbound_host_ports)
    _check_ports(report, "failsafeOutboundHostPorts", spec.failsafe_outbound_host_ports)


def _check_ports(report: Report, field: str, ports: Iterable[ProtocolPort]) -> None:
    for index, port in enumerate(ports):
        path = ("spec", field, index)
        if port.protocol.upper() not in _PROTOCOLS:
            message = f"{port.protocol!r} is no protocol with ports"
            report.error(codes.FAILSAFE, (*path, "protocol"), message, "write TCP, UDP or SCTP")
        if not 1 <= port.port <= _MAX_PORT:
            report.error(codes.FAILSAFE, (*path, "port"), f"the port {port.port} is not in 1-{_MAX_PORT}")
        if not port.net:
            continue
        try:
            read_set_cidr(port.net)
        except BadValueError as problem:
            code = codes.CIDR_MAPPED if isinstance(problem, MappedAddressError) else codes.FAILSAFE
            report.error(code, (*path, "net"), problem.message, problem.help)
