"""Reading: names, the hidden metadata of custom resources, values at their limits, warnings."""

from __future__ import annotations

import pytest

from bpfence.dialects.calico.values import BadValueError, read_cidr, read_port, read_protocol, read_set_cidr


@pytest.mark.parametrize(
    ("kind", "name", "good"),
    [
        ("GlobalNetworkPolicy", "a.b", True),
        ("GlobalNetworkPolicy", "a.b.c", False),
        ("GlobalNetworkPolicy", "knp.default.x", False),
        ("NetworkPolicy", "knp.default.x.y", True),
        ("NetworkPolicy", "ossg.default.x", True),
        ("NetworkPolicy", "a.b.c", False),
        ("NetworkPolicy", "a\n", False),
        ("NetworkPolicy", "a" * 254, False),
        ("Tier", "a" * 63, True),
        ("Tier", "a" * 64, False),
        ("GlobalNetworkSet", "a.b.c", True),
        ("GlobalNetworkSet", "Test", False),
    ],
)
def test_names(load, kind, name, good):
    text = f"apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: {name!r}}}\nspec: {{}}\n".replace(
        "'", '"'
    )
    assert (load(text).errors == []) is good


HIDDEN = """
apiVersion: crd.projectcalico.org/v1
kind: NetworkPolicy
metadata:
  name: default.web
  namespace: shop
  labels: {seen: "1", both: visible}
  annotations:
    projectcalico.org/metadata: '{"labels": {"both": "hidden"}, "annotations": {"note": "x"}%s}'
spec: {%s}
"""


@pytest.mark.parametrize(
    ("name", "spec", "expected"),
    [("", "", "web"), ("", "tier: other", "default.web"), (', "name": "real"', "", "real")],
)
def test_hidden_metadata(load, name, spec, expected):
    (item,) = load(HIDDEN % (name, spec)).objects
    assert item.name == expected
    assert item.model.metadata.labels == {"seen": "1", "both": "hidden"}
    assert item.model.metadata.annotations == {"note": "x"}


def test_hidden_metadata_is_data_in_the_api_version(load):
    (item,) = load((HIDDEN % ("", "")).replace("crd.projectcalico.org/v1", "projectcalico.org/v3")).objects
    assert item.name == "default.web"


def test_namespace_default(load):
    (item,) = load("{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: p}, spec: {}}").objects
    assert item.namespace == "default"


def test_missing_spec_is_a_warning(load):
    loaded = load("{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: p}}")
    assert [item.code for item in loaded.diagnostics.items] == ["CAL101"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(80, (80, 80)), ("080", (80, 80)), ("1:65535", (1, 65535)), ("http", "http"), ("a-1", "a-1")],
)
def test_port(value, expected):
    assert read_port(value) == expected


@pytest.mark.parametrize(
    "value",
    [0, 65536, -1, "0:9", "9:5", "http:80", "80-90", "HTTP", "a" * 16, "-a", "a--b", "", "80\n", "9" * 5000, "٨٠"],
)
def test_bad_port(value):
    with pytest.raises(BadValueError):
        read_port(value)


@pytest.mark.parametrize(
    ("value", "number", "family"), [("ICMP", 1, 4), ("ICMPv6", 58, 6), ("1", 1, None), (132, 132, None)]
)
def test_protocol(value, number, family):
    protocol = read_protocol(value)
    assert (protocol.number, protocol.family) == (number, family)


@pytest.mark.parametrize("value", ["tcp", 0, 256, "GRE", "", "-1", "9" * 5000])
def test_bad_protocol(value):
    with pytest.raises(BadValueError):
        read_protocol(value)


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.1/8",
        "10.0.0.1",
        "010.0.0.0/8",
        "10.0.0.0/255.0.0.0",
        "::1%eth0/128",
        "::ffff:10.0.0.0/104",
        "x",
        "1.2.3.4/33",
    ],
)
def test_bad_cidr(text):
    with pytest.raises(BadValueError):
        read_cidr(text)


@pytest.mark.parametrize(
    ("text", "network"), [("10.0.0.1/8", "10.0.0.0/8"), ("10.0.0.1", "10.0.0.1/32"), ("2001:db8::1", "2001:db8::1/128")]
)
def test_set_cidr_is_masked(text, network):
    assert str(read_set_cidr(text)) == network


WARNINGS = [
    ("{types: [Ingress], egress: [{action: Allow}]}", "CAL103"),
    ("{egress: []}", "CAL104"),
    ("{ingress: [{action: Log}]}", "CAL105"),
    ("{ingress: [{action: Allow}, {action: Deny, protocol: TCP}]}", "CAL106"),
    ("{ingress: [{action: Deny, source: {notNets: [10.0.0.0/8]}}]}", "CAL108"),
    ("{ingress: [{action: Deny, source: {notSelector: has(app)}}]}", "CAL109"),
    ("{ingress: [{action: Deny, protocol: TCP, notICMP: {type: 8}}]}", "CAL110"),
    ("{ingress: [{action: Allow, destination: {ports: [nobody]}}]}", "CAL120"),
    ("{ingress: [{action: Allow, source: {nets: [10.0.0.0/8, 10.0.0.0/8]}}]}", "CAL102"),
]


@pytest.mark.parametrize(("spec", "code"), WARNINGS, ids=[code for _, code in WARNINGS])
def test_warning(policy, spec, code):
    loaded = policy(spec)
    assert code in loaded.lint()
    assert loaded.errors == []


def test_negative_namespace_selector_is_a_warning_without_selector(policy):
    assert "CAL111" in policy("{namespaceSelector: env != 'prod'}", "GlobalNetworkPolicy").lint()
    assert "CAL111" not in policy("{selector: all(), namespaceSelector: env != 'prod'}", "GlobalNetworkPolicy").lint()


def test_a_plain_policy_has_no_warning(policy):
    rule = "{action: Allow, protocol: TCP, destination: {ports: [http]}}"
    spec = f"{{selector: app == 'api', types: [Ingress], ingress: [{rule}]}}"
    assert policy(spec).lint() == set()


def test_staged_policies_are_checked_and_never_lowered(load):
    loaded = load("""
apiVersion: projectcalico.org/v3
kind: StagedNetworkPolicy
metadata: {name: p, namespace: shop}
spec: {ingress: [{action: Deny}]}
""")
    assert loaded.errors == []
    assert all(not tier.policies for tier in loaded.lower())


@pytest.mark.parametrize("name", ["kns.shop", "ksa.shop.bot", "projectcalico-default-allow"])
def test_generated_profiles_are_only_noted(load, name):
    loaded = load(f"{{apiVersion: projectcalico.org/v3, kind: Profile, metadata: {{name: {name}}}, spec: {{}}}}")
    assert [item.code for item in loaded.diagnostics.items] == ["CAL112"]
