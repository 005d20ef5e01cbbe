"""Which endpoints a flow meets, at which points, in which order: the table of host endpoint traffic."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from bpfence.analyse.path import Arrival, End, Paths, Via, Way, is_failsafe, skips
from bpfence.identity.host_interfaces import hosts_by_node
from bpfence.identity.inventory import FailsafePort, HostEndpoint, HostSettings, Inventory, Node, Pod
from bpfence.identity.world import World, build_world
from bpfence.source.spans import Span

SPAN = Span("f", 1, 1, 1, 1)


def pod(name: str, node: str, address: str) -> Pod:
    return Pod("shop", name, SPAN, node=node, addresses=(ip_address(address),), owner=("Pod", name))


def host_endpoint(name: str, interface: str = "", *addresses: str, node: str = "n1") -> HostEndpoint:
    return HostEndpoint(name, SPAN, node, interface, tuple(map(ip_address, addresses)))


def make_world(*host_endpoints: HostEndpoint) -> World:
    nodes = (
        Node("n1", SPAN, addresses=(ip_address("192.0.2.1"),)),
        Node("n2", SPAN, addresses=(ip_address("192.0.2.2"),)),
    )
    pods = (pod("web", "n1", "10.1.0.1"), pod("api", "n1", "10.1.0.2"), pod("far", "n2", "10.1.1.1"))
    return build_world(Inventory(pods=pods, nodes=nodes), host_endpoints)


HOSTS = (host_endpoint("h", "eth0"), host_endpoint("w", "*"))
WORLD = make_world(*HOSTS)
PARTIES = {"web": "shop/web", "api": "shop/api", "far": "shop/far", "n1": "node/n1", "n2": "node/n2"}


def end(name: str, world: World = WORLD) -> End:
    if name not in PARTIES:
        return End(world.by_name.get(name), ip_address("203.0.113.9") if name == "out" else None)
    entity = world.by_name[PARTIES[name]]
    return End(entity, entity.addresses[0])


def met(source: str, destination: str, world: World = WORLD, settings: HostSettings | None = None) -> list[str]:
    paths = Paths(world, lambda node: settings or HostSettings())
    checks = paths.checks(Way(end(source, world), end(destination, world)))
    return [f"{c.subject.name} {c.point} {'in' if c.direction == 'ingress' else 'out'}" for c in checks]


ENTERING = ["hep/h untracked in", "hep/h pre-dnat in", "hep/h endpoint in", "node/n1 endpoint in"]


@pytest.mark.parametrize(
    ("source", "destination", "checks"),
    [
        ("out", "n1", ENTERING),
        ("n1", "out", ["hep/h untracked out", "hep/h endpoint out", "node/n1 endpoint out"]),
        (
            "out",
            "web",
            [
                "hep/h untracked in",
                "hep/h pre-dnat in",
                "hep/h forward in",
                "hep/w forward out",
                "shop/web endpoint in",
            ],
        ),
        ("web", "out", ["hep/w pre-dnat in", "shop/web endpoint out", "hep/w forward in", "hep/h forward out"]),
        (
            "web",
            "api",
            [
                "hep/w pre-dnat in",
                "shop/web endpoint out",
                "hep/w forward in",
                "hep/w forward out",
                "shop/api endpoint in",
            ],
        ),
        ("web", "n1", ["hep/w pre-dnat in", "shop/web endpoint out", "node/n1 endpoint in"]),
        ("n1", "web", ["node/n1 endpoint out", "shop/web endpoint in"]),
        ("n1", "n1", []),
        ("out", "out", []),
        ("n2", "n1", ["node/n2 endpoint out", *ENTERING]),
        ("far", "n1", ["shop/far endpoint out", *ENTERING]),
    ],
)  # fmt: skip
def test_what_a_flow_meets(source: str, destination: str, checks: list[str]) -> None:
    assert met(source, destination) == checks


def test_traffic_that_is_passed_on_meets_the_interfaces_it_crosses() -> None:
    world = make_world(host_endpoint("a", "eth0"), host_endpoint("b", "eth1"))
    way = Way(end("out"), End(None, ip_address("198.51.100.1")))
    checks = Paths(world, lambda node: HostSettings()).forwarded(way, "n1", Via("eth0", "eth1"))
    assert [(c.subject.name, str(c.point), str(c.direction)) for c in checks] == [
        ("hep/a", "untracked", "ingress"),
        ("hep/a", "pre-dnat", "ingress"),
        ("hep/a", "forward", "ingress"),
        ("hep/b", "forward", "egress"),
    ]


def test_a_node_that_drops_what_its_pods_send_it() -> None:
    paths = Paths(WORLD, lambda node: HostSettings(workload_to_host="Drop"))
    assert [c.subject.name for c in paths.checks(Way(end("web"), end("n1"))) if c.closed] == ["node/n1"]
    assert not any(c.closed for c in paths.checks(Way(end("far"), end("n1"))))


def test_failsafe_ports_guard_the_host_and_what_enters_untracked() -> None:
    paths = Paths(WORLD, lambda node: HostSettings())
    guarded = {(str(c.point), str(c.direction)) for c in paths.checks(Way(end("out"), end("web"))) if c.failsafe}
    assert guarded == {("untracked", "ingress")}
    own = [str(c.point) for c in paths.checks(Way(end("out"), end("n1"))) if c.failsafe]
    assert own == ["untracked", "pre-dnat", "endpoint", "endpoint"]


def test_before_translation_failsafes_look_at_the_address_on_the_wire() -> None:
    paths = Paths(WORLD, lambda node: HostSettings())
    way = Way(end("out"), end("web"), original=Arrival(end("n1"), 30080))
    early = [c for c in paths.checks(way) if c.point == "pre-dnat"]
    assert [(c.port, bool(c.failsafe), c.own.entity and c.own.entity.name) for c in early] == [(30080, True, "node/n1")]


def test_the_network_of_a_failsafe_port_is_remote() -> None:
    ports = (FailsafePort(6, 22, ip_network("192.0.2.0/24")),)
    assert is_failsafe(ports, 6, 22, ip_address("192.0.2.9"))
    assert not is_failsafe(ports, 6, 22, ip_address("198.51.100.4"))
    assert not is_failsafe(ports, 6, 22, ip_address("2001:db8::1"))
    assert not is_failsafe(ports, 6, None, ip_address("192.0.2.9"))


def test_an_untracked_rule_spares_all_points_of_its_host_endpoint_alone() -> None:
    checks = Paths(WORLD, lambda node: HostSettings()).checks(Way(end("out"), end("web")))
    assert [skips(checks[0], later) for later in checks[1:]] == [True, True, False, False]
    assert [skips(checks[1], later) for later in checks[2:]] == [True, False, False]


@pytest.mark.parametrize(
    ("interface", "address", "governs"),
    [
        ("eth0", None, "hep/a"),
        ("eth1", None, "hep/w"),
        ("eth1", "192.0.2.1", "hep/m"),
        ("lo", None, None),
    ],
)
def test_who_governs_an_interface(interface: str, address: str | None, governs: str | None) -> None:
    world = make_world(
        host_endpoint("b", "eth0"),
        host_endpoint("a", "eth0"),
        host_endpoint("w", "*"),
        host_endpoint("m", "", "192.0.2.1"),
    )
    hosts = hosts_by_node(world)["n1"]
    found = hosts.governing(interface, None if address is None else ip_address(address))
    assert (None if found is None else found.name) == governs
    assert [item.name for item in hosts.active] == ["hep/a", "hep/m", "hep/w"]
    assert hosts.winner(world.by_name["hep/b"]).name == "hep/a"


@pytest.mark.parametrize(
    ("endpoints", "active"),
    [
        ([("m", "eth0", "192.0.2.1"), ("a", "", "192.0.2.1")], ["a"]),
        ([("m", "eth0", "192.0.2.1"), ("z", "", "192.0.2.1")], ["m"]),
        ([("a", "eth0"), ("b", "eth0", "192.0.2.1"), ("c", "", "192.0.2.1")], ["a"]),
        ([("b", "eth0"), ("c", "eth0", "192.0.2.1"), ("a", "", "192.0.2.1")], ["a"]),
        ([("a", "eth0", "192.0.2.1"), ("b", "", "192.0.2.1", "192.0.2.9")], ["a", "b"]),
        ([("b", "*", "192.0.2.1"), ("a", "", "192.0.2.1")], ["a", "b"]),
        ([("b", "eth0", "192.0.2.1"), ("a", "*", "192.0.2.1")], ["a", "b"]),
    ],
)
def test_one_without_an_interface_competes_by_its_name(endpoints: list[tuple[str, ...]], active: list[str]) -> None:
    hosts = hosts_by_node(make_world(*(host_endpoint(*item) for item in endpoints)))["n1"]
    assert [item.name for item in hosts.active] == [f"hep/{name}" for name in active]


def test_an_address_tells_which_interface_of_a_host_endpoint_is_meant() -> None:
    world = make_world(host_endpoint("a", "eth0", "192.0.2.1"), host_endpoint("b", "", "192.0.2.1", "192.0.2.9"))
    hosts, both = hosts_by_node(world)["n1"], world.by_name["hep/b"]
    assert hosts.winner(both, ip_address("192.0.2.1")).name == "hep/a"
    assert hosts.winner(both, ip_address("192.0.2.9")).name == "hep/b"
