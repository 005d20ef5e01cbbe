"""What an answer about hosts says: which endpoint, which point, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bpfence.errors import UsageError
from bpfence.flows import Flow
from bpfence.options import Options
from bpfence.semantics import LayerVerdict, ReferenceWorld, decide, decide_side
from packets.tables import all_tables

WorldOf = Callable[[str], ReferenceWorld]
OUTSIDE, EDGE = "198.51.100.4", "node/edge7"


@pytest.fixture
def world_of(tmp_path: Path) -> WorldOf:
    """The world of the packet table with this id."""

    def load(table_id: str) -> ReferenceWorld:
        table = next(table for table in all_tables() if table.id == table_id)
        loaded = table.load(tmp_path)
        loaded.diagnostics.stop_on_errors()
        return ReferenceWorld(loaded.inventory, loaded.policies, table.options)

    return load


def tcp(source: str, destination: str, port: int, **more: str) -> Flow:
    return Flow(source, destination, 6, destination_port=port, **more)


def seen(layers: tuple[LayerVerdict, ...]) -> list[tuple[str, str, str, str]]:
    return [(layer.layer, layer.endpoint, layer.point, layer.reason) for layer in layers]


def test_the_points_stand_in_the_order_of_the_packet(world_of: WorldOf) -> None:
    verdict = decide(world_of("HV3"), tcp(OUTSIDE, "shop/web", 5, interface="eth0"))
    assert seen(verdict.ingress.layers) == [
        ("calico-untracked", "hep/h-eth0", "untracked", "undecided"),
        ("calico-pre-dnat", "hep/h-eth0", "pre-dnat", "undecided"),
        ("calico-forward", "hep/h-eth0", "forward", "rule"),
        ("calico-forward", "hep/star", "forward", "rule"),
        ("calico", "shop/web", "endpoint", "rule"),
    ]
    assert verdict.egress.layers == ()


def test_an_untracked_allow_leaves_nothing_else_of_the_host_endpoint(world_of: WorldOf) -> None:
    verdict = decide(world_of("HA1"), tcp(OUTSIDE, "shop/web", 7000))
    assert seen(verdict.ingress.layers) == [
        ("calico-untracked", "hep/h-eth0", "untracked", "rule"),
        ("calico", "shop/web", "endpoint", "default-deny"),
    ]


def test_reasons_at_a_host(world_of: WorldOf) -> None:
    world = world_of("HX3a")
    assert seen(decide(world, tcp(OUTSIDE, EDGE, 22)).ingress.layers)[-1][3] == "failsafe"
    (*_, closed) = decide(world, tcp(OUTSIDE, EDGE, 443)).ingress.layers
    assert (closed.allowed, closed.reason, closed.policy) == (False, "profile", "HostEndpoint edge7-eth0")
    assert decide(world, tcp(EDGE, "shop/web", 80)).egress.layers == ()


def test_a_profile_names_its_rule(world_of: WorldOf) -> None:
    (*_, layer) = decide(world_of("HP1"), tcp(OUTSIDE, EDGE, 82)).ingress.layers
    assert (layer.allowed, layer.reason, layer.policy) == (False, "profile", "Profile first")
    assert layer.span is not None


def test_what_pods_send_to_their_host_is_dropped_after_their_own_policy(world_of: WorldOf) -> None:
    layers = decide(world_of("HW1"), tcp("shop/web", EDGE, 80)).egress.layers
    assert [(layer.endpoint, layer.reason) for layer in layers] == [
        ("shop/web", "rule"),
        ("node/edge7", "workload-to-host"),
    ]
    assert layers[-1].policy == "FelixConfiguration default"


def test_a_service_without_backends_names_who_isolates(world_of: WorldOf) -> None:
    (layer,) = decide(world_of("SV-k4"), tcp("shop/job", "10.96.0.12", 80)).egress.layers
    assert (layer.reason, layer.policy, layer.endpoint) == ("no-backend", "NetworkPolicy shop/p", "shop/job")


def test_one_side_of_a_host_endpoint_leaves_failsafe_ports_to_the_path(world_of: WorldOf) -> None:
    world = world_of("HX1")

    def ask(point: str, port: int, protocol: int = 6) -> str:
        assert point in ("endpoint", "untracked", "forward")
        side = decide_side(
            world, "hep/cache1-ens5", "ingress", "192.0.2.10", "203.0.113.9", protocol, 5, port, point=point
        )  # type: ignore[arg-type]
        return f"{side.allowed} {side.layers[0].reason}"

    assert ask("untracked", 22) == "False rule"
    assert ask("endpoint", 22) == "False default-deny"
    assert ask("forward", 22) == "True not-selected"


def test_one_side_of_a_node(world_of: WorldOf) -> None:
    world = world_of("E7")
    assert decide_side(world, "node/n1", "ingress", "10.0.0.1", "198.51.100.5", 6, 9, 22).allowed
    assert not decide_side(world, "node/n1", "ingress", "10.0.0.1", "198.51.100.5", 6, 9, 443).allowed
    assert decide_side(world, "node/n1", "egress", "10.0.0.1", "198.51.100.5", 6, 9, 443).layers == ()


def test_an_unknown_host_endpoint_is_a_usage_error(world_of: WorldOf) -> None:
    with pytest.raises(UsageError, match="no host endpoint"):
        decide(world_of("HX3a"), tcp(OUTSIDE, "hep/nobody", 1))


def test_passing_on_needs_to_know_the_node(world_of: WorldOf) -> None:
    world = world_of("HF4")
    flow = tcp(OUTSIDE, "203.0.113.9", 1, interface="eth0", out_interface="eth1")
    with pytest.raises(UsageError, match="choose the node"):
        decide(world, flow)
    chosen = ReferenceWorld(world.inventory, world.policies, Options(node="edge7"))
    assert decide(chosen, flow).allowed
