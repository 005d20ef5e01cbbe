"""What Calico's API refuses and what it takes, row by row of its schema, through the same door as `bpfence check`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import check_program

V3, CRD = "projectcalico.org/v3", "crd.projectcalico.org/v1"
WORLD = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {env: prod}}}
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: bot, namespace: shop}}
- {apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}},
   spec: {nodeName: n1, containers: [{name: c, image: i, ports: [{name: http, containerPort: 80}]}]},
   status: {podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}]}}
- {apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
   metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}},
   endpoints: [{addresses: [10.1.0.1]}], ports: [{port: 80}]}
- {apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: e0, labels: {role: host}},
   spec: {node: n1, interfaceName: eth0, profiles: [projectcalico-default-allow]}}
"""
Codes = Callable[[str], list[str]]


@pytest.fixture
def codes(tmp_path: Path) -> Codes:
    """The codes of all errors of a document beside a small cluster, sorted."""

    def check(text: str) -> list[str]:
        for name, content in (("world.yaml", WORLD), ("policy.yaml", text)):
            (tmp_path / name).write_text(content)
        loaded = load_input([str(tmp_path)])
        if not loaded.diagnostics.has_errors:
            check_program(loaded, Options())
        return sorted({item.code for item in loaded.diagnostics.sorted() if item.is_error})

    return check


def document(kind: str, spec: str, metadata: str = "{name: p}", version: str = V3) -> str:
    return f"apiVersion: {version}\nkind: {kind}\nmetadata: {metadata}\nspec: {spec}\n"


def policy(kind: str, spec: str) -> str:
    return document(kind, spec, "{name: p, namespace: shop}" if kind.endswith("dNetworkPolicy") else "{name: p}")


def np(spec: str) -> str:
    return document("NetworkPolicy", spec, "{name: p, namespace: shop}")


def gnp(spec: str) -> str:
    return document("GlobalNetworkPolicy", spec)


def raw(text: str) -> str:
    return gnp(f"{{selector: role == 'host', doNotTrack: true, applyOnForward: true, {text}}}")


def rule(text: str) -> str:
    return gnp(f"{{ingress: [{text}]}}")


def out(text: str) -> str:
    return gnp(f"{{egress: [{text}]}}")


def side(text: str) -> str:
    return rule(f"{{action: Deny, source: {text}}}")


def ports(text: str, protocol: str = "TCP") -> str:
    return rule(f"{{action: Deny, protocol: {protocol}, destination: {{ports: {text}}}}}")


def nets(count: int) -> str:
    return "[" + ", ".join(f"10.{n // 256}.{n % 256}.0/24" for n in range(count)) + "]"


LONG = "a" * 64
OF_RULE = {
    "3.2 action missing": ("{protocol: TCP}", "CAL004"),
    "3.2 action lower case": ("{action: allow}", "CAL040"),
    "3.2 action other": ("{action: Reject}", "CAL040"),
    "3.2 ipVersion 5": ("{action: Deny, ipVersion: 5}", "CAL041"),
    "3.2 ipVersion 0": ("{action: Deny, ipVersion: 0}", "CAL041"),
    "3.2 ipVersion in quotes": ('{action: Deny, ipVersion: "4"}', "CAL003"),
    "3.2 ipVersion 4 with IPv6 net": ("{action: Deny, ipVersion: 4, source: {nets: ['2001:db8::/32']}}", "CAL042"),
    "3.2 ipVersion 6 with IPv4 notNets": ("{action: Deny, ipVersion: 6, source: {notNets: [10.0.0.0/8]}}", "CAL042"),
    "3.2 ipVersion 6 with ICMP": ("{action: Deny, ipVersion: 6, protocol: ICMP}", "CAL042"),
    "3.2 ipVersion 6 with 1": ("{action: Deny, ipVersion: 6, protocol: 1}", "CAL042"),
    "3.2 ipVersion 6 with not ICMP": ("{action: Deny, ipVersion: 6, notProtocol: ICMP}", "CAL042"),
    "3.2 ipVersion 4 with ICMPv6": ("{action: Deny, ipVersion: 4, protocol: ICMPv6}", "CAL042"),
    "3.2 ipVersion 4 with 58": ("{action: Deny, ipVersion: 4, protocol: 58}", "CAL042"),
    "3.2 ipVersion 4 with not 58": ("{action: Deny, ipVersion: 4, notProtocol: 58}", "CAL042"),
    "3.2 ipVersion 4 with ICMP": ("{action: Deny, ipVersion: 4, protocol: ICMP}", ""),
    "2 protocol tcp": ("{action: Deny, protocol: tcp}", "CAL043"),
    "2 protocol GRE": ("{action: Deny, protocol: GRE}", "CAL043"),
    "2 protocol 0": ("{action: Deny, protocol: 0}", "CAL043"),
    "2 protocol 256": ("{action: Deny, protocol: 256}", "CAL043"),
    "2 protocol 255": ("{action: Deny, protocol: 255}", ""),
    "2 protocol in digits": ("{action: Deny, protocol: '47'}", ""),
    "2 protocol is a float": ("{action: Deny, protocol: 6.5}", "CAL003"),
    "2 protocol is a boolean": ("{action: Deny, protocol: true}", "CAL003"),
    "2 notProtocol Tcp": ("{action: Deny, notProtocol: Tcp}", "CAL043"),
    "3.2 both protocols": ("{action: Deny, protocol: TCP, notProtocol: UDP}", ""),
    "3.2 icmp without protocol": ("{action: Deny, icmp: {type: 8}}", "CAL044"),
    "3.2 icmp with TCP": ("{action: Deny, protocol: TCP, icmp: {type: 8}}", "CAL044"),
    "3.2 icmp with 1": ("{action: Deny, protocol: 1, icmp: {type: 8}}", ""),
    "3.2 icmp with '58'": ("{action: Deny, protocol: '58', icmp: {type: 128, code: 255}}", ""),
    "3.2 icmp code alone": ("{action: Deny, protocol: ICMP, icmp: {code: 0}}", "CAL045"),
    "3.2 notICMP code alone": ("{action: Deny, protocol: ICMP, notICMP: {code: 0}}", "CAL045"),
    "3.2 notICMP without protocol": ("{action: Deny, notICMP: {type: 8}}", ""),
    "2 icmp type 255": ("{action: Deny, protocol: ICMP, icmp: {type: 255}}", "CAL046"),
    "2 icmp type 254": ("{action: Deny, protocol: ICMP, icmp: {type: 254}}", ""),
    "2 icmp type -1": ("{action: Deny, protocol: ICMP, icmp: {type: -1}}", "CAL046"),
    "2 icmp code 256": ("{action: Deny, protocol: ICMP, icmp: {type: 3, code: 256}}", "CAL046"),
    "3.2 number without protocol": ("{action: Deny, destination: {ports: [80]}}", "CAL049"),
    "3.2 range without protocol": ("{action: Deny, source: {notPorts: ['1:9']}}", "CAL049"),
    "3.2 number with notProtocol": ("{action: Deny, notProtocol: UDP, destination: {ports: [80]}}", "CAL049"),
    "3.2 name and number without protocol": ("{action: Deny, destination: {ports: [http, 80]}}", "CAL049"),
    "3.2 name without protocol": ("{action: Deny, destination: {ports: [http]}}", ""),
    "3.2 ports with ICMP": ("{action: Deny, protocol: ICMP, destination: {ports: [80]}}", "CAL050"),
    "3.2 name with ICMP": ("{action: Deny, protocol: ICMP, destination: {ports: [http]}}", "CAL050"),
    "3.2 ports with UDPLite": ("{action: Deny, protocol: UDPLite, source: {notPorts: [80]}}", "CAL050"),
    "3.2 ports with 47": ("{action: Deny, protocol: 47, source: {ports: [80]}}", "CAL050"),
    "3.2 ports with '132'": ("{action: Deny, protocol: '132', destination: {ports: [80]}}", ""),
    "3.2 both families in one list": ("{action: Deny, source: {nets: [10.0.0.0/8, '2001:db8::/32']}}", "CAL053"),
    "3.2 both families across sides": (
        "{action: Deny, source: {nets: [10.0.0.0/8]}, destination: {notNets: ['2001:db8::/32']}}",
        "CAL053",
    ),
    "3.2 0.0.0.0/0 in notNets": ("{action: Deny, source: {notNets: [0.0.0.0/0]}}", "CAL055"),
    "3.2 ::/0 in notNets": ("{action: Deny, destination: {notNets: ['::/0']}}", "CAL055"),
    "3.2 ::/0 written out": ("{action: Deny, destination: {notNets: ['0:0:0:0:0:0:0:0/0']}}", "CAL055"),
    "3.2 0.0.0.0/0 in nets": ("{action: Deny, source: {nets: [0.0.0.0/0]}}", ""),
    "3.2 annotation key": ("{action: Deny, metadata: {annotations: {...: x}}}", "CAL014"),
    "3.2 annotations": ("{action: Deny, metadata: {annotations: {Team.Example/Why: 'x y'}}}", ""),
    "3.2 unknown field": ("{action: Deny, sources: {}}", "CAL001"),
    "3.3 domains": ("{action: Deny, destination: {domains: [example.com]}}", "CAL001"),
    "2 a bare address": ("{action: Deny, source: {nets: [10.0.0.1]}}", "CAL051"),
    "2 host bits": ("{action: Deny, source: {nets: [10.0.0.1/8]}}", "CAL051"),
    "2 a leading zero": ("{action: Deny, source: {nets: [010.0.0.0/8]}}", "CAL051"),
    "2 a mapped address": ("{action: Deny, source: {nets: ['::ffff:10.0.0.0/104']}}", "CAL054"),
    "3.2 http with Deny": ("{action: Deny, http: {methods: [GET]}}", "CAL061"),
    "3.2 http with UDP": ("{action: Allow, protocol: UDP, http: {methods: [GET]}}", "CAL061"),
    "3.2 http methods twice": ("{action: Allow, http: {methods: [GET, GET]}}", "CAL061"),
    "3.2 http path of both kinds": ("{action: Allow, http: {paths: [{exact: /a, prefix: /a}]}}", "CAL061"),
    "3.2 http path of neither kind": ("{action: Allow, http: {paths: [{}]}}", "CAL061"),
    "3.2 http path without slash": ("{action: Allow, http: {paths: [{exact: a}]}}", "CAL061"),
    "3.2 http path with ?": ("{action: Allow, http: {paths: [{exact: '/a?b'}]}}", "CAL061"),
    "3.2 http path with #": ("{action: Allow, http: {paths: [{prefix: '/a#b'}]}}", "CAL061"),
    "3.2 http path with a space": ("{action: Allow, http: {paths: [{prefix: '/a b'}]}}", "CAL061"),
    "3.2 http path too long": (f"{{action: Allow, http: {{paths: [{{exact: /{'a' * 1024}}}]}}}}", "CAL061"),
    "3.2 21 http methods": (
        f"{{action: Allow, http: {{methods: [{', '.join(f'M{n}' for n in range(21))}]}}}}",
        "CAL061",
    ),
    "3.2 valid http": ("{action: Allow, protocol: TCP, http: {methods: [GET], paths: [{exact: /a}]}}", "CAL092"),
}
OF_SIDE = {
    "3.3 256 nets": (f"{{nets: {nets(256)}}}", ""),
    "3.3 257 nets": (f"{{nets: {nets(257)}}}", "CAL052"),
    "3.3 257 notNets": (f"{{notNets: {nets(257)}}}", "CAL052"),
    "2 selector of 1024": (f"{{selector: \"app == '{'a' * 1015}'\"}}", ""),
    "2 selector of 1025": (f"{{selector: \"app == '{'a' * 1016}'\"}}", "CAL031"),
    "2 notSelector of 1025": (f"{{notSelector: \"app == '{'a' * 1016}'\"}}", "CAL031"),
    "2 namespaceSelector of 1025": (f"{{namespaceSelector: \"app == '{'a' * 1016}'\"}}", "CAL031"),
    "2 account selector of 1025": (f"{{serviceAccounts: {{selector: \"app == '{'a' * 1016}'\"}}}}", ""),
    "4 syntax": ("{selector: app = 'x'}", "CAL030"),
    "3.3 global in selector": ("{selector: global()}", "CAL032"),
    "3.1 global in a literal": ("{selector: \"a == 'global('\"}", "CAL032"),
    "3.1 global in notSelector": ("{notSelector: global()}", "CAL032"),
    "3.1 global in account selector": ("{serviceAccounts: {selector: global()}}", "CAL032"),
    "3.3 global alone": ("{namespaceSelector: ' global(\t) '}".replace("\t", " "), ""),
    "3.3 global in parentheses": ("{namespaceSelector: (global())}", "CAL033"),
    "3.3 not global": ("{namespaceSelector: '!global()'}", "CAL033"),
    "3.3 global and": ("{namespaceSelector: global() && has(x)}", "CAL033"),
    "3.3 global or": ("{namespaceSelector: 'global()||has(x)'}", "CAL033"),
    "3.3 services without name": ("{services: {namespace: shop}}", "CAL056"),
    "3.3 services in upper case": ("{services: {name: DB, namespace: shop}}", "CAL056"),
    "3.1 services without namespace": ("{services: {name: db}}", "CAL056"),
    "3.3 services": ("{services: {name: db, namespace: shop}}", ""),
    "3.3 services with nets": ("{services: {name: db, namespace: shop}, nets: [10.0.0.0/8]}", "CAL057"),
    "3.3 services with notNets": ("{services: {name: db, namespace: shop}, notNets: [10.0.0.0/8]}", "CAL057"),
    "3.3 services with selector": ("{services: {name: db, namespace: shop}, selector: has(a)}", "CAL057"),
    "3.3 services with notSelector": ("{services: {name: db, namespace: shop}, notSelector: has(a)}", "CAL057"),
    "3.3 services with namespaceSelector": (
        "{services: {name: db, namespace: shop}, namespaceSelector: all()}",
        "CAL057",
    ),
    "3.3 services with accounts": (
        "{services: {name: db, namespace: shop}, serviceAccounts: {names: [bot]}}",
        "CAL057",
    ),
    "3.3 account name": ('{serviceAccounts: {names: ["it\'s"]}}', "CAL060"),
    "12-9 account name with a quote": ("{serviceAccounts: {names: [\"a' || all() || x == 'b\"]}}", "CAL060"),
    "3.3 accounts": ("{serviceAccounts: {names: [bot], selector: has(x)}}", ""),
}
OF_PORTS = {
    "2 port 0": ("[0]", "CAL047"),
    "2 port 65536": ("[65536]", "CAL047"),
    "2 port 65535": ("[1, 65535, '1:65535']", ""),
    "2 range from 0": ("['0:9']", "CAL047"),
    "2 range backwards": ("['9:5']", "CAL047"),
    "2 range of one": ("['9:9']", ""),
    "2 name and number": ("['http:80']", "CAL047"),
    "2 range with a dash": ("['80-90']", "CAL047"),
    "2 an upper case name": ("[HTTP]", "CAL047"),
    "2 a name of 16": ("[aaaaaaaaaaaaaaaa]", "CAL047"),
    "2 a name of 15": ("[aaaaaaaaaaaaaaa]", ""),
    "2 a name with two dashes": ("[a--b]", "CAL047"),
    "2 a name that ends in a dash": ("[a-]", "CAL047"),
    "1 base 60 is none": ("[20:22, 1:2]", ""),
    "3.3 50 ports": (f"{list(range(1, 51))}", ""),
    "3.3 51 ports": (f"{list(range(1, 52))}", "CAL048"),
    "2 a port that is a float": ("[80.5]", "CAL003"),
    "2 a port that is a boolean": ("[true]", "CAL003"),
}
OF_POLICY = {
    "3.1 tier in upper case": (gnp("{tier: T}"), "CAL020"),
    "3.1 no such tier": (gnp("{tier: nowhere}"), "CAL021"),
    "12-11 no such tier for a draft": (document("StagedGlobalNetworkPolicy", "{tier: nowhere}"), "CAL021"),
    "3.1 the empty tier": (gnp("{tier: ''}"), ""),
    "3.1 a built-in tier": (gnp("{tier: kube-admin}"), ""),
    "3.1 order is a word": (gnp("{order: first}"), "CAL003"),
    "1 order .nan": (gnp("{order: .nan}"), "CAL022"),
    "1 order .inf": (gnp("{order: .inf}"), "CAL022"),
    "3.1 selector syntax": (gnp("{selector: 'a =='}"), "CAL030"),
    "3.1 selector global": (gnp("{selector: global()}"), "CAL032"),
    "3.1 account selector global": (gnp("{serviceAccountSelector: global()}"), "CAL032"),
    "3.1 namespace selector global": (gnp("{namespaceSelector: global()}"), "CAL032"),
    "3.1 namespace selector in an NP": (np("{namespaceSelector: all()}"), "CAL001"),
    "3.1 doNotTrack in an NP": (np("{doNotTrack: true}"), "CAL001"),
    "3.1 preDNAT in an NP": (np("{preDNAT: true}"), "CAL001"),
    "3.1 applyOnForward in an NP": (np("{applyOnForward: true}"), "CAL001"),
    "3.1 type twice": (gnp("{types: [Ingress, Ingress]}"), "CAL024"),
    "3.1 type other": (gnp("{types: [ingress]}"), "CAL023"),
    "3.1 types empty": (gnp("{types: []}"), ""),
    "13 1024 rules": (gnp(f"{{ingress: [{', '.join(['{action: Deny}'] * 1024)}]}}"), ""),
    "13 1025 rules": (gnp(f"{{ingress: [{', '.join(['{action: Deny}'] * 1025)}]}}"), "CAL025"),
    "13 1025 egress rules": (gnp(f"{{egress: [{', '.join(['{action: Deny}'] * 1025)}]}}"), "CAL025"),
    "3.1 http in egress": (out("{action: Allow, http: {methods: [GET]}}"), "CAL061"),
    "3.1 source services in egress": (out("{action: Deny, source: {services: {name: db, namespace: shop}}}"), "CAL058"),
    "3.1 destination services in ingress": (
        rule("{action: Deny, destination: {services: {name: db, namespace: shop}}}"),
        "CAL058",
    ),
    "3.2 services with ports": (
        out("{action: Deny, protocol: TCP, destination: {services: {name: db, namespace: shop}, ports: [80]}}"),
        "CAL059",
    ),
    "3.2 services with notPorts": (
        out("{action: Deny, protocol: TCP, destination: {services: {name: db, namespace: shop}, notPorts: [80]}}"),
        "CAL059",
    ),
    "3.2 source services with source ports": (
        rule("{action: Deny, protocol: TCP, source: {services: {name: db, namespace: shop}, ports: [80]}}"),
        "",
    ),
    "3.1 services without namespace in an NP": (
        np("{egress: [{action: Deny, destination: {services: {name: db}}}]}"),
        "",
    ),
    "3.1 doNotTrack with preDNAT": (gnp("{doNotTrack: true, preDNAT: true, applyOnForward: true}"), "CAL027"),
    "3.1 doNotTrack alone": (gnp("{doNotTrack: true}"), "CAL028"),
    "3.1 preDNAT alone": (gnp("{preDNAT: true, applyOnForward: false}"), "CAL028"),
    "3.1 preDNAT with egress": (
        gnp("{preDNAT: true, applyOnForward: true, egress: [{action: Deny}]}"),
        "CAL029",
    ),
    "3.1 preDNAT with type Egress": (gnp("{preDNAT: true, applyOnForward: true, types: [Ingress, Egress]}"), "CAL029"),
    "3.1 doNotTrack without rules": (gnp("{doNotTrack: true, applyOnForward: true}"), ""),
    "3.1 hint": (gnp("{performanceHints: [Fast]}"), "CAL026"),
    "2 hint twice": (gnp("{performanceHints: [AssumeNeededOnEveryNode, AssumeNeededOnEveryNode]}"), "CAL026"),
    "3.1 rules of another direction": (gnp("{types: [Ingress], egress: [{action: Deny}]}"), ""),
    "8.6 half a pair": (
        raw("ingress: [{action: Allow, protocol: TCP}]"),
        "CAL083",
    ),
    "8.6 a pair of ports": (
        raw(
            "ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}], "
            "egress: [{action: Allow, protocol: TCP, source: {ports: [80]}}]"
        ),
        "",
    ),
    "8.6 a pair of other peers": (
        raw(
            "ingress: [{action: Allow, protocol: TCP, source: {nets: [10.0.0.0/8]}, destination: {ports: [80]}}], "
            "egress: [{action: Allow, protocol: TCP, source: {ports: [80]}, destination: {nets: [10.0.0.0/9]}}]"
        ),
        "CAL083",
    ),
    "8.4 an untracked Deny of everything": (
        raw("ingress: [{action: Deny}]"),
        "CAL082",
    ),
    "8.4 an untracked Deny of UDP from everywhere": (
        raw("ingress: [{action: Deny, protocol: UDP}]"),
        "CAL082",
    ),
    "8.4 an untracked Deny of outgoing replies": (
        raw("egress: [{action: Deny, protocol: TCP}]"),
        "CAL082",
    ),
}
OF_OBJECT = {
    "2 host endpoint name": (document("HostEndpoint", "{node: n1, interfaceName: a}", "{name: 'a$b'}"), "CAL010"),
    "1 no name": (document("GlobalNetworkPolicy", "{}", "{labels: {a: b}}"), "CAL004"),
    "1 namespace on a cluster kind": (document("GlobalNetworkPolicy", "{}", "{name: p, namespace: shop}"), "CAL011"),
    "1 duplicate key": (gnp("{order: 1, order: 2}"), "SRC009"),
    "2 label value of 64": (document("GlobalNetworkSet", "{}", f"{{name: p, labels: {{a: {LONG}}}}}"), "CAL013"),
    "2 label key": (document("GlobalNetworkSet", "{}", "{name: p, labels: {.a: b}}"), "CAL013"),
    "1 label value is a number": (document("GlobalNetworkSet", "{}", "{name: p, labels: {a: 1}}"), "CAL003"),
    "1 label value is a boolean": (document("GlobalNetworkSet", "{}", "{name: p, labels: {a: yes}}"), "CAL003"),
    "2 annotation key": (document("GlobalNetworkSet", "{}", "{name: p, annotations: {...: b}}"), "CAL014"),
    "3.4 set with the namespace label": (
        document("GlobalNetworkSet", "{}", "{name: p, labels: {projectcalico.org/namespace: a}}"),
        "CAL013",
    ),
    "2 set cidr": (document("GlobalNetworkSet", "{nets: [garbage]}"), "CAL072"),
    "2 set cidr mapped": (document("GlobalNetworkSet", "{nets: ['::ffff:1.2.3.4']}"), "CAL054"),
    "3.4 tier order absent": (document("Tier", "{}", "{name: t}"), ""),
    "3.4 tier action": (document("Tier", "{defaultAction: Allow}", "{name: t}"), "CAL071"),
    "3.4 default tier as it is": (document("Tier", "{order: 1000000, defaultAction: Deny}", "{name: default}"), ""),
    "3.4 default tier with another order": (document("Tier", "{order: 1}", "{name: default}"), "CAL070"),
    "3.4 kube-admin that denies": (
        document("Tier", "{order: 1000, defaultAction: Deny}", "{name: kube-admin}"),
        "CAL070",
    ),
    "3.4 kube-baseline as it is": (
        document("Tier", "{order: 10000000, defaultAction: Pass}", "{name: kube-baseline}"),
        "",
    ),
    "3.4 host endpoint port without name": (
        document("HostEndpoint", "{node: n1, interfaceName: a, ports: [{protocol: TCP, port: 1}]}"),
        "CAL004",
    ),
    "3.4 host endpoint port of ICMP": (
        document("HostEndpoint", "{node: n1, interfaceName: a, ports: [{name: x, protocol: ICMP, port: 1}]}"),
        "CAL065",
    ),
    "3.4 a port name twice": (
        document(
            "HostEndpoint",
            "{node: n1, interfaceName: a, ports: [{name: x, protocol: 6, port: 1}, {name: x, protocol: 6, port: 2}]}",
        ),
        "",
    ),
    "3.4 profile rule": (document("Profile", "{ingress: [{action: Maybe}]}"), "CAL040"),
    "3.4 profile label": (document("Profile", f"{{labelsToApply: {{a: {LONG}}}}}"), "CAL013"),
    "6.3 unknown profile": (document("HostEndpoint", "{node: n1, interfaceName: a, profiles: [nobody]}"), "CAL067"),
    "1 profile as a custom resource": (document("Profile", "{}", version=CRD), "SRC019"),
    "3.4 workload without pod": (
        document("WorkloadEndpoint", "{node: n1, profiles: [kns.shop]}", "{name: w, namespace: shop}"),
        "CAL077",
    ),
    "3.4 workload network": (
        document("WorkloadEndpoint", "{pod: web, ipNetworks: [10.0.0.0/31]}", "{name: w, namespace: shop}"),
        "CAL068",
    ),
    "3.4 workload port without hostPort": (
        document("WorkloadEndpoint", "{pod: web, ports: [{protocol: TCP, port: 1}]}", "{name: w, namespace: shop}"),
        "CAL065",
    ),
    "3.4 staged action": (policy("StagedGlobalNetworkPolicy", "{stagedAction: set}"), "CAL073"),
    "3.4 staged Delete with a selector": (
        policy("StagedGlobalNetworkPolicy", "{stagedAction: Delete, selector: all()}"),
        "CAL074",
    ),
    "3.4 staged Delete with a tier": (policy("StagedGlobalNetworkPolicy", "{stagedAction: Delete, tier: default}"), ""),
    "3.4 staged rule": (policy("StagedNetworkPolicy", "{ingress: [{action: Maybe}]}"), "CAL040"),
    "3.4 staged doNotTrack alone": (policy("StagedGlobalNetworkPolicy", "{doNotTrack: true}"), "CAL028"),
    "3.4 staged Kubernetes Delete with rules": (
        policy("StagedKubernetesNetworkPolicy", "{stagedAction: Delete, podSelector: {matchLabels: {a: b}}}"),
        "CAL074",
    ),
    "8.4 failsafe protocol": (
        document("FelixConfiguration", "{failsafeInboundHostPorts: [{protocol: ICMP, port: 1}]}", "{name: default}"),
        "CAL069",
    ),
    "8.4 failsafe port": (
        document("FelixConfiguration", "{failsafeInboundHostPorts: [{port: 0}]}", "{name: default}"),
        "CAL069",
    ),
    "8.5 host action": (
        document("FelixConfiguration", "{defaultEndpointToHostAction: Log}", "{name: default}"),
        "CAL075",
    ),
}
ROWS = {
    **{name: (rule(text), code) for name, (text, code) in OF_RULE.items()},
    **{name: (side(text), code) for name, (text, code) in OF_SIDE.items()},
    **{name: (ports(text), code) for name, (text, code) in OF_PORTS.items()},
    **OF_POLICY,
    **OF_OBJECT,
}


@pytest.mark.parametrize("name", ROWS)
def test_row(codes: Codes, name: str) -> None:
    text, expected = ROWS[name]
    assert codes(text) == expected.split()


@pytest.mark.parametrize(
    "name",
    [name for name, (text, code) in ROWS.items() if code and "kind: Profile" not in text and "kind: Work" not in text],
)
def test_row_as_custom_resource(codes: Codes, name: str) -> None:
    text, expected = ROWS[name]
    assert codes(text.replace(V3, CRD)) == expected.split()
