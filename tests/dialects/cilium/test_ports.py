"""Ports and ICMP types of one statement as IR matches."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bpfence.dialects.cilium.ports import BadPort, PortName, PortNumber, parse_port
from bpfence.ir.nodes import L4Match, NamedPort

ALL_TRANSPORTS = ((6, 6), (17, 17), (132, 132))


def single(number: int) -> tuple[tuple[int, int], ...]:
    return ((number, number),)


def names(name: str, *protocols: int) -> tuple[NamedPort, ...]:
    return tuple(NamedPort(name, protocol, "destination") for protocol in protocols)


PORTS = {
    "number": ("port: '80', protocol: TCP", L4Match(protocols=single(6), destination_ports=single(80))),
    "lower case": ("port: '80', protocol: udp", L4Match(protocols=single(17), destination_ports=single(80))),
    "no protocol": ("port: '80'", L4Match(protocols=ALL_TRANSPORTS, destination_ports=single(80))),
    "range": (
        "port: '80', endPort: 90, protocol: SCTP",
        L4Match(protocols=single(132), destination_ports=((80, 90),)),
    ),
    "endPort 0 is absent": (
        "port: '80', endPort: 0, protocol: TCP",
        L4Match(protocols=single(6), destination_ports=single(80)),
    ),
    "endPort equal": (
        "port: '80', endPort: 80, protocol: TCP",
        L4Match(protocols=single(6), destination_ports=single(80)),
    ),
    "every port of TCP": ("port: '0', protocol: TCP", L4Match(protocols=single(6))),
    "everything": ("port: '0', protocol: ANY", L4Match()),
    "name": ("port: HTTP, protocol: TCP", L4Match(protocols=single(6), named_ports=names("http", 6))),
    "name of any protocol": ("port: dns", L4Match(protocols=ALL_TRANSPORTS, named_ports=names("dns", 6, 17, 132))),
    "extended protocol": ("protocol: GRE", L4Match(protocols=single(47))),
    "extended protocol on 0": ("port: '0', protocol: ah", L4Match(protocols=single(51))),
}


@pytest.mark.parametrize("case", PORTS)
def test_port(case: str, compile_rule: Callable) -> None:
    port, expected = PORTS[case]
    (policy,) = compile_rule(f"endpointSelector: {{}}\negress: [{{toPorts: [{{ports: [{{{port}}}]}}]}}]").policies
    assert policy.egress.rules[0].l4 == (expected,)


ICMP = {
    "number": ("type: 8", 1, 8),
    "quoted number": ("type: '8'", 1, 8),
    "zero is a type": ("type: EchoReply", 1, 0),
    "name of IPv4": ("type: EchoRequest, family: IPv4", 1, 8),
    "name of IPv6": ("type: EchoRequest, family: IPv6", 58, 128),
    "largest": ("type: 255, family: IPv6", 58, 255),
}


@pytest.mark.parametrize("case", ICMP)
def test_icmp(case: str, compile_rule: Callable) -> None:
    field, protocol, number = ICMP[case]
    (policy,) = compile_rule(f"endpointSelector: {{}}\ningress: [{{icmps: [{{fields: [{{{field}}}]}}]}}]").policies
    assert policy.ingress.rules[0].l4 == (L4Match(protocols=single(protocol), icmp_types=single(number)),)


def test_all_items_are_alternatives(compile_rule: Callable) -> None:
    body = "endpointSelector: {}\ningress: [{toPorts: [{ports: [{port: '1'}, {port: '2'}]}, {ports: [{port: '1'}]}]}]"
    (policy,) = compile_rule(body).policies
    assert [match.destination_ports for match in policy.ingress.rules[0].l4] == [single(1), single(2)]


TEXTS = {
    "0": PortNumber(0),
    "65535": PortNumber(65535),
    "80a": PortName("80a"),
    "a": PortName("a"),
    "Web-UI": PortName("web-ui"),
    "123456789012345": None,
    "abcdefghijklmno": PortName("abcdefghijklmno"),
    "abcdefghijklmnop": None,
    "-80": None,
    "80-": None,
    "+80": None,
    " 80": None,
    "8\u0660": None,
    "http\n": None,
}


@pytest.mark.parametrize("text", TEXTS)
def test_port_text(text: str) -> None:
    expected = TEXTS[text]
    parsed = parse_port(text)
    assert isinstance(parsed, BadPort) if expected is None else parsed == expected


@pytest.mark.parametrize("text", ["00", "010", "0o17", "0x50", "0xzz", "0b1", "1_0"])
def test_other_bases_are_ambiguous(text: str) -> None:
    parsed = parse_port(text)
    assert isinstance(parsed, BadPort)
    assert parsed.ambiguous
