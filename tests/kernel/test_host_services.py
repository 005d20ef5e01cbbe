"""Services with real translation: nftables stands in for kube-proxy, on the node where the packet meets it."""

from __future__ import annotations

import pytest

from support.host_objects import NODE1, PODS, SERVICES, felix, gnp, hep
from support.host_world import Ask, HostWorld, asks

pytestmark = pytest.mark.kernel

BACKENDS = {"db": ("shop/db",), "mixed": ("shop/db", "shop/api"), "api": ("shop/api",)}
CLUSTER = {"db": "10.96.0.10", "mixed": "10.96.0.11", "api": "10.96.0.12"}
NODE_PORTS = {"db": 30080, "mixed": 30081, "api": 30082}
EXTERNAL = {"db": "203.0.113.50"}
BALANCED = {"api": "203.0.113.60"}
"""a load balancer's address"""


def service(name: str, backends: tuple[str, ...]) -> str:
    address = CLUSTER[name]
    outer = f", externalIPs: ['{EXTERNAL[name]}', '{SERVICES[EXTERNAL[name]]}']" if name in EXTERNAL else ""
    balancer = ""
    if name in BALANCED:
        listed = ", ".join(f"{{ip: '{ip}'}}" for ip in (BALANCED[name], SERVICES[BALANCED[name]]))
        balancer = f"\nstatus: {{loadBalancer: {{ingress: [{listed}]}}}}"
    texts = [
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n"
        f"spec: {{type: NodePort, clusterIP: {address}, clusterIPs: [{address}, '{SERVICES[address]}'], "
        "ipFamilies: [IPv4, IPv6], ports: ["
        f"{{name: t, port: 80, targetPort: 8080, protocol: TCP, nodePort: {NODE_PORTS[name]}}}, "
        f"{{name: u, port: 80, targetPort: 8080, protocol: UDP, nodePort: {NODE_PORTS[name]}}}]{outer}}}{balancer}"
    ]
    for place, family in enumerate(("IPv4", "IPv6")):
        listed = ", ".join(f"{{addresses: ['{PODS[pod][place]}'], conditions: {{ready: true}}}}" for pod in backends)
        texts.append(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
            f"metadata: {{name: {name}-{family.lower()}, namespace: shop, "
            f"labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: {family}\nendpoints: [{listed}]\n"
            "ports: [{name: t, port: 8080, protocol: TCP}, {name: u, port: 8080, protocol: UDP}]"
        )
    return "\n---\n".join(texts)


def translation(backends: dict[str, tuple[str, ...]], masquerade: bool) -> str:
    """What kube-proxy would do: the destination translated on the way in and for the node's own packets."""
    rules = []
    for name, pods in backends.items():
        for family, place in (("ip", 0), ("ip6", 1)):
            chosen = [PODS[pod][place] for pod in pods]
            target = f"numgen inc mod {len(chosen)} map {{ {', '.join(f'{n} : {a}' for n, a in enumerate(chosen))} }}"
            outer = [CLUSTER[name], *(more[name] for more in (EXTERNAL, BALANCED) if name in more)]
            at = ", ".join(address if place == 0 else SERVICES[address] for address in outer)
            to = f"dnat {family} to {target if len(chosen) > 1 else chosen[0] if place == 0 else f'[{chosen[0]}]'}"
            rules += [
                f"{family} daddr {{ {at} }} meta l4proto {{ tcp, udp }} th dport 80 {to}:8080",
                f"meta nfproto ipv{(4, 6)[place]} fib daddr type local meta l4proto {{ tcp, udp }} "
                f"th dport {NODE_PORTS[name]} {to}:8080",
            ]
    text = "\n".join(rules)
    hidden = 'oifname "eth0" ct status dnat masquerade\n' if masquerade else ""
    # a pod that is its own backend would not know its own address
    hidden += "\n".join(
        f"ip saddr {four} ip daddr {four} masquerade\nip6 saddr {six} ip6 daddr {six} masquerade"
        for four, six in PODS.values()
    )
    return (
        f"table inet proxy {{\nchain in {{ type nat hook prerouting priority dstnat; {text}\n}}\n"
        f"chain own {{ type nat hook output priority -100; {text}\n}}\n"
        f"chain out {{ type nat hook postrouting priority srcnat; {hidden}\n}}\n}}"
    )


ALL = [service(name, pods) for name, pods in BACKENDS.items()]
WEB_TO_DB = (
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\n"
    "spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: "
    "{matchLabels: {app: db}}}], ports: [{protocol: TCP, port: 8080}, {protocol: UDP, port: 8080}]}]}"
)


def through(who: str, verdicts: dict[str, str], address: dict[str, str] = CLUSTER, port: int = 80) -> list[Ask]:
    lines = [
        f"{who} {address[name]} {protocol}/{port} {verdict}"
        for name, verdict in verdicts.items()
        for protocol in ("tcp", "udp")
    ]
    return asks(*lines)


def at_node(who: str, verdicts: dict[str, str]) -> list[Ask]:
    lines = [
        f"{who} node1 {protocol}/{NODE_PORTS[name]} {verdict}"
        for name, verdict in verdicts.items()
        for protocol in ("tcp", "udp")
    ]
    return asks(*lines)


def test_a_pod_reaches_services_whose_backends_it_may_reach(hosts: HostWorld) -> None:
    hosts.nft("node1", translation(BACKENDS, masquerade=True))
    hosts.apply("node1", *ALL, WEB_TO_DB)
    everybody = dict.fromkeys(BACKENDS, "yes")
    wanted = [
        *through("shop/web", {"db": "yes", "mixed": "no", "api": "no"}),
        *through("shop/web", {"db": "yes"}, EXTERNAL),
        *through("shop/web", {"api": "no"}, BALANCED),
        *through("shop/db", {"api": "yes"}, BALANCED),
        *at_node("shop/web", {"db": "yes", "mixed": "no", "api": "no"}),
        *through("shop/db", everybody),
        *at_node("shop/db", everybody),
        *through("node1", everybody),
        *asks("shop/web shop/db tcp/8080 yes", "shop/web shop/db tcp/80 no", "shop/web 10.96.0.10 tcp/443 no"),
    ]
    assert hosts.wrong(wanted) == []


def test_from_outside_to_ports_of_the_node(hosts: HostWorld) -> None:
    """The host endpoint in front allows what it would allow to the backends, not the node's own ports."""
    hosts.nft("node1", translation(BACKENDS, masquerade=True))
    in_front = gnp(
        "front",
        "hep == 'h0'",
        "applyOnForward: true, types: [Ingress], ingress: ["
        "{action: Allow, protocol: TCP, destination: {selector: 'app in {\"db\"}', ports: [8080]}}, "
        "{action: Allow, protocol: UDP, destination: {selector: 'app in {\"db\"}', ports: [8080]}}]",
    )
    hosts.apply("node1", hep("h0"), in_front, *ALL)
    wanted = [
        *at_node("out", {"db": "yes", "mixed": "no", "api": "no"}),
        *through("out", {"db": "yes"}, EXTERNAL),
        *through("out", {"api": "no"}, BALANCED),
        *through("out", {"db": "yes", "api": "no"}),
        *at_node("far", dict.fromkeys(BACKENDS, "yes")),
        *asks("out node1 tcp/8080 no", "out shop/db tcp/8080 yes", "out shop/db tcp/80 no", "out node1 tcp/22 yes"),
        *through("shop/web", dict.fromkeys(BACKENDS, "yes")),
    ]
    assert hosts.wrong(wanted) == []


def test_ports_of_the_node_lead_to_pods_elsewhere(hosts: HostWorld) -> None:
    hosts.nft("node1", translation(BACKENDS, masquerade=True))
    in_front = gnp(
        "front",
        "hep == 'h0'",
        "applyOnForward: true, types: [Ingress], ingress: [{action: Allow, destination: {selector: has(app)}}]",
    )
    hosts.apply("node1", hep("h0"), in_front, *ALL)
    wanted = [*at_node("out", dict.fromkeys(BACKENDS, "yes")), *asks("out node1 tcp/443 no", "out far tcp/443 no")]
    assert hosts.wrong(wanted) == []


def test_pods_reach_ports_of_a_node_that_drops_what_they_send_to_it(hosts: HostWorld) -> None:
    hosts.nft("node1", translation(BACKENDS, masquerade=True))
    hosts.apply("node1", hep("h0"), felix(defaultEndpointToHostAction="Drop"), *ALL)
    wanted = [*at_node("shop/web", dict.fromkeys(BACKENDS, "yes")), *asks("shop/web node1 tcp/443 no")]
    assert hosts.wrong(wanted) == []


def test_before_translation_the_port_on_the_wire_counts(hosts: HostWorld) -> None:
    hosts.nft("node1", translation(BACKENDS, masquerade=True))
    early = gnp(
        "early",
        "hep == 'h0'",
        f"preDNAT: true, applyOnForward: true, ingress: [{{action: Deny, protocol: TCP, "
        f"destination: {{ports: [{NODE_PORTS['api']}]}}}}]",
    )
    hosts.apply("node1", hep("h0"), early, *ALL)
    wanted = asks(
        f"out node1 tcp/{NODE_PORTS['api']} no",
        f"out node1 udp/{NODE_PORTS['api']} yes",
        f"out node1 tcp/{NODE_PORTS['db']} yes",
        "out shop/api tcp/8080 yes",
    )
    assert hosts.wrong(wanted) == []


def test_the_policy_of_the_pod_holds_behind_every_way(hosts: HostWorld) -> None:
    hosts.nft("node1", translation(BACKENDS, masquerade=False))
    guarded = (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: db, namespace: shop}\n"
        "spec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: "
        "{matchLabels: {app: web}}}]}]}"
    )
    hosts.apply("node1", *ALL, guarded)
    wanted = [
        *at_node("out", {"db": "no"}),
        *through("shop/web", {"db": "yes"}),
        *through("out", {"db": "no"}, EXTERNAL),
        *through("node1", {"db": "yes"}),
    ]
    assert hosts.wrong(wanted) == []


def test_a_session_outlives_a_change_of_backends(hosts: HostWorld) -> None:
    hosts.nft("node1", translation(BACKENDS, masquerade=True))
    to_both = WEB_TO_DB.replace(
        "{matchLabels: {app: db}}", "{matchExpressions: [{key: app, operator: In, values: [db, api]}]}"
    )
    hosts.apply("node1", *ALL, to_both)
    for address in (CLUSTER["db"], SERVICES[CLUSTER["db"]]):
        with hosts.open("shop/web", address, 80) as session, hosts.open("out", NODE1[":" in address], 30080) as outside:
            assert session.talk()
            assert outside.talk()
            hosts.apply("node1", *(service(name, ("shop/api",)) for name in BACKENDS), to_both)
            assert session.talk(2.0)
            assert outside.talk(2.0)
            hosts.apply("node1", *ALL, WEB_TO_DB)
            assert session.talk(2.0)
            # what is in the way now is the backend that is no longer allowed
            hosts.apply("node1", *(service(name, ("shop/api",)) for name in BACKENDS), WEB_TO_DB)
            assert not session.talk(0.3)
            assert outside.talk(2.0)
            hosts.apply("node1", *ALL, to_both)
