"""Whose policy an interface has, what pods and their own host do, and what stays open when policies change."""

from __future__ import annotations

import pytest

from support.host_objects import NODE1, NODE1_FAR, OUT, PODS, felix, gnp, hep
from support.host_world import HostWorld, asks

pytestmark = pytest.mark.kernel


def only(name: str, port: int) -> str:
    """Who is called so takes one port in, and whatever it likes out."""
    return gnp(
        f"only-{name}",
        f"hep == '{name}'",
        f"ingress: [{{action: Allow, protocol: TCP, destination: {{ports: [{port}]}}}}], egress: [{{action: Allow}}]",
    )


def open_ports(*allowed: int, to: str = "node1", source: str = "out") -> list[str]:
    return [f"{source} {to} tcp/{port} {'yes' if port in allowed else 'no'}" for port in (80, 443, 8080)]


def test_a_name_precedes_everybody_and_the_smallest_name_wins(hosts: HostWorld) -> None:
    several = (hep("b"), hep("a"), hep("star", interface="*"), hep("c", interface="", addresses=NODE1))
    report = hosts.apply("node1", *several, only("a", 80), only("b", 443), only("star", 8080), only("c", 443))
    assert [line.partition(":")[0] for line in report.warnings] == ["hep/b", "hep/c"]
    # the other interface has no host endpoint of its own
    lines = [*open_ports(80), *open_ports(8080, to=NODE1_FAR[0], source="far")]
    assert hosts.wrong(asks(*lines)) == []


def test_an_address_finds_the_interface(hosts: HostWorld) -> None:
    by_address = hep("mine", interface="", addresses=(NODE1_FAR[0],))
    hosts.apply("node1", by_address, only("mine", 80))
    lines = [*open_ports(80, to=NODE1_FAR[0], source="far"), *open_ports(80, 443, 8080)]
    assert hosts.wrong(asks(*lines)) == []


def test_expected_addresses_are_the_host_endpoints_for_selectors(hosts: HostWorld) -> None:
    other = hep("other", node="node2", interface="eth0", addresses=("198.51.100.2", "2001:db8:1::2"))
    policy = gnp("from-other", "hep == 'h0'", "ingress: [{action: Allow, source: {selector: hep == 'other'}}]")
    hosts.apply("node1", hep("h0"), other, policy)
    assert hosts.wrong(asks("node2 node1 tcp/443 yes", "out node1 tcp/443 no")) == []


def test_every_host_endpoint_closes_what_policies_do_not_open(hosts: HostWorld) -> None:
    hosts.apply("node1", hep("star", interface="*"))
    lines = [
        *open_ports(),
        *open_ports(to=NODE1_FAR[0], source="far"),
        # passed on, and between pods and their host: other points, which nothing restricts
        *open_ports(80, 443, 8080, to="shop/web"),
        *open_ports(80, 443, 8080, source="shop/web"),
        *open_ports(80, 443, 8080, to="far"),
        *open_ports(80, 443, 8080, source="node1", to="shop/web"),
    ]
    assert hosts.wrong(asks(*lines)) == []


@pytest.mark.parametrize("action", ["Drop", "Accept"])
def test_what_pods_send_to_their_own_host(hosts: HostWorld, action: str) -> None:
    web = gnp("web", "app == 'web'", "types: [Egress], egress: [{action: Deny, protocol: UDP}, {action: Allow}]")
    hosts.apply("node1", hep("h0"), web, felix(defaultEndpointToHostAction=action))
    answer = "yes" if action == "Accept" else "no"
    lines = [f"shop/db {to} {what} {answer}" for to in ("node1", NODE1_FAR[0]) for what in ("tcp/443", "ping")]
    lines += [
        f"shop/web node1 tcp/443 {answer}",
        "shop/web node1 udp/123 no",
        "shop/web node2 tcp/443 yes",
        "node1 shop/web tcp/443 yes",
        "node1 shop/db udp/123 yes",
    ]
    assert hosts.wrong(asks(*lines)) == []


def test_a_new_deny_cuts_what_is_established_and_spares_the_rest(hosts: HostWorld) -> None:
    star, everything = (
        hep("star", interface="*"),
        gnp("all", "has(hep)", "ingress: [{action: Allow}], egress: [{action: Allow}]"),
    )
    hosts.apply("node1", star, everything)
    deny = "{action: Deny, protocol: TCP, destination: {ports: [8080]}}, {action: Allow}"
    normal = gnp("normal", "has(hep)", f"ingress: [{deny}], egress: [{deny}]")
    passed_on = gnp("passed", "has(hep)", f"applyOnForward: true, ingress: [{deny}], egress: [{deny}]")
    with (
        hosts.open("out", NODE1[1], 8080) as entering,
        hosts.open("node1", OUT[0], 8080) as leaving,
        hosts.open("out", NODE1[0], 22) as failsafe,
        hosts.open("out", PODS["shop/web"][0], 8080) as through,
        hosts.open("node1", PODS["shop/web"][1], 8080) as own_pod,
        hosts.open("shop/web", NODE1[0], 8080) as own_host,
        hosts.open("out", NODE1[0], 443) as other,
    ):
        assert all(session.talk(2.0) for session in (entering, leaving, failsafe, through, own_pod, other))
        hosts.apply("node1", star, normal)
        assert [session.talk(0.3) for session in (entering, leaving)] == [False, False]
        assert all(session.talk(2.0) for session in (failsafe, through, own_pod, other))
        hosts.apply("node1", star, passed_on)
        assert not through.talk(0.3)
        assert [session.talk(2.0) for session in (failsafe, own_pod, own_host, other)] == [True] * 4
        hosts.apply("node1", star, everything, felix(defaultEndpointToHostAction="Drop"))
        assert not own_host.talk(0.3)
        assert own_pod.talk(2.0)


def nodes(name: str, body: str) -> str:
    return (
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n"
        f"metadata: {{name: {name}}}\nspec: {{nodeSelector: {{matchLabels: {{machine: node1}}}}, {body}}}"
    )


WEB_AND_WORLD = nodes(
    "host",
    "ingress: [{fromEndpoints: [{matchLabels: {app: web, 'io.kubernetes.pod.namespace': shop}}]}, "
    "{fromEntities: [world], toPorts: [{ports: [{port: '443', protocol: TCP}]}]}], "
    "egress: [{toEntities: [world], toPorts: [{ports: [{port: '8080', protocol: TCP}]}]}, "
    "{toEndpoints: [{matchLabels: {app: db, 'io.kubernetes.pod.namespace': shop}}]}]",
)


def test_policies_that_select_nodes(hosts: HostWorld) -> None:
    hosts.apply("node1", WEB_AND_WORLD)
    hosts.forget_neighbours()
    lines = [
        *open_ports(443),
        *open_ports(443, to=NODE1_FAR[0], source="far"),
        *open_ports(8080, source="node1", to="out"),
        # the other node is no part of the world
        *open_ports(source="node2"),
        "out node1 ping no",
        "out node1 tcp/22 yes",
        "node1 out udp/53 yes",
        # local pods and their host
        *open_ports(80, 443, 8080, source="shop/web"),
        *open_ports(source="shop/db"),
        *open_ports(80, 443, 8080, source="node1", to="shop/db"),
        *open_ports(source="node1", to="shop/web"),
        # what the node passes on
        *open_ports(80, 443, 8080, to="shop/web"),
        *open_ports(80, 443, 8080, to="far"),
        *open_ports(80, 443, 8080, source="shop/db", to="out"),
        *open_ports(80, 443, 8080, source="shop/web", to="shop/db"),
    ]
    assert hosts.wrong(asks(*lines)) == []


def test_calico_and_cilium_must_both_allow(hosts: HostWorld) -> None:
    hosts.apply(
        "node1",
        hep("h0"),
        only("h0", 80),
        nodes(
            "host",
            "ingress: [{fromEntities: [all], toPorts: "
            "[{ports: [{port: '80', protocol: TCP}, {port: '443', protocol: TCP}]}]}]",
        ),
    )
    lines = [*open_ports(80), *open_ports(80, 443, to=NODE1_FAR[0], source="far")]
    assert hosts.wrong(asks(*lines)) == []


def test_two_nodes_each_decide_their_own_part(hosts: HostWorld) -> None:
    """One set of policies, compiled for each node: what one lets go, the other may still refuse."""
    leaving = gnp(
        "leaving", "hep == 'star'",
        "applyOnForward: true, types: [Egress], egress: [{action: Deny, protocol: TCP, destination: {ports: [80]}}, "
        "{action: Allow}]",
    )  # fmt: skip
    entering = gnp(
        "entering", "hep == 'second'",
        "preDNAT: true, applyOnForward: true, ingress: [{action: Deny, protocol: TCP, destination: {ports: [443]}}]",
    )  # fmt: skip
    pods = gnp("api", "app == 'api'", "types: [Ingress], ingress: [{action: Deny, protocol: UDP}, {action: Allow}]")
    everything = (hep("star", interface="*"), hep("second", node="node2"), leaving, entering, pods)
    try:
        for node in ("node1", "node2"):
            hosts.apply(node, *everything)
        lines = [
            *open_ports(8080, source="shop/web", to="shop/api"),
            "shop/web shop/api udp/161 no",
            "shop/api shop/web tcp/80 no",
            "shop/api shop/web tcp/443 yes",
            "shop/api shop/web udp/161 yes",
            "out shop/api tcp/443 no",
            "out shop/api tcp/80 yes",
            "node2 shop/api udp/161 yes",
        ]
        assert hosts.wrong(asks(*lines)) == []
    finally:
        hosts.unload("node2")
