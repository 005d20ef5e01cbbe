"""Untracked policy beside host endpoints: what is refused, and what is only warned of."""

from __future__ import annotations

import pytest

from bpfence.dialects.calico.mirror import covers_rule, mirrored
from bpfence.dialects.calico.model import Rule

HOST = """
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {{name: h, labels: {{role: edge}}}}
spec: {{node: n1, {spec}}}
"""
NAMED = HOST.format(spec="interfaceName: eth0, expectedIPs: [192.0.2.1]")
EVERY = HOST.format(spec="interfaceName: '*'")


def policy_text(spec: str, name: str = "p") -> str:
    return f"""
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {{name: {name}}}
spec: {{selector: role == 'edge', {spec}}}
"""


def untracked(rules: str, name: str = "p", more: str = "") -> str:
    return policy_text(f"doNotTrack: true, applyOnForward: true, {more}{rules}", name)


def codes_of(loaded) -> list[str]:
    loaded.lower()
    return [code for code, _ in loaded.errors]


DENY_LIST = "ingress: [{action: Deny, source: {nets: [203.0.113.0/24]}}]"


def test_notrack_on_every_interface_needs_the_option(load):
    assert codes_of(load(EVERY + untracked(DENY_LIST))) == ["CAL081"]
    assert codes_of(load(EVERY + untracked(DENY_LIST), wildcard_notrack=True)) == []
    assert codes_of(load(NAMED + untracked(DENY_LIST))) == []
    assert codes_of(load(EVERY + policy_text(f"applyOnForward: true, {DENY_LIST}"))) == []


CATCH_ALL = [
    ("ingress: [{action: Deny}]", True),
    ("ingress: [{action: Deny, protocol: UDP}]", True),
    ("ingress: [{action: Deny, protocol: TCP, source: {ports: ['100:200']}}]", True),
    ("ingress: [{action: Deny, source: {nets: [0.0.0.0/0]}}]", True),
    ("egress: [{action: Deny}]", True),
    ("egress: [{action: Deny, protocol: TCP, source: {ports: [22]}}]", True),
    ("egress: [{action: Deny, protocol: UDP, source: {ports: [53]}}]", False),
    ("ingress: [{action: Deny, protocol: TCP, source: {ports: [22]}}]", False),
    ("ingress: [{action: Deny, protocol: SCTP}]", False),
    ("ingress: [{action: Deny, protocol: ICMP}]", False),
    ("ingress: [{action: Deny, protocol: TCP, destination: {ports: [6379]}}]", False),
    ("ingress: [{action: Deny, source: {selector: feed == 'abuse'}}]", False),
    (DENY_LIST, False),
    ("types: [Egress], ingress: [{action: Deny}]", False),
    ("ingress: [{action: Pass}, {action: Deny}]", False),
    ("ingress: [{action: Allow}, {action: Deny}], egress: [{action: Allow}]", False),
    ("ingress: [{action: Log}, {action: Deny}]", True),
]


@pytest.mark.parametrize("hosts", [NAMED, ""], ids=["selected", "no host endpoint"])
@pytest.mark.parametrize(("rules", "refused"), CATCH_ALL, ids=[row[0] for row in CATCH_ALL])
def test_a_deny_of_failsafe_replies_is_refused(load, hosts, rules, refused):
    assert codes_of(load(hosts + untracked(rules))) == (["CAL082"] if refused else [])


def test_the_input_s_own_failsafe_ports_count(load):
    felix = """
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {failsafeInboundHostPorts: [], failsafeOutboundHostPorts: [{protocol: UDP, port: 53, net: 192.0.2.0/24}]}
"""
    assert codes_of(load(NAMED + felix + untracked("egress: [{action: Deny}]"))) == []
    near = "ingress: [{action: Deny, source: {nets: [192.0.0.0/16]}}]"
    assert codes_of(load(NAMED + felix + untracked(near))) == ["CAL082"]
    assert codes_of(load(NAMED + felix + untracked("ingress: [{action: Deny, source: {nets: [192.0.3.0/24]}}]"))) == []


def test_an_earlier_policy_can_let_the_replies_through(load):
    replies = "ingress: [{action: Allow, source: {}}], egress: [{action: Allow}]"
    first = untracked(replies, "a", "order: 1, ")
    second = untracked("ingress: [{action: Deny}]", "b", "order: 2, ")
    assert codes_of(load(NAMED + first + second)) == []
    assert codes_of(load(NAMED + first.replace("order: 1", "order: 3") + second)) == ["CAL082"]


MIRRORS = [
    (
        "{protocol: TCP, source: {selector: a == 'b'}, destination: {ports: [80]}}",
        "{protocol: TCP, source: {ports: [80]}, destination: {selector: a == 'b'}}",
        True,
    ),
    ("{protocol: TCP, destination: {ports: [80, 443]}}", "{protocol: 6, source: {ports: ['1:1000']}}", True),
    ("{protocol: TCP, destination: {ports: [80]}}", "{}", True),
    ("{}", "{}", True),
    ("{}", "{protocol: TCP}", False),
    ("{protocol: TCP, destination: {ports: [80]}}", "{protocol: UDP, source: {ports: [80]}}", False),
    ("{protocol: TCP, destination: {ports: [80]}}", "{protocol: TCP, destination: {ports: [80]}}", False),
    ("{source: {nets: [10.1.0.0/16]}}", "{destination: {nets: [10.0.0.0/8]}}", True),
    ("{source: {nets: [10.0.0.0/8]}}", "{destination: {nets: [10.1.0.0/16]}}", False),
    ("{source: {notNets: [10.0.0.0/8]}}", "{destination: {notNets: [10.1.0.0/16]}}", True),
    ("{protocol: ICMP, icmp: {type: 8}}", "{protocol: ICMP, icmp: {type: 0}}", True),
    ("{protocol: ICMP, icmp: {type: 8}}", "{protocol: ICMP, icmp: {type: 8}}", False),
    ("{ipVersion: 4}", "{ipVersion: 6}", False),
    ("{source: {selector: a == 'b'}}", "{destination: {selector: a == 'c'}}", False),
]


@pytest.mark.parametrize(("rule", "reply", "enough"), MIRRORS, ids=[f"{row[0]} {row[1]}" for row in MIRRORS])
def test_an_untracked_allow_needs_the_allow_of_the_replies(load, rule, reply, enough):
    allow = f"{{action: Allow, {rule[1:]}"
    back = f"{{action: Allow, {reply[1:]}"
    loaded = load(NAMED + untracked(f"ingress: [{allow}]") + untracked(f"egress: [{back}]", "q"))
    loaded.lower()
    refused = {item.policy for item in loaded.diagnostics.items if item.code == "CAL083"}
    assert ("GlobalNetworkPolicy p" not in refused) is enough


def test_messages_without_an_answer_need_no_mirror():
    unreachable = Rule.model_validate({"action": "Allow", "protocol": "ICMP", "icmp": {"type": 3}})
    assert list(mirrored(unreachable)) == []


def test_parts_of_a_mirror_may_stand_in_several_rules():
    wide = Rule.model_validate({"action": "Allow", "protocol": "TCP", "destination": {"ports": [80, 443]}})
    back = [
        Rule.model_validate({"action": "Allow", "protocol": "TCP", "source": {"ports": [port]}}) for port in (80, 443)
    ]
    assert [[covers_rule(rule, part) for rule in back] for part in mirrored(wide)] == [[True, False], [False, True]]


PODS = """
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {nodeName: n1, containers: [{name: main}]}
status: {podIP: 10.1.0.9}
"""
OPEN = policy_text("order: 9, ingress: [{action: Allow}], egress: [{action: Allow}]", "open")
DENY_TCP = "ingress: [{action: Deny, protocol: TCP}]"
INTO, OUT_OF = "destination: {nets: [192.0.2.0/24]}", "source: {nets: [192.0.2.0/24]}"
BOTH = "ingress: [{{action: Allow, {rule}}}], egress: [{{action: Allow, {back}}}]"

WARNINGS = [
    (NAMED + NAMED.replace("name: h", "name: g") + OPEN, {"CAL121"}),
    (
        EVERY + OPEN + policy_text("ingress: [{action: Allow, source: {selector: role == 'edge'}}, {action: Allow}]"),
        {"CAL122"},
    ),
    (
        NAMED
        + OPEN
        + untracked(BOTH.format(rule="protocol: TCP", back="protocol: TCP"))
        + policy_text("ingress: [{action: Deny, protocol: TCP}]", "q"),
        {"CAL123"},
    ),
    (NAMED + OPEN + policy_text("applyOnForward: true, ingress: [{action: Allow, protocol: UDP}]"), {"CAL124"}),
    (NAMED, {"CAL125"}),
    (NAMED + policy_text("ingress: [{action: Allow}]"), {"CAL125"}),
    (NAMED + OPEN + PODS + untracked(BOTH.format(rule="protocol: TCP", back="protocol: TCP")), {"CAL126"}),
    (NAMED + OPEN + PODS + untracked(BOTH.format(rule=INTO, back=OUT_OF)), set()),
    (NAMED + OPEN, set()),
    (NAMED.replace("expectedIPs", "profiles: [projectcalico-default-allow], expectedIPs"), set()),
]


@pytest.mark.parametrize(("text", "codes"), WARNINGS)
def test_warnings(load, text, codes):
    loaded = load(text)
    assert codes_of(loaded) == []
    assert loaded.lint() - {"CAL104", "CAL106", "INV010"} == codes


def test_pass_in_a_profile_is_a_warning(load):
    text = "{apiVersion: projectcalico.org/v3, kind: Profile, metadata: {name: p}, spec: {ingress: [{action: Pass}]}}"
    assert [item.code for item in load(text).diagnostics.items] == ["CAL114"]


def test_a_negative_namespace_selector_selects_host_endpoints(load):
    text = """
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: trap}
spec: {namespaceSelector: env != 'prod', ingress: [{action: Deny}]}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
"""
    assert "CAL111" in load(NAMED + text).lint()
