"""The transaction: what it brings into force, what it leaves alone, and that it is all or nothing."""

from __future__ import annotations

import pytest

from bpfence.demo.connection import OpenConnection
from bpfence.demo.traffic import send_flows
from bpfence.loader.netlink import Netlink
from bpfence.loader.status import read_status
from bpfence.loader.unload import unload
from support.netns import PODS, NodeUnderTest, allow_ingress, tcp

pytestmark = pytest.mark.kernel

WEB_TO_DB = allow_ingress("db", "db", "web")
CART_TO_DB = allow_ingress("db", "db", "cart")
CODES_TO_DB = (
    CART_TO_DB
    + """
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: codes, namespace: shop}
spec: {selector: app == 'db', types: [Ingress],
  ingress: [{action: Allow, protocol: ICMP, icmp: {type: 8, code: 0}}]}
"""
)
"""of another shape"""
FLOWS = (tcp("shop/web", "shop/db"), tcp("shop/cart", "shop/db"), tcp("shop/db", "shop/web"))


def answers(node: NodeUnderTest, expected: tuple[bool, ...]) -> None:
    assert send_flows(node.world, FLOWS, 0.2, expected) == expected


def test_policy_is_enforced_changed_and_taken_off(node: NodeUnderTest) -> None:
    before = node.snapshot()
    first = node.apply(node.compile(WEB_TO_DB))
    assert (first.generation, first.before, first.programs_loaded) == (1, 0, 2)
    assert first.attached == ("pod1 (shop/web)", "pod2 (shop/db)", "pod3 (shop/cart)")
    answers(node, (True, False, True))
    second = node.apply(node.compile(CART_TO_DB))
    assert (second.generation, second.before, second.attached) == (2, 1, ())
    answers(node, (False, True, True))
    unload(node.paths)
    answers(node, (True, True, True))
    assert node.snapshot() == before


def test_same_shape_loads_no_program(node: NodeUnderTest) -> None:
    first = node.apply(node.compile(WEB_TO_DB))
    assert (first.shape_reused, first.programs_loaded, first.programs_ahead) == (False, 2, 2)
    for policy, expected in ((CART_TO_DB, (False, True, True)), (WEB_TO_DB, (True, False, True))):
        report = node.apply(node.compile(policy))
        assert (report.shape_reused, report.programs_loaded, report.programs_ahead) == (True, 0, 0)
        answers(node, expected)
        assert not read_status(node.paths).drift
    assert not node.paths.pins.spare.exists()


def test_first_change_of_a_new_shape_loads_no_program(node: NodeUnderTest) -> None:
    for policy in (WEB_TO_DB, WEB_TO_DB):
        node.apply(node.compile(policy))
    changed = node.apply(node.compile(CODES_TO_DB))
    assert (changed.shape_reused, changed.programs_loaded, changed.programs_ahead) == (False, 2, 2)
    answers(node, (False, True, True))
    again = node.apply(node.compile(CODES_TO_DB))
    assert (again.shape_reused, again.programs_loaded, again.programs_ahead) == (True, 0, 0)
    answers(node, (False, True, True))
    # and back to a shape that nothing is ready for
    assert node.apply(node.compile(WEB_TO_DB)).programs_loaded == 2
    answers(node, (True, False, True))


def test_dry_run_leaves_no_trace(node: NodeUnderTest) -> None:
    empty = node.snapshot()
    report = node.apply(node.compile(WEB_TO_DB), dry_run=True)
    assert sum(report.probes.values()) > 10
    assert node.snapshot() == empty
    for _ in range(2):
        node.apply(node.compile(WEB_TO_DB))
    loaded = node.snapshot()
    node.apply(node.compile(CART_TO_DB), dry_run=True)
    after = node.snapshot()
    files = loaded.pop("files"), after.pop("files")
    assert after == loaded
    assert files[0].keys() == files[1].keys()  # type: ignore[attr-defined]


def test_probes_leave_no_connection_and_no_drop(node: NodeUnderTest) -> None:
    for policy in (WEB_TO_DB, CART_TO_DB):
        node.apply(node.compile(policy))
    node.apply(node.compile(WEB_TO_DB), dry_run=True)
    status = read_status(node.paths)
    assert status.connections is not None
    assert status.connections.count == 0
    assert status.drops is not None
    assert not any(status.drops.values())


def test_established_connections_follow_the_new_policy(node: NodeUnderTest) -> None:
    node.apply(node.compile(allow_ingress("db", "db", "web", "cart")))
    with OpenConnection(node.world, FLOWS[0]) as web, OpenConnection(node.world, tcp("shop/cart", "shop/db")) as cart:
        assert web.talk()
        assert cart.talk()
        node.apply(node.compile(WEB_TO_DB))
        assert web.talk()
        assert not cart.talk(0.3)


NO_EGRESS = (
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: quiet, namespace: shop}\n"
    "spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: []}"
)


def test_a_first_policy_for_an_endpoint_stops_what_it_has_open(node: NodeUnderTest) -> None:
    """Nothing restricted web before; who opened its connection is known all the same."""
    node.apply(node.compile(WEB_TO_DB))
    with OpenConnection(node.world, FLOWS[0]) as web:
        assert web.talk()
        node.apply(node.compile(WEB_TO_DB, NO_EGRESS))
        assert not web.talk(0.3)


def test_new_interface_is_attached_and_a_retired_one_detached(node: NodeUnderTest) -> None:
    two = {name: PODS[name] for name in ("shop/web", "shop/db")}
    node.apply(node.compile(WEB_TO_DB, pods=two))
    other = {name: PODS[name] for name in ("shop/cart", "shop/db")}
    report = node.apply(node.compile(CART_TO_DB, pods=other))
    assert report.attached == ("pod3 (shop/cart)",)
    assert report.detached == ("pod1",)
    with Netlink() as netlink:
        names = {link.index: link.name for link in netlink.links()}
        assert {names[index] for index in netlink.ingress_qdiscs()} == {"pod2", "pod3"}


def test_endpoint_without_interface_is_a_warning(node: NodeUnderTest) -> None:
    report = node.apply(node.compile(WEB_TO_DB, pods={**PODS, "shop/ghost": "10.9.0.99"}))
    assert report.endpoints == 3
    assert any("shop/ghost" in warning for warning in report.warnings)
    shown = {item.name: item.interface for item in read_status(node.paths).endpoints}
    assert shown["shop/ghost"] == ""
    assert shown["shop/db"] == "pod2"
