"""The two questions: parties, families, one-sided verdicts, and what an answer says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bpfence.errors import UsageError
from bpfence.flows import Flow
from bpfence.options import Options
from bpfence.semantics import ReferenceWorld, decide, decide_side
from packets.tables import packet_tables

WorldOf = Callable[[str], ReferenceWorld]


@pytest.fixture
def world_of(tmp_path: Path) -> WorldOf:
    """The world of the packet table with this id."""

    def load(table_id: str) -> ReferenceWorld:
        table = next(table for table in packet_tables() if table.id == table_id)
        loaded = table.load(tmp_path)
        loaded.diagnostics.stop_on_errors()
        return ReferenceWorld(loaded.inventory, loaded.policies, table.options)

    return load


def tcp(source: str, destination: str, port: int, family: int | None = None) -> Flow:
    return Flow(source, destination, 6, destination_port=port, family=family)


def test_an_address_of_a_pod_means_the_pod(world_of: WorldOf) -> None:
    world = world_of("K1")
    by_name = decide(world, tcp("ops/scan", "shop/db", 5432))
    by_address = decide(world, tcp("10.1.1.11", "10.1.0.11", 5432))
    assert by_name == by_address
    assert by_name.allowed


def test_one_direction_at_one_pod(world_of: WorldOf) -> None:
    world = world_of("K8")
    egress = decide_side(world, "shop/job", "egress", "10.1.1.10", "10.1.0.11", 6, None, 5432)
    ingress = decide_side(world, "shop/db", "ingress", "10.1.0.11", "10.1.1.10", 6, None, 5432)
    assert (egress.allowed, ingress.allowed) == (False, True)


def test_the_deciding_rule_is_named_with_its_place(world_of: WorldOf) -> None:
    (layer,) = decide(world_of("K1"), tcp("shop/job", "shop/db", 5000)).ingress.layers
    assert (layer.layer, layer.reason, layer.policy) == ("kubernetes", "rule", "NetworkPolicy shop/k1")
    assert layer.span is not None
    assert layer.span.line == 9


def test_default_deny_names_the_policy(world_of: WorldOf) -> None:
    (layer,) = decide(world_of("E1"), tcp("shop/job", "shop/db", 1)).ingress.layers
    assert (layer.layer, layer.reason, layer.policy) == ("cilium", "default-deny", "CiliumNetworkPolicy shop/e1")


def test_reasons_for_what_no_rule_decides(world_of: WorldOf) -> None:
    world = world_of("DD3")
    reasons = {
        name: decide(world, tcp(name, "shop/db", 80)).ingress.layers[0].reason
        for name in ("shop/db", "node/n1", "shop/job")
    }
    assert reasons == {"shop/db": "exempt", "node/n1": "exempt", "shop/job": "unmatched"}
    assert decide(world, tcp("shop/job", "shop/web", 80)).ingress.layers[0].reason == "not-selected"


def test_nodes_and_outside_are_not_policed(world_of: WorldOf) -> None:
    verdict = decide(world_of("A7"), tcp("203.0.113.7", "node/n1", 22))
    assert verdict.allowed
    assert verdict.egress.layers == verdict.ingress.layers == ()


def test_host_network_pods_are_not_policed(world_of: WorldOf) -> None:
    world = world_of("K7d")
    assert decide_side(world, "ops/agent", "ingress", "10.0.0.2", "203.0.113.7", 6, None, 80).layers == ()


def test_both_layers_are_reported_when_the_engine_is_forced(world_of: WorldOf) -> None:
    layers = decide(world_of("KC-forced"), tcp("shop/job", "shop/db", 5432)).ingress.layers
    assert {layer.layer: layer.allowed for layer in layers} == {"cilium": False, "kubernetes": True}


def test_an_empty_policy_set_allows(world_of: WorldOf) -> None:
    world = world_of("K1")

    class Nothing:
        kubernetes = cilium = calico = ()

    for engine in ("auto", "kubernetes", "calico", "cilium"):
        empty = ReferenceWorld(world.inventory, Nothing(), Options(engine=engine))
        verdict = decide(empty, tcp("shop/job", "shop/db", 1))
        assert verdict.allowed
        assert [layer.reason for layer in verdict.ingress.layers] == ["not-selected"]


def test_family_is_the_destinations_first_that_the_source_has_too(world_of: WorldOf) -> None:
    world = world_of("K2")
    assert not decide(world, tcp("shop/web", "2001:db8::1", 443)).allowed
    with pytest.raises(UsageError, match="no common address family"):
        decide(world, tcp("203.0.113.7", "2001:db8::1", 443))
    with pytest.raises(UsageError, match="no common address family"):
        decide(world, tcp("shop/web", "203.0.113.7", 443, family=6))


@pytest.mark.parametrize("party", ["shop/nobody", "node/n9", "not-an-address", ""])
def test_an_unknown_party_is_a_usage_error(world_of: WorldOf, party: str) -> None:
    with pytest.raises(UsageError):
        decide(world_of("K1"), tcp(party, "shop/db", 1))


def test_a_workload_without_pods_is_seen_by_labels_alone(world_of: WorldOf) -> None:
    world = world_of("K1")
    template = replace(world.pod("shop/job"), name="later", addresses=(), template=True)
    pods = (*world.inventory.pods, template)
    grown = ReferenceWorld(replace(world.inventory, pods=pods), world.policies, world.options)
    assert decide(grown, tcp("shop/later", "shop/db", 5000)).allowed
    assert not decide(grown, tcp("shop/later", "shop/db", 6000)).allowed
