"""Every refusal: the rule's body, the code, and the line of the body it points at (the body begins on line 5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

SUBJECT = "endpointSelector: {}"


def ingress(statement: str) -> str:
    return f"{SUBJECT}\ningress:\n- {statement}"


def egress(statement: str) -> str:
    return f"{SUBJECT}\negress:\n- {statement}"


def port(fields: str) -> str:
    return ingress(f"toPorts:\n  - ports:\n    - {{{fields}}}")


def icmp(fields: str) -> str:
    return ingress(f"icmps:\n  - fields:\n    - {{{fields}}}")


REFUSALS = {
    "subject and nodes": (f"{SUBJECT}\nnodeSelector: {{}}\ningress: [{{}}]", "CIL014", 6),
    "no subject": ("ingress: [{}]", "CIL013", 5),
    "no section": (SUBJECT, "CIL015", 5),
    "empty sections": (f"{SUBJECT}\ningress: []\negressDeny: []", "CIL015", 5),
    "null list": (ingress("fromEndpoints:"), "CIL002", 7),
    "null selector": ("endpointSelector:\ningress: [{}]", "CIL002", 5),
    "null item": (f"{SUBJECT}\ningress:\n-", "CIL002", 7),
    "unknown field": (ingress("fromPods: []"), "CIL001", 7),
    "rules under deny": (f"{SUBJECT}\ningressDeny:\n- toPorts: [{{ports: [], rules: {{}}}}]", "CIL001", 7),
    "names under deny": (f"{SUBJECT}\negressDeny:\n- toFQDNs: [{{matchName: a.b}}]", "CIL001", 7),
    "two kinds": (ingress("fromEndpoints: [{}]\n  fromEntities: [host]"), "CIL022", 8),
    "ports and icmps": (ingress("toPorts: [{ports: [{port: '1'}]}]\n  icmps: [{fields: [{type: 8}]}]"), "CIL023", 8),
    "authentication mode": (ingress("authentication: {mode: maybe}"), "CIL024", 7),
    "other namespace": (
        "endpointSelector:\n  matchLabels:\n    io.kubernetes.pod.namespace: ops\ningress: [{}]",
        "CIL018",
        7,
    ),
    "other namespace, expression": (
        "endpointSelector:\n  matchExpressions:\n"
        "  - {key: k8s:io.kubernetes.pod.namespace, operator: In, values: [ops]}\ningress: [{}]",
        "CIL018",
        7,
    ),
    "init in a namespace": ("endpointSelector: {matchLabels: {'reserved:init': ''}}\ningress: [{}]", "CIL019", 5),
    "two colons": (ingress("fromEndpoints: [{matchLabels: {'k8s:a:b': c}}]"), "CIL020", 7),
    "bad source": (ingress("fromEndpoints: [{matchLabels: {'k-s:app': c}}]"), "CIL020", 7),
    "bad value": (ingress("fromEndpoints: [{matchLabels: {app: '-'}}]"), "CIL020", 7),
    "operator": (ingress("fromEndpoints: [{matchExpressions: [{key: a, operator: Is}]}]"), "CIL020", 7),
    "In without values": (ingress("fromEndpoints: [{matchExpressions: [{key: a, operator: In}]}]"), "CIL020", 7),
    "Exists with values": (
        ingress("fromEndpoints: [{matchExpressions: [{key: a, operator: Exists, values: [b]}]}]"),
        "CIL020",
        7,
    ),
    "unknown source": (ingress("fromEndpoints: [{matchLabels: {'cni:app': c}}]"), "CIL021", 7),
    "unknown reserved": (ingress("fromEndpoints: [{matchLabels: {'reserved:nobody': ''}}]"), "CIL021", 7),
    "k8s label of a node": (ingress("fromNodes: [{matchLabels: {'k8s:role': a}}]"), "CIL021", 7),
    "empty prefix": (ingress("fromCIDR: ['']"), "CIL025", 7),
    "dotted mask": (ingress("fromCIDR: [10.0.0.0/255.0.255.0]"), "CIL025", 7),
    "contiguous dotted mask": (ingress("fromCIDR: [10.0.0.0/255.0.0.0]"), "CIL025", 7),
    "mapped prefix": (ingress("fromCIDR: ['::ffff:10.0.0.0/104']"), "CIL025", 7),
    "leading zero": (ingress("fromCIDR: [010.0.0.0/8]"), "CIL025", 7),
    "bare address in a set": (ingress("fromCIDRSet: [{cidr: 10.0.0.1}]"), "CIL026", 7),
    "exception outside": (ingress("fromCIDRSet: [{cidr: 10.0.0.0/8, except: [11.0.0.0/16]}]"), "CIL027", 7),
    "exception wider": (ingress("fromCIDRSet: [{cidr: 10.0.0.0/16, except: [10.0.0.0/8]}]"), "CIL027", 7),
    "exception of the other family": (
        ingress("fromCIDRSet: [{cidr: 10.0.0.0/16, except: ['2001:db8::/32']}]"),
        "CIL027",
        7,
    ),
    "bad exception": (ingress("fromCIDRSet: [{cidr: 10.0.0.0/16, except: [office]}]"), "CIL025", 7),
    "no member of a set": (ingress("fromCIDRSet: [{}]"), "CIL028", 7),
    "two members of a set": (ingress("fromCIDRSet: [{cidr: 10.0.0.0/8, cidrGroupRef: g}]"), "CIL028", 7),
    "group name": (ingress("fromCIDRSet: [{cidrGroupRef: A_B}]"), "CIL029", 7),
    "group selector empty": (ingress("fromCIDRSet: [{cidrGroupSelector: {}}]"), "CIL030", 7),
    "group selector negative": (
        ingress("fromCIDRSet: [{cidrGroupSelector: {matchExpressions: [{key: a, operator: DoesNotExist}]}}]"),
        "CIL030",
        7,
    ),
    "entity": (ingress("fromEntities: [host, internet]"), "CIL031", 7),
    "service without a name": (egress("toServices: [{k8sService: {namespace: shop}}]"), "CIL032", 7),
    "service without a member": (egress("toServices: [{}]"), "CIL032", 7),
    "empty toServices": (egress("toServices: []\n  toPorts: [{ports: [{port: '1'}]}]"), "CIL033", 7),
    "empty toFQDNs": (egress("toFQDNs: []\n  toPorts: [{ports: [{port: '1'}]}]"), "CIL033", 7),
    "empty toGroups": (egress("toGroups: []"), "CIL033", 7),
    "empty fromGroups": (ingress("fromGroups: []"), "CIL033", 7),
    "missing group": (ingress("fromCIDRSet: [{cidrGroupRef: office}]"), "CIL050", 7),
    "missing group denied": (f"{SUBJECT}\ningressDeny: [{{fromCIDRSet: [{{cidrGroupRef: office}}]}}]", "CIL050", 6),
    "missing service": (egress("toServices: [{k8sService: {serviceName: cart}}]"), "CIL051", 7),
    "port too large": (port("port: '65536'"), "CIL035", 9),
    "port is no name": (port("port: web--ui"), "CIL035", 9),
    "port name too long": (port("port: a-very-long-name"), "CIL035", 9),
    "octal": (port("port: '010'"), "CIL036", 9),
    "hexadecimal": (port("port: '0x50'"), "CIL036", 9),
    "binary": (port("port: '0b1'"), "CIL036", 9),
    "underscore": (port("port: '1_000'"), "CIL036", 9),
    "no port": (port("protocol: TCP"), "CIL037", 9),
    "empty port": (port("port: ''"), "CIL037", 9),
    "range backwards": (port("port: '80', endPort: 79"), "CIL038", 9),
    "range from 0": (port("port: '0', endPort: 80"), "CIL038", 9),
    "range from a name": (port("port: http, endPort: 8080"), "CIL038", 9),
    "endPort too large": (port("port: '80', endPort: 65536"), "CIL038", 9),
    "port of GRE": (port("port: '80', protocol: GRE"), "CIL035", 9),
    "endPort of GRE": (port("endPort: 80, protocol: GRE"), "CIL038", 9),
    "protocol": (port("port: '80', protocol: QUIC"), "CIL039", 9),
    "ICMP as a protocol": (port("port: '0', protocol: ICMPv6"), "CIL039", 9),
    "41 ports": (
        ingress("toPorts:\n  - ports: [" + ", ".join(f"{{port: '{n}'}}" for n in range(1, 42)) + "]"),
        "CIL017",
        8,
    ),
    "41 ICMP fields": (ingress("icmps:\n  - fields: [" + ", ".join(["{type: 8}"] * 41) + "]"), "CIL017", 8),
    "ICMP family": (icmp("type: 8, family: IPv5"), "CIL040", 9),
    "ICMP type": (icmp("type: 256"), "CIL041", 9),
    "ICMP type with a zero": (icmp("type: '08'"), "CIL041", 9),
    "ICMP name of the other family": (icmp("type: PacketTooBig"), "CIL041", 9),
    "ICMP name in lower case": (icmp("type: echorequest"), "CIL041", 9),
    "ICMP without a type": (icmp("family: IPv4"), "CIL004", 9),
    "http": (
        ingress("toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{}]}}]"),
        "CIL060",
        7,
    ),
    "TLS": (ingress("toPorts: [{ports: [{port: '80', protocol: TCP}], terminatingTLS: {}}]"), "CIL061", 7),
    "server names": (egress("toPorts: [{ports: [{port: '80'}], serverNames: [a]}]"), "CIL061", 7),
    "listener": (egress("toPorts: [{ports: [{port: '80', protocol: TCP}], listener: {}}]"), "CIL062", 7),
    "authentication": (ingress("fromEndpoints: [{}]\n  authentication: {mode: required}"), "CIL063", 8),
    "groups": (ingress("fromGroups: [{aws: {}}]"), "CIL064", 7),
    "requires": (ingress("fromRequires: [{}]"), "CIL068", 7),
}
BESIDE_UNSUPPORTED = {
    "two parsers": (
        egress("toPorts: [{ports: [{port: '53', protocol: TCP}], rules: {http: [{}], dns: [{matchName: a}]}}]"),
        "CIL042",
    ),
    "http over ANY": (ingress("toPorts: [{ports: [{port: '80'}], rules: {http: [{}]}}]"), "CIL043"),
    "http on port 0": (ingress("toPorts: [{ports: [{port: '0', protocol: TCP}], rules: {http: [{}]}}]"), "CIL044"),
    "dns without ports": (egress("toPorts: [{rules: {dns: [{matchName: a}]}}]"), "CIL044"),
    "dns on a range": (
        egress("toPorts: [{ports: [{port: '53', endPort: 54}], rules: {dns: [{matchName: a}]}}]"),
        "CIL044",
    ),
    "dns on ingress": (ingress("toPorts: [{ports: [{port: '53'}], rules: {dns: [{matchName: a}]}}]"), "CIL045"),
    "listener on ingress": (ingress("toPorts: [{ports: [{port: '80'}], listener: {}}]"), "CIL046"),
    "empty server name": (egress("toPorts: [{ports: [{port: '80'}], serverNames: ['']}]"), "CIL046"),
    "dns by nothing": (egress("toPorts: [{ports: [{port: '53'}], rules: {dns: [{}]}}]"), "CIL048"),
    "name by nothing": (egress("toFQDNs: [{}]"), "CIL048"),
    "name and pattern": (egress("toFQDNs: [{matchName: a, matchPattern: b}]"), "CIL048"),
    "star in a name": (egress("toFQDNs: [{matchName: '*.a'}]"), "CIL047"),
    "leading dot": (egress("toFQDNs: [{matchName: .a}]"), "CIL047"),
    "two dots": (egress("toFQDNs: [{matchPattern: '*..a'}]"), "CIL047"),
    "long name": (egress(f"toFQDNs: [{{matchName: {'a' * 256}}}]"), "CIL047"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refused_at_its_line(case: str, compile_rule: Callable) -> None:
    body, code, line = REFUSALS[case]
    assert compile_rule(body).errors == [(code, line)]


@pytest.mark.parametrize("case", BESIDE_UNSUPPORTED)
def test_refused_beside_what_is_unsupported(case: str, compile_rule: Callable) -> None:
    body, code = BESIDE_UNSUPPORTED[case]
    assert code in [found for found, _ in compile_rule(body).errors]


OBJECTS = {
    "no rules": ("kind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: shop}", "CIL011", 1),
    "empty specs": ("kind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: shop}\nspecs: []", "CIL011", 1),
    "null rule": ("kind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: shop}\nspecs:\n-", "CIL002", 5),
    "no name": (
        "kind: CiliumNetworkPolicy\nmetadata: {namespace: shop}\nspec: {endpointSelector: {}, ingress: [{}]}",
        "CIL004",
        3,
    ),
    "description beside spec": (
        "kind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: shop}\ndescription: x\n"
        "spec: {endpointSelector: {}, ingress: [{}]}",
        "CIL001",
        4,
    ),
    "clusterwide in a namespace": (
        "kind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p, namespace: a}\n"
        "spec: {endpointSelector: {}, ingress: [{}]}",
        "CIL012",
        3,
    ),
    "nodes in specs": (
        "kind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: a}\nspecs:\n"
        "- {endpointSelector: {}, ingress: [{}]}\n- {nodeSelector: {}, ingress: [{}]}",
        "CIL014",
        6,
    ),
    "L7 of nodes, ingress": (
        "kind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\nspec:\n  nodeSelector: {}\n  ingress:\n"
        "  - toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{}]}}]",
        "CIL045",
        7,
    ),
    "L7 of nodes, egress": (
        "kind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\nspec:\n  nodeSelector: {}\n  egress:\n"
        "  - toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{}]}}]",
        "CIL045",
        7,
    ),
    "label source of nodes": (
        "kind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\nspec:\n"
        "  nodeSelector: {matchLabels: {'node:role': x}}\n  ingress: [{}]",
        "CIL021",
        5,
    ),
    "no peer endpoint of nodes": (
        "kind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\nspec:\n"
        "  nodeSelector: {matchLabels: {'reserved:remote-node': ''}}\n  ingress: [{}]",
        "CIL021",
        5,
    ),
    "group entry": ("kind: CiliumCIDRGroup\nmetadata: {name: g}\nspec:\n  externalCIDRs:\n  - office", "CIL049", 6),
    "group without prefixes": ("kind: CiliumCIDRGroup\nmetadata: {name: g}\nspec: {}", "CIL004", 4),
}


@pytest.mark.parametrize("case", OBJECTS)
def test_object_refused(case: str, compile_policy: Callable) -> None:
    body, code, line = OBJECTS[case]
    assert (code, line) in compile_policy(f"apiVersion: cilium.io/v2\n{body}\n").errors
