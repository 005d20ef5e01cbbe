"""NetworkPolicy: every row of what the API server refuses, at its line; and what it accepts."""

from __future__ import annotations

from textwrap import indent

import pytest

HEAD = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec:
  podSelector: {}
"""
LINE = 6


def ingress(rule: str) -> str:
    return HEAD + f"  ingress: [{rule}]\n"


def peer(text: str) -> str:
    return ingress(f"{{from: [{text}]}}")


def ports(text: str) -> str:
    return ingress(f"{{ports: [{text}]}}")


def selector(text: str) -> str:
    return peer(f"{{namespaceSelector: {text}}}")


REFUSED = [
    ("types: other word", HEAD + "  policyTypes: [Both]\n", "K8S013"),
    ("types: wrong case", HEAD + "  policyTypes: [EGRESS]\n", "K8S013"),
    ("types: three", HEAD + "  policyTypes: [Ingress, Egress, Egress]\n", "K8S014"),
    ("peer: empty", peer("{}"), "K8S015"),
    ("peer: empty among others", peer("{podSelector: {}}, {}"), "K8S015"),
    ("peer: block and pods", peer("{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}"), "K8S016"),
    ("peer: block and namespaces", peer("{namespaceSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}"), "K8S016"),
    ("peer: null selector", peer("{podSelector: null, namespaceSelector: {}}"), "K8S002"),
    ("rules: null", HEAD + "  ingress: null\n", "K8S002"),
    ("peers: null", ingress("{from: null}"), "K8S002"),
    ("selector: operator case", selector("{matchExpressions: [{key: a, operator: exists}]}"), "K8S012"),
    ("selector: In without values", selector("{matchExpressions: [{key: a, operator: In}]}"), "K8S012"),
    ("selector: NotIn, empty", selector("{matchExpressions: [{key: a, operator: NotIn, values: []}]}"), "K8S012"),
    ("selector: Exists, values", selector("{matchExpressions: [{key: a, operator: Exists, values: [b]}]}"), "K8S012"),
    (
        "selector: DoesNotExist, values",
        selector("{matchExpressions: [{key: a, operator: DoesNotExist, values: [b]}]}"),
        "K8S012",
    ),
    ("selector: key", selector("{matchLabels: {-a: b}}"), "K8S012"),
    ("selector: key prefix", selector("{matchLabels: {UP/a: b}}"), "K8S012"),
    ("selector: value", selector("{matchLabels: {a: 'b c'}}"), "K8S012"),
    ("selector: long value", selector(f"{{matchLabels: {{a: {'b' * 64}}}}}"), "K8S012"),
    ("selector: requirement key", selector("{matchExpressions: [{key: '', operator: Exists}]}"), "K8S012"),
    ("block: empty", peer("{ipBlock: {cidr: ''}}"), "K8S017"),
    ("block: missing", peer("{ipBlock: {}}"), "K8S004"),
    ("block: address alone", peer("{ipBlock: {cidr: 10.0.0.1}}"), "K8S017"),
    ("block: netmask", peer("{ipBlock: {cidr: 10.0.0.0/255.0.0.0}}"), "K8S017"),
    ("block: length", peer("{ipBlock: {cidr: 10.0.0.0/33}}"), "K8S017"),
    ("block: length with zero", peer("{ipBlock: {cidr: 10.0.0.0/08}}"), "K8S017"),
    ("block: leading zeros", peer("{ipBlock: {cidr: 010.0.0.0/8}}"), "K8S017"),
    ("block: mapped", peer("{ipBlock: {cidr: '::ffff:10.0.0.0/104'}}"), "K8S017"),
    ("block: zone", peer("{ipBlock: {cidr: 'fe80::1%eth0/64'}}"), "K8S017"),
    ("except: outside", peer("{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}"), "K8S018"),
    ("except: equal", peer("{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}"), "K8S018"),
    ("except: wider", peer("{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/7]}}"), "K8S018"),
    ("except: other family", peer("{ipBlock: {cidr: 10.0.0.0/8, except: ['2001:db8::/32']}}"), "K8S018"),
    ("except: no prefix", peer("{ipBlock: {cidr: 10.0.0.0/8, except: [ten]}}"), "K8S017"),
    ("protocol: case", ports("{protocol: udp}"), "K8S019"),
    ("protocol: other", ports("{protocol: ICMP}"), "K8S019"),
    ("protocol: empty", ports("{protocol: ''}"), "K8S019"),
    ("port: zero", ports("{port: 0}"), "K8S020"),
    ("port: too large", ports("{port: 65536}"), "K8S020"),
    ("port: quoted number", ports("{port: '80'}"), "K8S021"),
    ("port: long name", ports("{port: a123456789012345}"), "K8S021"),
    ("port: upper case", ports("{port: Http}"), "K8S021"),
    ("port: dashes", ports("{port: a--b}"), "K8S021"),
    ("port: trailing dash", ports("{port: a-}"), "K8S021"),
    ("port: truth value", ports("{port: true}"), "K8S003"),
    ("endPort: below", ports("{port: 80, endPort: 79}"), "K8S022"),
    ("endPort: with a name", ports("{port: http, endPort: 90}"), "K8S022"),
    ("endPort: alone", ports("{endPort: 90}"), "K8S022"),
    ("endPort: too large", ports("{port: 80, endPort: 65536}"), "K8S022"),
    ("endPort: text", ports("{port: 80, endPort: '90'}"), "K8S003"),
    ("unknown field", HEAD + "  egres: []\n", "K8S001"),
    ("unknown field of a peer", peer("{podselector: {}}"), "K8S001"),
    ("subject", HEAD.replace("{}", "{matchLabels: {a/b/c: d}}"), "K8S012"),
]
SUBJECT_LINE = 5


@pytest.mark.parametrize(("text", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(text, code, load):
    loaded = load(text)
    assert loaded.objects == ()
    assert loaded.errors == [(code, LINE if text.startswith(HEAD) else SUBJECT_LINE)]


ACCEPTED = [
    ("no spec", HEAD.partition("spec:")[0]),
    ("empty spec", HEAD.partition("spec:")[0] + "spec: {}\n"),
    ("types twice", HEAD + "  policyTypes: [Ingress, Ingress]\n"),
    ("peer lists missing and empty", ingress("{}, {from: [], ports: []}")),
    ("both selectors", peer("{podSelector: {}, namespaceSelector: {}}")),
    ("empty value", selector("{matchLabels: {a: ''}}")),
    ("IPv6 block", peer("{ipBlock: {cidr: '::/0', except: ['2001:db8::/32']}}")),
    ("port name of 15", ports("{port: a12345678901234}")),
    ("name that begins with a digit", ports("{port: 9p}")),
    ("range of one", ports("{port: 80, endPort: 80}")),
    ("null scalars", ports("{port: null, protocol: null}")),
    ("server's bookkeeping", HEAD.replace("shop}", "shop, uid: x, resourceVersion: '1', creationTimestamp: null}")),
]


@pytest.mark.parametrize("text", [row[1] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
def test_accepted(text, load):
    loaded = load(text)
    assert loaded.errors == []
    assert len(loaded.objects) == 1


def test_everything_wrong_is_reported_at_once(load):
    body = "policyTypes: [Both]\ningress:\n- from: [{}]\n  ports: [{port: 0}]\n"
    loaded = load(HEAD + indent(body, "  "))
    assert loaded.errors == [("K8S013", 6), ("K8S015", 8), ("K8S020", 9)]


def test_quoted_port_number_is_explained(load):
    loaded = load(ports("{port: '80'}"))
    assert "remove the quotes" in loaded.diagnostics.items[0].help


def test_missing_namespace_is_default_with_a_note(load):
    loaded = load(HEAD.replace(", namespace: shop", ""))
    assert loaded.objects[0].namespace == "default"
    assert loaded.objects[0].title == "NetworkPolicy default/p"
    assert loaded.codes == {"K8S070"}


def test_host_bits_are_masked_with_a_warning(load):
    loaded = load(peer("{ipBlock: {cidr: 10.1.2.3/8}}"))
    assert loaded.codes == {"K8S073"}
    assert len(loaded.objects) == 1


@pytest.mark.parametrize("name", ["a_b", "A", "a" * 254, "-a"])
def test_bad_object_names(name, load):
    loaded = load(HEAD.replace("name: p", f"name: {name}"))
    assert loaded.errors == [("K8S010", 3)]
