"""Peers of one statement as IR expressions."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest

from bpfence.identity.inventory import EndpointsEntry, Inventory, Node, Service
from bpfence.ir.expressions import (
    ANYONE,
    NODE,
    OUTSIDE,
    POD,
    HasObject,
    InPrefixes,
    LabelOperator,
    LabelTest,
    OnOwnNode,
    PeerAny,
    PeerExpr,
    PeerNot,
    all_labels,
    all_peers,
    any_peer,
    kind_is,
)
from bpfence.source.spans import Span

HERE = Span("inventory.yaml", 1, 1, 1, 1)
SHOP = LabelTest(("meta:namespace",), LabelOperator.IN, ("shop",))
ANYWHERE = LabelTest(("meta:namespace",), LabelOperator.EXISTS)
OTHER_NODES = all_peers(HasObject(NODE), PeerNot(OnOwnNode()))


def has(key: str, *values: str) -> LabelTest:
    return LabelTest((key,), LabelOperator.IN, values)


def bare(key: str, *values: str) -> LabelTest:
    return LabelTest((f"label:{key}", f"reserved:{key}"), LabelOperator.IN, values)


def pods(*tests: LabelTest) -> PeerExpr:
    return HasObject(all_labels(POD, *tests))


def prefixes(*texts: str) -> InPrefixes:
    return InPrefixes(tuple(ip_network(text) for text in texts))


SELECTORS = {
    "bare key": ("{matchLabels: {app: web}}", pods(SHOP, bare("app", "web"))),
    "k8s key": ("{matchLabels: {'k8s:app': web}}", pods(SHOP, has("label:app", "web"))),
    "any key": ("{matchLabels: {'any:app': web}}", pods(SHOP, bare("app", "web"))),
    "service account": (
        "{matchLabels: {io.cilium.k8s.policy.serviceaccount: bot}}",
        pods(SHOP, has("meta:serviceaccount", "bot")),
    ),
    "namespace": ("{matchLabels: {io.kubernetes.pod.namespace: ops}}", pods(has("meta:namespace", "ops"))),
    "namespace by k8s key": (
        "{matchExpressions: [{key: 'k8s:io.kubernetes.pod.namespace', operator: Exists}]}",
        pods(ANYWHERE),
    ),
    "namespace label": (
        "{matchLabels: {io.cilium.k8s.namespace.labels.team/name: a}}",
        pods(has("namespace:team/name", "a")),
    ),
    "own host": ("{matchLabels: {'reserved:host': ''}}", OnOwnNode()),
    "dollar spelling": ("{matchLabels: {$host: ''}}", OnOwnNode()),
    "dotted spelling": ("{matchLabels: {reserved.host: ''}}", OnOwnNode()),
    "other nodes": ("{matchLabels: {'reserved:remote-node': ''}}", OTHER_NODES),
    "world": ("{matchLabels: {'reserved:world': ''}}", OUTSIDE),
    "a value that no reserved label has": ("{matchLabels: {'reserved:world': x}}", None),
    "storage nodes": (
        "{matchLabels: {'reserved:remote-node': '', 'node:role': storage}}",
        all_peers(*OTHER_NODES.items, HasObject(all_labels(NODE, has("label:role", "storage")))),
    ),
    "anything but one namespace": (
        "{matchExpressions: [{key: io.kubernetes.pod.namespace, operator: NotIn, values: [ops]}]}",
        PeerAny(
            (
                pods(LabelTest(("meta:namespace",), LabelOperator.NOT_IN, ("ops",))),
                OUTSIDE,
                HasObject(NODE),
            )
        ),
    ),
}


@pytest.mark.parametrize("case", SELECTORS)
def test_selector(case: str, compile_rule: Callable) -> None:
    selector, expected = SELECTORS[case]
    (policy,) = compile_rule(f"endpointSelector: {{}}\ningress: [{{fromEndpoints: [{selector}]}}]").policies
    assert [rule.peer for rule in policy.ingress.rules] == ([] if expected is None else [expected])


CLUSTERWIDE = {
    "plain": ("{matchLabels: {app: web}}", pods(ANYWHERE, bare("app", "web"))),
    "namespace label": (
        "{matchLabels: {io.cilium.k8s.namespace.labels.team: a}}",
        pods(ANYWHERE, has("namespace:team", "a")),
    ),
    "namespace": ("{matchLabels: {io.kubernetes.pod.namespace: ops}}", pods(has("meta:namespace", "ops"))),
}


@pytest.mark.parametrize("case", CLUSTERWIDE)
def test_clusterwide_selector(case: str, compile_rule: Callable) -> None:
    selector, expected = CLUSTERWIDE[case]
    (policy,) = compile_rule(
        f"endpointSelector: {{}}\ningress: [{{fromEndpoints: [{selector}]}}]", namespace=""
    ).policies
    assert policy.ingress.rules[0].peer == expected


def test_purely_negative_selector_is_a_warning(compile_rule: Callable) -> None:
    body = (
        "endpointSelector: {}\negress: "
        "[{toEndpoints: [{matchExpressions: [{key: 'reserved:host', operator: DoesNotExist}]}]}]"
    )
    outcome = compile_rule(body)
    assert outcome.codes == ["CIL078"]
    assert outcome.policies[0].egress.rules[0].peer == any_peer(pods(), OUTSIDE, OTHER_NODES)


ENTITIES = {
    "all": PeerNot(HasObject(kind_is("service"))),
    "world": OUTSIDE,
    "world-ipv4": all_peers(prefixes("0.0.0.0/0"), OUTSIDE),
    "world-ipv6": all_peers(prefixes("::/0"), OUTSIDE),
    "host": OnOwnNode(),
    "remote-node": OTHER_NODES,
    "health": HasObject(LabelTest(("reserved:health",), LabelOperator.EXISTS)),
    "cluster": HasObject(kind_is("node", "pod")),
}


@pytest.mark.parametrize("name", ENTITIES)
def test_entity(name: str, compile_rule: Callable) -> None:
    (policy,) = compile_rule(f"endpointSelector: {{}}\negress: [{{toEntities: [{name}]}}]").policies
    assert policy.egress.rules[0].peer == ENTITIES[name]


def test_api_server_is_its_addresses_and_all_of_the_own_node(compile_rule: Callable) -> None:
    inside, outside = ip_address("10.0.0.2"), ip_address("192.0.2.9")
    entries = tuple(EndpointsEntry("default", "kubernetes", item, True, (), HERE) for item in (inside, outside))
    inventory = Inventory(nodes=(Node("n2", HERE, addresses=(inside,)),), endpoints=entries)
    (policy,) = compile_rule("endpointSelector: {}\negress: [{toEntities: [kube-apiserver]}]", inventory).policies
    assert policy.egress.rules[0].peer == any_peer(
        prefixes("10.0.0.2/32", "192.0.2.9/32"),
        all_peers(HasObject(all_labels(NODE, has("meta:name", "n2"))), OnOwnNode()),
    )


PREFIXES = {
    "one": ("toCIDR: [10.0.0.0/8]", all_peers(prefixes("10.0.0.0/8"), OUTSIDE)),
    "union": ("toCIDR: ['2001:db8::/32', 10.0.0.0/8]", all_peers(prefixes("10.0.0.0/8", "2001:db8::/32"), OUTSIDE)),
    "host bits": ("toCIDR: [10.1.2.3/8]", all_peers(prefixes("10.0.0.0/8"), OUTSIDE)),
    "exceptions": (
        "toCIDRSet: [{cidr: 10.0.0.0/8, except: [10.9.0.0/16, 10.1.0.0/16]}]",
        all_peers(prefixes("10.0.0.0/8"), PeerNot(prefixes("10.1.0.0/16", "10.9.0.0/16")), OUTSIDE),
    ),
    "nodes": (
        "toNodes: [{matchLabels: {role: storage}}]",
        all_peers(HasObject(all_labels(NODE, has("label:role", "storage"))), PeerNot(OnOwnNode())),
    ),
    "nodes by node key": (
        "toNodes: [{matchLabels: {'node:role': storage}}]",
        all_peers(HasObject(all_labels(NODE, has("label:role", "storage"))), PeerNot(OnOwnNode())),
    ),
}


@pytest.mark.parametrize("case", PREFIXES)
def test_prefixes_and_nodes(case: str, compile_rule: Callable) -> None:
    member, expected = PREFIXES[case]
    (policy,) = compile_rule(f"endpointSelector: {{}}\negress: [{{{member}}}]").policies
    assert policy.egress.rules[0].peer == expected


def test_prefixes_may_match_pods_but_never_nodes(compile_rule: Callable) -> None:
    body = "endpointSelector: {}\negress: [{toCIDR: [10.0.0.0/8]}]"
    (policy,) = compile_rule(body, ipblock_matches_pods="always").policies
    assert policy.egress.rules[0].peer == all_peers(prefixes("10.0.0.0/8"), any_peer(OUTSIDE, HasObject(POD)))


GROUPS = """
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: one, labels: {site: a, kind: office}}
spec: {externalCIDRs: [10.0.0.0/8]}
---
apiVersion: cilium.io/v2alpha1
kind: CiliumCIDRGroup
metadata: {name: two, labels: {site: b, kind: office}}
spec: {externalCIDRs: [10.1.0.0/16]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p, namespace: shop}
spec: {endpointSelector: {}, egress: [{toCIDRSet: [ITEM]}]}
"""
GROUP_ITEMS = {
    "by name": (
        "{cidrGroupRef: one, except: [10.2.0.0/16]}",
        (prefixes("10.0.0.0/8"), PeerNot(prefixes("10.2.0.0/16"))),
    ),
    "by label": (
        "{cidrGroupSelector: {matchLabels: {kind: office}}}",
        (prefixes("10.0.0.0/8", "10.1.0.0/16"),),
    ),
    "labels of all groups over an address": (
        "{cidrGroupSelector: {matchLabels: {'cidrgroup:site': a}, "
        "matchExpressions: [{key: site, operator: NotIn, values: [b]}]}}",
        (prefixes("10.0.0.0/8"), PeerNot(prefixes("10.1.0.0/16"))),
    ),
}


@pytest.mark.parametrize("case", GROUP_ITEMS)
def test_groups(case: str, compile_policy: Callable) -> None:
    item, expected = GROUP_ITEMS[case]
    outcome = compile_policy(GROUPS.replace("ITEM", item))
    assert outcome.policies[0].egress.rules[0].peer == all_peers(*expected, OUTSIDE)


def test_services(compile_rule: Callable) -> None:
    inventory = Inventory(
        services=(
            Service("ops", "outer", HERE, labels={"tier": "back"}),
            Service("shop", "cart", HERE, selector={"app": "cart"}),
        ),
        endpoints=(EndpointsEntry("ops", "outer", ip_address("192.0.2.1"), True, (), HERE),),
    )
    body = "endpointSelector: {}\negressDeny: [{toServices: ITEMS}]"
    by_name = "[{k8sService: {serviceName: cart}}]"
    by_labels = "[{k8sServiceSelector: {selector: {matchLabels: {tier: back}}, namespace: ops}}]"
    (first,) = compile_rule(body.replace("ITEMS", by_name), inventory).policies
    (second,) = compile_rule(body.replace("ITEMS", by_labels), inventory).policies
    assert first.egress.rules[0].peer == pods(SHOP, has("label:app", "cart"))
    assert second.egress.rules[0].peer == all_peers(prefixes("192.0.2.1/32"), OUTSIDE)


def test_service_in_another_namespace_is_another_service(compile_rule: Callable) -> None:
    inventory = Inventory(services=(Service("shop", "cart", HERE, selector={"app": "cart"}),))
    body = "endpointSelector: {}\negress: [{toServices: [{k8sService: {serviceName: cart, namespace: ops}}]}]"
    assert compile_rule(body, inventory).errors == [("CIL051", 6)]


def test_items_of_a_list_are_ored(compile_rule: Callable) -> None:
    (policy,) = compile_rule("endpointSelector: {}\negress: [{toEntities: [none, host, world]}]").policies
    assert policy.egress.rules[0].peer == any_peer(OnOwnNode(), OUTSIDE)


def test_unmanaged_pods_are_no_endpoints(compile_rule: Callable) -> None:
    inventory = Inventory(declared_kinds=frozenset(("CiliumEndpoint",)))
    (policy,) = compile_rule("endpointSelector: {}\ningress: [{toPorts: [{ports: [{port: '1'}]}]}]", inventory).policies
    managed = LabelTest(("reserved:unmanaged",), LabelOperator.ABSENT)
    assert policy.subject == all_labels(POD, managed, SHOP)
    assert policy.ingress.rules[0].peer == ANYONE
