"""ClusterNetworkPolicy and its predecessors to IR: tiers, order, actions, peers, ports; and equal priorities."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from bpfence.ir.expressions import (
    NODE,
    POD,
    HasObject,
    InPrefixes,
    LabelOperator,
    LabelTest,
    LearntName,
    PeerAll,
    PeerNot,
    all_labels,
    kind_is,
)
from bpfence.ir.nodes import ANY_L4, Action, L4Match, NamedPort

TEAM_A = LabelTest(("namespace:team",), LabelOperator.IN, ("a",))
APP_WEB = LabelTest(("label:app",), LabelOperator.IN, ("web",))
NO_SERVICE = PeerNot(HasObject(kind_is("service")))


def cnp(name: str, rest: str, tier: str = "Admin", priority: int = 10, subject: str = "{namespaces: {}}") -> str:
    return (
        "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n"
        f"metadata: {{name: {name}}}\n"
        f"spec: {{tier: {tier}, priority: {priority}, subject: {subject}, {rest}}}\n"
    )


def older(kind: str, name: str, rest: str) -> str:
    return (
        f"---\napiVersion: policy.networking.k8s.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n"
        f"spec: {{subject: {{namespaces: {{}}}}, {rest}}}\n"
    )


def egress_rule(load, rule: str):
    ((lowered,), ()) = load(cnp("p", f"egress: [{rule}]")).cluster_policies()
    (found,) = lowered.egress.rules
    return found


C1 = """
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: c1}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {matchLabels: {team: a}}}
  ingress:
  - {name: same-team, action: Pass, from: [{namespaces: {matchLabels: {team: a}}}]}
  - name: monitoring
    action: Accept
    from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}}]
    protocols: [{tcp: {destinationPort: {number: 9090}}}]
  - {name: rest, action: Deny, from: [{namespaces: {}}]}
"""


def test_example_c1(load):
    ((lowered,), ()) = load(C1).cluster_policies()
    assert lowered.subject == all_labels(POD, TEAM_A)
    assert lowered.order == (10.0, "c1/ClusterNetworkPolicy")
    assert lowered.egress is None
    assert lowered.ingress.isolates is False
    assert [(rule.action, rule.peer, rule.l4) for rule in lowered.ingress.rules] == [
        (Action.PASS, HasObject(all_labels(POD, TEAM_A)), ANY_L4),
        (Action.ALLOW, HasObject(all_labels(POD, APP_WEB)), (L4Match(((6, 6),), ((9090, 9090),)),)),
        (Action.DENY, HasObject(POD), ANY_L4),
    ]


def test_networks_mean_every_address_but_services(load):
    rule = egress_rule(load, "{action: Deny, to: [{networks: ['2001:db8::/32', 10.9.0.0/8]}]}")
    networks = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
    assert rule.peer == PeerAll((InPrefixes(networks), NO_SERVICE))


def test_nodes_are_chosen_by_their_own_labels(load):
    rule = egress_rule(load, "{action: Accept, to: [{nodes: {matchLabels: {zone: east}}}]}")
    assert rule.peer == HasObject(all_labels(NODE, LabelTest(("label:zone",), LabelOperator.IN, ("east",))))


def test_missing_namespace_selector_means_all_namespaces_with_a_warning(load):
    loaded = load(cnp("p", "egress: [{action: Deny, to: [{pods: {podSelector: {matchLabels: {app: web}}}}]}]"))
    ((lowered,), ()) = loaded.cluster_policies()
    loaded.lint()
    assert lowered.egress.rules[0].peer == HasObject(all_labels(POD, APP_WEB))
    assert loaded.codes == {"K8S080"}


ITEMS = [
    ("{udp: {destinationPort: {number: 53}}}", L4Match(((17, 17),), ((53, 53),))),
    ("{sctp: {destinationPort: {range: {start: 5, end: 9}}}}", L4Match(((132, 132),), ((5, 9),))),
    (
        "{destinationNamedPort: http}",
        L4Match(named_ports=tuple(NamedPort("http", number, "destination") for number in (6, 17, 132))),
    ),
]


@pytest.mark.parametrize(("item", "l4"), ITEMS)
def test_protocols(item, l4, load):
    rule = egress_rule(load, f"{{action: Accept, to: [{{namespaces: {{}}}}], protocols: [{item}]}}")
    assert rule.l4 == (l4,)


def test_v1alpha1_is_read_as_v1alpha2(load):
    ports = "{namedPort: sql}, {portRange: {start: 5000, end: 5999}}, {portNumber: {protocol: UDP, port: 53}}"
    rule = f"{{action: Allow, from: [{{namespaces: {{}}}}], ports: [{ports}]}}"
    loaded = load(older("AdminNetworkPolicy", "guard", f"priority: 5, ingress: [{rule}]"))
    ((lowered,), ()) = loaded.cluster_policies()
    (found,) = lowered.ingress.rules
    assert (lowered.order, found.action) == ((5.0, "guard/AdminNetworkPolicy"), Action.ALLOW)
    assert [item.destination_ports for item in found.l4] == [None, ((5000, 5999),), ((53, 53),)]
    assert [item.protocols for item in found.l4] == [None, ((6, 6),), ((17, 17),)]


def test_tiers_and_order(load):
    rules = "ingress: [{action: Deny, from: [{namespaces: {}}]}]"
    text = (
        older("BaselineAdminNetworkPolicy", "default", rules)
        + cnp("last", rules, "Baseline", 1000)
        + cnp("b", rules, priority=7)
        + older("AdminNetworkPolicy", "a", f"priority: 8, {rules}")
    )
    admin, baseline = load(text).cluster_policies()
    assert [item.name for item in admin] == ["ClusterNetworkPolicy b", "AdminNetworkPolicy a"]
    assert [item.name for item in baseline] == [
        "ClusterNetworkPolicy last",
        "BaselineAdminNetworkPolicy default",
    ]


def ingress(action: str, rest: str = "", peer: str = "{namespaces: {}}") -> str:
    return f"ingress: [{{action: {action}, from: [{peer}]{rest}}}]"


def egress(action: str, peer: str, rest: str = "") -> str:
    return f"egress: [{{action: {action}, to: [{peer}]{rest}}}]"


def test_names(load):
    rule = egress_rule(load, "{action: Accept, to: [{domainNames: [Kasse.example, '*.kasse.example.']}]}")
    assert rule.peer == PeerAll((LearntName(("*.kasse.example.", "kasse.example."), "kubernetes"), NO_SERVICE))
    assert rule.l4 == ANY_L4


def test_names_leave_the_other_peers_of_the_rule(load):
    rule = egress_rule(load, "{action: Accept, to: [{nodes: {}}, {domainNames: [a.b]}]}")
    assert rule.peer.items[0] == HasObject(NODE)


def tcp(low: int, high: int) -> str:
    return f", protocols: [{{tcp: {{destinationPort: {{range: {{start: {low}, end: {high}}}}}}}}}]"


def number(port: int) -> str:
    return f", protocols: [{{tcp: {{destinationPort: {{number: {port}}}}}}}]"


NAME = ", protocols: [{destinationNamedPort: http}]"
SHADOWED = (
    "ingress: [{action: Accept, from: [{pods: {podSelector: {matchLabels: {app: web}}, namespaceSelector: {}}}]}, "
    "{action: Deny, from: [{namespaces: {}}]}]"
)
NAME_FIRST = "egress: [{action: Accept, to: [{domainNames: [%s]}]}, {action: Deny, to: [{networks: ['::/0']}]}]"
WEB = "{pods: {podSelector: {matchLabels: {app: web}}, namespaceSelector: {}}}"
DB = "{pods: {podSelector: {matchLabels: {app: db}}, namespaceSelector: {}}}"
PAIRS = [
    ("same actions", ingress("Deny"), ingress("Deny"), False),
    ("other actions", ingress("Accept"), ingress("Deny"), True),
    ("Pass and Accept", ingress("Pass"), ingress("Accept"), True),
    ("other directions", ingress("Deny"), egress("Accept", "{namespaces: {}}"), False),
    ("ports apart", ingress("Accept", tcp(1, 9)), ingress("Deny", tcp(10, 19)), False),
    ("ports meet", ingress("Accept", tcp(1, 10)), ingress("Deny", tcp(10, 19)), True),
    ("name is the number", ingress("Accept", NAME), ingress("Deny", number(8080)), True),
    ("name is another number", ingress("Accept", NAME), ingress("Deny", number(80)), False),
    ("peers apart", ingress("Accept", "", WEB), ingress("Deny", "", DB), False),
    ("both say the same first", SHADOWED, SHADOWED, False),
    (
        "networks apart",
        egress("Accept", "{networks: [10.8.0.0/16]}"),
        egress("Deny", "{networks: [10.9.0.0/16]}"),
        False,
    ),
    ("networks nest", egress("Accept", "{networks: [10.8.0.0/13]}"), egress("Deny", "{networks: [10.9.0.0/16]}"), True),
    ("network and pod", egress("Accept", "{networks: [10.1.0.0/24]}"), egress("Deny", WEB), True),
    ("network and node", egress("Accept", "{networks: [10.0.0.2/32]}"), egress("Deny", "{nodes: {}}"), True),
    ("names and no address", egress("Accept", "{domainNames: [a.example]}"), egress("Deny", WEB), True),
    ("names and networks", egress("Accept", "{domainNames: ['*.a.b']}"), egress("Deny", "{networks: ['::/0']}"), True),
    ("names and names", egress("Accept", "{domainNames: [a.b]}"), egress("Accept", "{domainNames: [a.b]}"), False),
    ("the same name first", NAME_FIRST % "'*.a.b'", NAME_FIRST % "'*.a.b', c.a.b", False),
    ("another name first", NAME_FIRST % "'*.a.b'", NAME_FIRST % "x.a.b", True),
    ("network and no pod", egress("Accept", "{networks: [10.7.0.0/24]}"), egress("Deny", WEB), False),
]


@pytest.mark.parametrize(("one", "other", "conflict"), [row[1:] for row in PAIRS], ids=[row[0] for row in PAIRS])
def test_equal_priority(one, other, conflict, load, world):
    loaded = load(cnp("one", one) + cnp("other", other) + world)
    loaded.cluster_policies()
    assert loaded.codes & {"K8S058", "K8S085"} == {"K8S058" if conflict else "K8S085"}


def test_equal_priority_without_a_common_pod(load, world):
    shop, ops = (
        f"{{namespaces: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}}}" for name in ("shop", "ops")
    )
    text = cnp("one", ingress("Accept"), subject=shop) + cnp("other", ingress("Deny"), subject=ops)
    loaded = load(text + world)
    loaded.cluster_policies()
    assert "K8S058" not in loaded.codes


def test_equal_priority_of_different_tiers_is_fine(load, world):
    loaded = load(cnp("one", ingress("Accept")) + cnp("other", ingress("Deny"), "Baseline") + world)
    loaded.cluster_policies()
    assert not loaded.codes & {"K8S058", "K8S085"}
