"""Lowering: subjects, peers, ports and ICMP of rules, order of policies and tiers."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from bpfence.ir.expressions import (
    ANYONE,
    POD,
    HasObject,
    InPrefixes,
    LabelAll,
    LabelAny,
    LabelNot,
    LabelOperator,
    LabelTest,
    PeerAll,
    PeerAny,
    PeerNot,
    all_labels,
    kind_is,
)
from bpfence.ir.nodes import Action, L4Match, NamedPort

IN, NOT_IN, EXISTS = LabelOperator.IN, LabelOperator.NOT_IN, LabelOperator.EXISTS
LABELLED = kind_is("pod", "hostendpoint", "networkset", "globalnetworkset")
NO_SERVICE = PeerNot(HasObject(kind_is("service")))
IN_SHOP = LabelTest(("meta:namespace",), IN, ("shop",))
IN_A_NAMESPACE = LabelTest(("meta:namespace",), EXISTS)
TCP = ((6, 6),)


def label(key: str, *values: str, operator: LabelOperator = IN) -> LabelTest:
    return LabelTest((f"label:{key}",), operator, values)


def of_namespace(key: str, *values: str, operator: LabelOperator = IN) -> LabelTest:
    return LabelTest((f"label:pcns.{key}", f"namespace:{key}"), operator, values)


def objects(*items):
    return HasObject(all_labels(LABELLED, *items))


def prefixes(*texts):
    return InPrefixes(tuple(ip_network(text) for text in texts))


def spec_of(rule: str, direction: str = "ingress") -> str:
    return f"{{selector: app == 'api', {direction}: [{rule}]}}"


SUBJECTS = [
    ("NetworkPolicy", "{}", (IN_SHOP,)),
    ("NetworkPolicy", "{selector: app == 'api'}", (IN_SHOP, label("app", "api"))),
    ("GlobalNetworkPolicy", "{}", ()),
    ("GlobalNetworkPolicy", "{namespaceSelector: env == 'prod'}", (of_namespace("env", "prod"),)),
    (
        "GlobalNetworkPolicy",
        "{selector: all(), namespaceSelector: env != 'prod'}",
        (IN_A_NAMESPACE, of_namespace("env", "prod", operator=NOT_IN)),
    ),
    ("GlobalNetworkPolicy", "{selector: all()}", ()),
    (
        "GlobalNetworkPolicy",
        "{selector: all(), serviceAccountSelector: level == 'low'}",
        (
            LabelTest(("meta:serviceaccount",), EXISTS),
            LabelTest(("label:pcsa.level", "serviceaccount:level"), IN, ("low",)),
        ),
    ),
    ("GlobalNetworkPolicy", "{selector: projectcalico.org/namespace == 'shop'}", (IN_SHOP,)),
    (
        "GlobalNetworkPolicy",
        "{selector: projectcalico.org/orchestrator == 'k8s'}",
        (LabelAny((POD, label("projectcalico.org/orchestrator", "k8s"))),),
    ),
    (
        "GlobalNetworkPolicy",
        "{selector: '!has(projectcalico.org/orchestrator)'}",
        (LabelNot(LabelAny((POD, label("projectcalico.org/orchestrator", operator=EXISTS)))),),
    ),
    (
        "GlobalNetworkPolicy",
        "{selector: pcns.projectcalico.org/name == 'shop'}",
        (LabelTest(("label:pcns.projectcalico.org/name", "meta:namespace"), IN, ("shop",)),),
    ),
]


@pytest.mark.parametrize(("kind", "spec", "terms"), SUBJECTS, ids=[f"{row[0]} {row[1]}" for row in SUBJECTS])
def test_subject(policy, kind, spec, terms):
    loaded = policy(spec, kind)
    (lowered,) = loaded.lower()[0].policies
    assert loaded.errors == []
    assert lowered.subject == all_labels(POD, *terms)


PEERS = [
    ("NetworkPolicy", "{}", ANYONE),
    ("NetworkPolicy", "{selector: app == 'web'}", objects(IN_SHOP, label("app", "web"))),
    (
        "NetworkPolicy",
        "{notSelector: app == 'web'}",
        objects(IN_SHOP, LabelNot(label("app", "web"))),
    ),
    (
        "NetworkPolicy",
        "{namespaceSelector: all(), selector: app == 'web'}",
        objects(IN_A_NAMESPACE, label("app", "web")),
    ),
    ("NetworkPolicy", "{namespaceSelector: global()}", objects(LabelNot(IN_A_NAMESPACE))),
    ("NetworkPolicy", "{serviceAccounts: {}}", ANYONE),
    (
        "NetworkPolicy",
        "{serviceAccounts: {names: [bot]}}",
        objects(IN_SHOP, LabelTest(("meta:serviceaccount",), IN, ("bot",))),
    ),
    ("GlobalNetworkPolicy", "{selector: all()}", HasObject(LABELLED)),
    ("GlobalNetworkPolicy", "{notSelector: app == 'web'}", PeerNot(objects(label("app", "web")))),
    (
        "GlobalNetworkPolicy",
        "{nets: [10.0.0.0/8, 192.0.2.0/24]}",
        PeerAll((prefixes("10.0.0.0/8", "192.0.2.0/24"), NO_SERVICE)),
    ),
    (
        "GlobalNetworkPolicy",
        "{notNets: [10.0.0.0/8]}",
        PeerAll((prefixes("0.0.0.0/0"), PeerNot(PeerAll((prefixes("10.0.0.0/8"), NO_SERVICE))))),
    ),
    ("NetworkPolicy", "{services: {name: api}}", prefixes("10.1.0.11/32")),
]


@pytest.mark.parametrize(("kind", "source", "peer"), PEERS, ids=[f"{row[0]} {row[1]}" for row in PEERS])
def test_peer(policy, kind, source, peer):
    (rule,) = policy(spec_of(f"{{action: Allow, source: {source}}}"), kind).rules()
    assert rule.peer == peer
    assert rule.own == ANYONE


def test_prefixes_leave_pods_alone_when_told_so(policy):
    spec = spec_of("{action: Allow, source: {nets: [10.0.0.0/8]}}")
    (rule,) = policy(spec, ipblock_matches_pods="never").rules()
    assert rule.peer == PeerAll((prefixes("10.0.0.0/8"), PeerNot(HasObject(kind_is("pod", "service")))))


def test_own_side(policy):
    spec = spec_of("{action: Deny, destination: {nets: [10.1.0.0/24], selector: app == 'api'}}")
    (rule,) = policy(spec).rules()
    assert rule.own == PeerAll((prefixes("10.1.0.0/24"), NO_SERVICE, objects(IN_SHOP, label("app", "api"))))
    assert rule.peer == prefixes("0.0.0.0/0")


def l4(**fields):
    return L4Match(**fields)


L4 = [
    ("protocol: TCP", (l4(protocols=TCP),)),
    ("protocol: 136", (l4(protocols=((136, 136),)),)),
    ("notProtocol: UDP", (l4(protocols=((0, 16), (18, 255))),)),
    (
        "protocol: TCP, destination: {ports: [80, '90:95', 81]}",
        (l4(protocols=TCP, destination_ports=((80, 81), (90, 95))),),
    ),
    (
        "protocol: TCP, source: {ports: [53]}, destination: {notPorts: [80]}",
        (l4(protocols=TCP, source_ports=((53, 53),), destination_ports=((0, 79), (81, 65535))),),
    ),
    (
        "protocol: TCP, destination: {ports: ['1:9'], notPorts: [5]}",
        (l4(protocols=TCP, destination_ports=((1, 4), (6, 9))),),
    ),
    (
        "protocol: ICMP, icmp: {type: 8, code: 0}",
        (l4(protocols=((1, 1),), icmp_types=((8, 8),), icmp_codes=((0, 0),)),),
    ),
    ("protocol: ICMP, icmp: {}", (l4(protocols=((1, 1),)),)),
    (
        "protocol: 58, notICMP: {type: 3, code: 4}",
        (
            l4(protocols=((58, 58),), icmp_types=((0, 2), (4, 255))),
            l4(protocols=((58, 58),), icmp_types=((3, 3),), icmp_codes=((0, 3), (5, 255))),
        ),
    ),
    (
        "notICMP: {type: 8}",
        (
            l4(protocols=((0, 0), (2, 57), (59, 255))),
            l4(protocols=((1, 1), (58, 58)), icmp_types=((0, 7), (9, 255))),
        ),
    ),
    (
        "destination: {ports: [sql]}",
        (
            l4(
                protocols=(*TCP, (17, 17), (132, 132)),
                named_ports=tuple(NamedPort("sql", number, "destination") for number in (6, 17, 132)),
            ),
        ),
    ),
]


@pytest.mark.parametrize(("criteria", "matches"), L4, ids=[row[0] for row in L4])
def test_l4(policy, criteria, matches):
    (rule,) = policy(spec_of(f"{{action: Allow, {criteria}}}")).rules()
    assert rule.l4 == matches


def test_named_port_of_an_init_container_is_a_rule_of_its_own(policy):
    usual, early = policy(spec_of("{action: Allow, protocol: TCP, destination: {ports: [http]}}")).rules()
    assert usual.l4 == (l4(protocols=TCP, named_ports=(NamedPort("http", 6, "destination"),)),)
    assert early.l4 == (l4(protocols=TCP, destination_ports=((8081, 8081),)),)
    assert early.own == HasObject(LabelAll((POD, IN_SHOP, LabelTest(("meta:name",), IN, ("api",)))))
    assert usual.origin == early.origin


def test_name_beside_excluded_numbers_is_taken_apart(policy):
    spec = spec_of("{action: Allow, protocol: TCP, destination: {ports: [http, 90], notPorts: [8081]}}")
    numeric, named = policy(spec).rules()
    assert numeric.l4 == (l4(protocols=TCP, destination_ports=((90, 90),)),)
    assert named.l4 == (l4(protocols=TCP, destination_ports=((8080, 8080),)),)
    assert named.own == HasObject(LabelTest(("port:TCP:http:8080",), EXISTS))


def test_service_as_destination_brings_address_and_port(policy):
    (rule,) = policy(spec_of("{action: Allow, destination: {services: {name: api}}}", "egress")).rules("egress")
    assert rule.peer == prefixes("10.1.0.11/32")
    assert rule.l4 == (l4(protocols=TCP, destination_ports=((8080, 8080),)),)


@pytest.mark.parametrize(
    "criteria", ["protocol: ICMP, source: {nets: ['2001:db8::/32']}", "protocol: TCP, notProtocol: 6"]
)
def test_rule_that_matches_nothing_is_dropped_with_a_warning(policy, criteria):
    loaded = policy(spec_of(f"{{action: Allow, {criteria}}}"))
    assert loaded.rules() == ()
    assert "CAL107" in loaded.lint()


def test_family_limits_the_peer(policy):
    (rule,) = policy(
        spec_of("{action: Allow, protocol: ICMPv6, source: {selector: all()}}"), "GlobalNetworkPolicy"
    ).rules()
    assert rule.peer == PeerAll((prefixes("::/0"), HasObject(LABELLED)))


def test_network_sets_are_prefixes_of_the_address_set(policy, load):
    text = """
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: clients, labels: {peer: client}}
spec: {nets: [203.0.113.7, 192.0.2.70/26]}
---
apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: inner, namespace: lab, labels: {peer: client}}
spec: {nets: ["2001:db8::/32"]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec:
  ingress:
  - {action: Allow, source: {selector: peer == 'client'}}
  - {action: Allow, source: {selector: pcns.projectcalico.org/name == 'lab'}}
"""
    everywhere, of_lab = load(text).rules()
    nets = prefixes("192.0.2.64/26", "203.0.113.7/32", "2001:db8::/32")
    assert everywhere.peer == PeerAny((objects(label("peer", "client")), PeerAll((nets, NO_SERVICE))))
    assert of_lab.peer.items[1] == PeerAll((prefixes("2001:db8::/32"), NO_SERVICE))


TIERS = """
{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: security}, spec: {order: 100}}
---
{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: audit}, spec: {order: 300, defaultAction: Pass}}
---
{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: aaa}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: s}
spec: {tier: security, types: [Ingress, Egress]}
---
{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: w}, spec: {tier: audit}}
---
{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: t}, spec: {tier: aaa}}
---
{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: web}, spec: {order: 7}}
---
{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: web-a}, spec: {order: 7}}
---
{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: web0}, spec: {order: 7}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: first}
spec: {order: -0.5, egress: [{action: Deny}]}
---
{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: last}, spec: {types: []}}
"""


def test_tiers_and_policies_are_in_calicos_order(load):
    loaded = load(TIERS)
    tiers = loaded.lower()
    assert loaded.errors == []
    assert [(tier.name, tier.order, tier.end) for tier in tiers] == [
        ("security", 100, Action.DENY),
        ("audit", 300, Action.PASS),
        ("aaa", 1_000_000, Action.DENY),
        ("default", 1_000_000, Action.DENY),
    ]
    assert [policy.order for policy in tiers[-1].policies] == [
        (-0.5, "first//GlobalNetworkPolicy"),
        (7, "web-a//GlobalNetworkPolicy"),
        (7, "web//GlobalNetworkPolicy"),
        (7, "web0//GlobalNetworkPolicy"),
        (float("inf"), "last/default/NetworkPolicy"),
    ]
    first, *_, last = tiers[-1].policies
    assert first.ingress is None
    assert first.egress is not None
    assert last.ingress is not None
    assert last.ingress.isolates
    assert last.egress is None


def test_own_node_is_exempt_in_every_tier(load):
    assert all(tier.exempt_ingress and not tier.exempt_egress for tier in load(TIERS).lower())


UNSUPPORTED = """
{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: early}, spec: {order: 1}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: open}
spec: {tier: early, ingress: [{action: Allow}]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: http}
spec: {selector: app == 'api', ingress: [{action: Allow, protocol: TCP, http: {methods: [GET]}}]}
"""


def test_unsupported_policy_denies_what_it_selects_ahead_of_all(load):
    assert load(UNSUPPORTED).errors == [("CAL092", 12)]
    loaded = load(UNSUPPORTED, allow_unsupported=True)
    first = loaded.lower()[0]
    assert loaded.errors == []
    assert (first.name, first.order) == ("unsupported", float("-inf"))
    (policy,) = first.policies
    assert policy.subject == all_labels(POD, label("app", "api"))
    assert [(rule.action, rule.peer, rule.l4) for rule in policy.ingress.rules] == [(Action.DENY, ANYONE, (L4Match(),))]
    assert policy.egress is None


def test_long_service_account_names_give_no_label(load):
    name = "a" * 70
    text = f"""
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {{name: p}}
spec: {{selector: has(projectcalico.org/serviceaccount)}}
---
apiVersion: v1
kind: Pod
metadata: {{name: a, namespace: shop}}
spec: {{nodeName: n1, serviceAccountName: {name}, containers: [{{name: a}}]}}
status: {{podIP: 10.1.0.1}}
"""
    (policy,) = load(text).lower()[0].policies
    long = LabelTest(("meta:serviceaccount",), IN, (name,))
    implicit = LabelAll((LabelNot(long), LabelTest(("meta:serviceaccount",), EXISTS)))
    own = LabelAll((long, label("projectcalico.org/serviceaccount", operator=EXISTS)))
    assert policy.subject == LabelAll((POD, LabelAny((implicit, own))))
