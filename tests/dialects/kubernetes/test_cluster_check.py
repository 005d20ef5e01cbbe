"""ClusterNetworkPolicy and its predecessors: what their CRDs refuse, and what they accept."""

from __future__ import annotations

import pytest

SUBJECT = "subject: {namespaces: {}}"


def cluster(spec: str, kind: str = "ClusterNetworkPolicy", version: str = "v1alpha2", name: str = "p") -> str:
    head = f"apiVersion: policy.networking.k8s.io/{version}\nkind: {kind}\nmetadata: {{name: {name}}}\n"
    return f"{head}spec: {{{spec}}}\n"


def cnp(rest: str) -> str:
    return cluster(f"tier: Admin, priority: 1, {rest}")


def cnp_ingress(rule: str) -> str:
    return cnp(f"{SUBJECT}, ingress: [{rule}]")


def cnp_egress(rule: str) -> str:
    return cnp(f"{SUBJECT}, egress: [{rule}]")


def protocols(items: str, peers: str = "{namespaces: {}}") -> str:
    return cnp_egress(f"{{action: Deny, to: [{peers}], protocols: [{items}]}}")


def admin(rest: str) -> str:
    return cluster(f"priority: 1, {rest}", "AdminNetworkPolicy", "v1alpha1")


def admin_egress(rule: str) -> str:
    return admin(f"{SUBJECT}, egress: [{rule}]")


def admin_ports(items: str, peers: str = "{namespaces: {}}") -> str:
    return admin_egress(f"{{action: Deny, to: [{peers}], ports: [{items}]}}")


def baseline(rest: str, name: str = "default") -> str:
    return cluster(rest, "BaselineAdminNetworkPolicy", "v1alpha1", name)


def many(item: str, count: int) -> str:
    return ", ".join([item] * count)


DENY = "{action: Deny, from: [{namespaces: {}}]}"
PORT = "{tcp: {destinationPort: {number: 1}}}"
NETWORKS = ", ".join(f"10.{number}.0.0/16" for number in range(26))
REFUSED = [
    ("tier", cluster(f"tier: admin, priority: 1, {SUBJECT}"), "K8S040"),
    ("tier missing", cluster(f"priority: 1, {SUBJECT}"), "K8S004"),
    ("priority missing", cluster(f"tier: Admin, {SUBJECT}"), "K8S004"),
    ("priority below", cluster(f"tier: Admin, priority: -1, {SUBJECT}"), "K8S041"),
    ("priority above", cluster(f"tier: Admin, priority: 1001, {SUBJECT}"), "K8S041"),
    ("priority text", cluster(f"tier: Admin, priority: '1', {SUBJECT}"), "K8S003"),
    ("subject missing", cnp("ingress: []"), "K8S004"),
    ("subject empty", cnp("subject: {}"), "K8S042"),
    ("subject of both", cnp("subject: {namespaces: {}, pods: {podSelector: {}, namespaceSelector: {}}}"), "K8S042"),
    ("subject null", cnp("subject: {namespaces: null, pods: {podSelector: {}}}"), "K8S002"),
    ("subject selector", cnp("subject: {namespaces: {matchLabels: {'-': a}}}"), "K8S012"),
    ("pods without podSelector", cnp("subject: {pods: {namespaceSelector: {}}}"), "K8S004"),
    ("26 rules", cnp(f"{SUBJECT}, ingress: [{many(DENY, 26)}]"), "K8S043"),
    ("rule name", cnp_ingress(f"{{name: {'n' * 101}, action: Deny, from: [{{namespaces: {{}}}}]}}"), "K8S044"),
    ("action of v1alpha1", cnp_ingress("{action: Allow, from: [{namespaces: {}}]}"), "K8S045"),
    ("action missing", cnp_ingress("{from: [{namespaces: {}}]}"), "K8S004"),
    ("no peers", cnp_ingress("{action: Deny, from: []}"), "K8S046"),
    ("peers missing", cnp_ingress("{action: Deny}"), "K8S004"),
    ("26 peers", cnp_ingress(f"{{action: Deny, from: [{many('{namespaces: {}}', 26)}]}}"), "K8S046"),
    ("peer empty", cnp_ingress("{action: Deny, from: [{}]}"), "K8S047"),
    ("peer of two", cnp_egress("{action: Deny, to: [{namespaces: {}, nodes: {}}]}"), "K8S047"),
    ("ingress networks", cnp_ingress("{action: Deny, from: [{networks: [10.0.0.0/8]}]}"), "K8S001"),
    ("networks empty", cnp_egress("{action: Deny, to: [{networks: []}]}"), "K8S048"),
    ("26 networks", cnp_egress(f"{{action: Deny, to: [{{networks: [{NETWORKS}]}}]}}"), "K8S048"),
    ("network twice", cnp_egress("{action: Deny, to: [{networks: [10.0.0.0/8, 10.0.0.0/8]}]}"), "K8S048"),
    ("network form", cnp_egress("{action: Deny, to: [{networks: [10.0.0.0]}]}"), "K8S017"),
    ("network text", cnp_egress(f"{{action: Deny, to: [{{networks: ['{'0' * 40}::/0']}}]}}"), "K8S017"),
    ("protocols empty", protocols(""), "K8S051"),
    ("26 protocols", protocols(many(PORT, 26)), "K8S051"),
    ("protocol empty", protocols("{}"), "K8S052"),
    (
        "protocol of two",
        protocols("{tcp: {destinationPort: {number: 1}}, udp: {destinationPort: {number: 1}}}"),
        "K8S052",
    ),
    ("tcp empty", protocols("{tcp: {}}"), "K8S053"),
    ("destination empty", protocols("{tcp: {destinationPort: {}}}"), "K8S053"),
    ("destination of two", protocols("{tcp: {destinationPort: {number: 1, range: {start: 1, end: 2}}}}"), "K8S053"),
    ("range of one", protocols("{udp: {destinationPort: {range: {start: 5, end: 5}}}}"), "K8S053"),
    ("range above", protocols("{sctp: {destinationPort: {range: {start: 5, end: 65536}}}}"), "K8S020"),
    ("number zero", protocols("{tcp: {destinationPort: {number: 0}}}"), "K8S020"),
    ("port name", protocols("{destinationNamedPort: HTTP}"), "K8S021"),
    ("name and networks", protocols("{destinationNamedPort: http}", "{networks: [10.0.0.0/8]}"), "K8S054"),
    ("name and nodes", protocols("{destinationNamedPort: http}", "{namespaces: {}}, {nodes: {}}"), "K8S054"),
    ("namespace", cnp(SUBJECT).replace("name: p", "name: p, namespace: a"), "K8S011"),
    ("ANP action of v1alpha2", admin_egress("{action: Accept, to: [{namespaces: {}}]}"), "K8S045"),
    ("ANP priority", cluster(f"priority: 1001, {SUBJECT}", "AdminNetworkPolicy", "v1alpha1"), "K8S041"),
    ("ANP namespaceSelector", admin("subject: {pods: {podSelector: {}}}"), "K8S057"),
    ("ANP 101 rules", admin(f"{SUBJECT}, ingress: [{many(DENY, 101)}]"), "K8S043"),
    ("ANP ports empty", admin_ports(""), "K8S051"),
    ("ANP 101 ports", admin_ports(many("{namedPort: a}", 101)), "K8S051"),
    ("ANP port empty", admin_ports("{}"), "K8S052"),
    ("ANP port of two", admin_ports("{namedPort: a, portNumber: {port: 1}}"), "K8S052"),
    ("ANP port zero", admin_ports("{portNumber: {port: 0}}"), "K8S020"),
    ("ANP protocol", admin_ports("{portNumber: {port: 1, protocol: tcp}}"), "K8S019"),
    ("ANP range", admin_ports("{portRange: {start: 2, end: 1}}"), "K8S053"),
    ("ANP name and networks", admin_ports("{namedPort: a}", "{networks: [10.0.0.0/8]}"), "K8S054"),
    ("ANP old namespaces", admin("subject: {namespaces: {namespaceSelector: {}}}"), "K8S056"),
    ("ANP sameLabels", admin_egress("{action: Deny, to: [{namespaces: {sameLabels: [a]}}]}"), "K8S056"),
    ("ANP notSameLabels", admin_egress("{action: Deny, to: [{namespaces: {notSameLabels: [a]}}]}"), "K8S056"),
    ("ANP old pods", admin("subject: {pods: {namespaces: {}, podSelector: {}}}"), "K8S056"),
    ("BANP name", baseline(SUBJECT, "other"), "K8S055"),
    ("BANP priority", baseline(f"priority: 1, {SUBJECT}"), "K8S001"),
    ("BANP Pass", baseline(f"{SUBJECT}, ingress: [{{action: Pass, from: [{{namespaces: {{}}}}]}}]"), "K8S045"),
    (
        "BANP domainNames",
        baseline(f"{SUBJECT}, egress: [{{action: Allow, to: [{{domainNames: [a.b]}}]}}]"),
        "K8S047",
    ),
]


@pytest.mark.parametrize(("text", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(text, code, load):
    loaded = load(text)
    assert loaded.objects == ()
    assert {found for found, _ in loaded.errors} == {code}


ACCEPTED = [
    ("25 rules", cnp(f"{SUBJECT}, ingress: [{many(DENY, 25)}]")),
    ("all peers", cnp_egress("{action: Pass, to: [{namespaces: {}}, {nodes: {}}, {networks: ['::/0']}]}")),
    ("all protocols", protocols("{tcp: {destinationPort: {number: 1}}}, {destinationNamedPort: http}")),
    ("ANP 100 peers", admin_egress(f"{{action: Allow, to: [{many('{nodes: {}}', 100)}]}}")),
    ("ANP ports", admin_ports("{namedPort: a}, {portNumber: {port: 1}}, {portRange: {start: 1, end: 2}}")),
    ("BANP", baseline(f"{SUBJECT}, ingress: [{{action: Allow, from: [{{namespaces: {{}}}}]}}]")),
]


@pytest.mark.parametrize("text", [row[1] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
def test_accepted(text, load):
    loaded = load(text)
    assert loaded.errors == []
    assert len(loaded.objects) == 1


NAMES = [
    ("kasse.example", True),
    ("*.kasse.example.", True),
    ("a_b.c-d.example", True),
    ("*.example", False),
    ("localhost", False),
    ("*.*.example", False),
    ("a*.kasse.example", False),
    ("-a.example", False),
    ("a[b.example", False),
    ("a..example", False),
    ("", False),
]


@pytest.mark.parametrize(("name", "well_formed"), NAMES)
def test_domain_names(name, well_formed, load):
    loaded = load(cnp_egress(f"{{action: Accept, to: [{{domainNames: ['{name}']}}]}}"))
    assert {code for code, _ in loaded.errors} == (set() if well_formed else {"K8S049"})
    assert "K8S086" in loaded.codes


@pytest.mark.parametrize("action", ["Deny", "Pass"])
def test_domain_names_only_open(action, load):
    loaded = load(cnp_egress(f"{{action: {action}, to: [{{domainNames: [a.b]}}]}}"))
    assert "K8S050" in loaded.codes


def test_the_other_version_s_word_is_explained(load):
    found = load(cnp_ingress("{action: Allow, from: [{namespaces: {}}]}")).diagnostics.items[0]
    assert found.help == "v1alpha2 says Accept"
