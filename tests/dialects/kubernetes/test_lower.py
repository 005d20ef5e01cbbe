"""NetworkPolicy to IR: directions, peers, ports, order, and what each engine changes."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from bpfence.dialects.kubernetes import exempt_rules
from bpfence.ir.expressions import (
    ANYONE,
    POD,
    HasObject,
    InPrefixes,
    LabelOperator,
    LabelTest,
    OnOwnNode,
    PeerAll,
    PeerAny,
    PeerNot,
    all_labels,
    kind_is,
)
from bpfence.ir.nodes import ANY_L4, Action, Direction, L4Match, NamedPort

TCP, UDP = ((6, 6),), ((17, 17),)
SHOP = LabelTest(("meta:namespace",), LabelOperator.IN, ("shop",))


def has(key: str, *values: str) -> LabelTest:
    return LabelTest((key,), LabelOperator.IN, values)


def policy(spec: str, name: str = "p") -> str:
    return (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
        f"metadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
    )


def only_rule(load, rule: str, engine: str = "kubernetes", **options):
    """The single ingress rule of a policy that selects everything."""
    loaded = load(policy(f"{{podSelector: {{}}, ingress: [{rule}]}}"), **options)
    (lowered,) = loaded.network_policies(engine)
    (found,) = lowered.ingress.rules
    return found


ISOLATION = [
    ("{podSelector: {}}", True, False),
    ("{podSelector: {}, egress: []}", True, False),
    ("{podSelector: {}, egress: [{}]}", True, True),
    ("{podSelector: {}, policyTypes: [], egress: [{}]}", True, True),
    ("{podSelector: {}, policyTypes: [Ingress], egress: [{}]}", True, False),
    ("{podSelector: {}, policyTypes: [Egress], ingress: [{}]}", False, True),
    ("{podSelector: {}, policyTypes: [Ingress, Egress]}", True, True),
]


@pytest.mark.parametrize(("spec", "ingress", "egress"), ISOLATION)
def test_directions(spec, ingress, egress, load):
    (lowered,) = load(policy(spec)).network_policies()
    assert (lowered.ingress is not None, lowered.egress is not None) == (ingress, egress)
    assert all(section.isolates for section in (lowered.ingress, lowered.egress) if section is not None)


def test_subject_is_pods_of_the_namespace(load):
    spec = "{podSelector: {matchLabels: {b: c}, matchExpressions: [{key: a, operator: NotIn, values: [w, x, x]}]}}"
    (lowered,) = load(policy(spec)).network_policies()
    not_in = LabelTest(("label:a",), LabelOperator.NOT_IN, ("w", "x"))
    assert lowered.subject == all_labels(POD, SHOP, has("label:b", "c"), not_in)


PEERS = [
    ("{}", ANYONE),
    ("{from: []}", ANYONE),
    ("{from: [{podSelector: {}}]}", HasObject(all_labels(POD, SHOP))),
    ("{from: [{namespaceSelector: {}}]}", HasObject(POD)),
    (
        "{from: [{namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: web}}}]}",
        HasObject(all_labels(POD, has("namespace:team", "a"), has("label:app", "web"))),
    ),
    (
        "{from: [{namespaceSelector: {matchLabels: {team: a}}}, {podSelector: {matchLabels: {app: web}}}]}",
        PeerAny(
            (
                HasObject(all_labels(POD, has("namespace:team", "a"))),
                HasObject(all_labels(POD, SHOP, has("label:app", "web"))),
            )
        ),
    ),
]


@pytest.mark.parametrize(("rule", "peer"), PEERS)
def test_peers(rule, peer, load):
    assert only_rule(load, rule).peer == peer


PORTS = [
    ("{}", ANY_L4),
    ("{ports: []}", ANY_L4),
    ("{ports: [{}]}", (L4Match(TCP),)),
    ("{ports: [{protocol: UDP}]}", (L4Match(UDP),)),
    ("{ports: [{port: 80}]}", (L4Match(TCP, ((80, 80),)),)),
    (
        "{ports: [{port: 80, endPort: 90}, {protocol: UDP, port: 53}]}",
        (L4Match(TCP, ((80, 90),)), L4Match(UDP, ((53, 53),))),
    ),
    ("{ports: [{port: http}]}", (L4Match(TCP, named_ports=(NamedPort("http", 6, "destination"),)),)),
]


@pytest.mark.parametrize(("rule", "l4"), PORTS)
def test_ports(rule, l4, load):
    assert only_rule(load, rule).l4 == l4


HIDDEN = [
    ("kubernetes", "dialect", ("pod", "service")),
    ("kubernetes", "never", ("pod", "service")),
    ("kubernetes", "always", ("service",)),
    ("cilium", "dialect", ("node", "pod", "service")),
    ("cilium", "never", ("node", "pod", "service")),
    ("cilium", "always", ("node", "service")),
    ("calico", "dialect", ("service",)),
    ("calico", "always", ("service",)),
    ("calico", "never", ("pod", "service")),
]


@pytest.mark.parametrize(("engine", "option", "hidden"), HIDDEN)
def test_what_an_address_block_can_mean(engine, option, hidden, load):
    rule = only_rule(load, "{from: [{ipBlock: {cidr: 10.1.2.3/8}}]}", engine, ipblock_matches_pods=option)
    inside = InPrefixes((ip_network("10.0.0.0/8"),))
    assert rule.peer == PeerAll((inside, PeerNot(HasObject(kind_is(*hidden)))))


def test_except_is_cut_out(load):
    rule = only_rule(load, "{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.2.0.0/16, 10.1.0.0/16]}}]}")
    spared = InPrefixes((ip_network("10.1.0.0/16"), ip_network("10.2.0.0/16")))
    assert PeerNot(spared) in rule.peer.items


def test_origins_point_at_rules(load):
    loaded = load(policy("\n  podSelector: {}\n  ingress:\n  - {}\n  - ports: [{}]"))
    (lowered,) = loaded.network_policies()
    origins = [(rule.origin.policy, rule.origin.field, rule.origin.span.line) for rule in lowered.ingress.rules]
    assert origins == [
        ("NetworkPolicy shop/p", "spec.ingress[0]", 7),
        ("NetworkPolicy shop/p", "spec.ingress[1]", 8),
    ]


def test_order_does_not_follow_the_file(load):
    loaded = load(policy("{}", "b") + "---\n" + policy("{}", "a"))
    assert [item.order for item in loaded.network_policies()] == [(0.0, "shop/a"), (0.0, "shop/b")]
    assert loaded.network_policies("calico")[0].order == (1000.0, "a/shop/KubernetesNetworkPolicy")


@pytest.mark.parametrize("direction", list(Direction))
def test_own_node_is_exempt_in_the_kubernetes_engine_alone(direction):
    (rule,) = exempt_rules("kubernetes", direction)
    assert (rule.action, rule.peer, rule.l4) == (Action.ALLOW, OnOwnNode(), ANY_L4)
    assert rule.origin.policy == "built-in"
    assert exempt_rules("cilium", direction) == exempt_rules("calico", direction) == ()


@pytest.mark.parametrize("engine", ["kubernetes", "calico"])
def test_rules_outside_policy_types_are_ignored_with_a_warning(engine, load):
    loaded = load(policy("{podSelector: {}, policyTypes: [Egress], ingress: [{}]}"))
    (lowered,) = loaded.network_policies(engine)
    assert lowered.ingress is None
    assert loaded.codes == {"K8S074"}


def test_rules_outside_policy_types_are_refused_in_the_cilium_engine(load):
    loaded = load(policy("\n  podSelector: {}\n  policyTypes: [Egress]\n  ingress:\n  - {}"))
    loaded.network_policies("cilium")
    assert loaded.errors == [("K8S024", 7)]


OVERLAPS = [
    ("10.1.0.0/24", "addresses of pods"),
    ("10.1.0.128/25", "podCIDR"),
    ("10.96.0.0/12", "Service addresses"),
]


@pytest.mark.parametrize(("cidr", "words"), OVERLAPS)
def test_overlap_with_the_cluster_is_told(cidr, words, load, world):
    loaded = load(policy(f"{{podSelector: {{}}, ingress: [{{from: [{{ipBlock: {{cidr: {cidr}}}}}]}}]}}") + world)
    loaded.network_policies()
    (found,) = [item for item in loaded.diagnostics.items if item.code == "K8S090"]
    assert words in found.message
    assert "does not match pods" in found.message


def test_excepted_addresses_do_not_overlap(load, world):
    block = "{cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.96.0.0/12]}"
    loaded = load(policy(f"{{podSelector: {{}}, ingress: [{{from: [{{ipBlock: {block}}}]}}]}}") + world)
    loaded.network_policies()
    assert "K8S090" not in loaded.codes


TWICE = """
---
apiVersion: v1
kind: Pod
metadata: {name: two, namespace: shop, labels: {app: two}}
spec:
  nodeName: n1
  containers:
  - {name: a, ports: [{name: x, containerPort: 1}]}
  - {name: b, ports: [{name: x, containerPort: 2}]}
status: {podIP: 10.1.0.99}
"""


@pytest.mark.parametrize(("port", "refused"), [("x", True), ("z", False)])
def test_a_name_with_two_numbers_is_refused_where_it_is_used(port, refused, load):
    loaded = load(policy(f"{{podSelector: {{}}, ingress: [{{ports: [{{port: {port}}}]}}]}}") + TWICE)
    loaded.network_policies()
    assert ([code for code, _ in loaded.errors] == ["K8S025"]) is refused
