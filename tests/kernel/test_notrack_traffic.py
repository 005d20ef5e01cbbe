"""Real connections that need no state work, leave nothing in the connection table, and are counted as untracked."""

from __future__ import annotations

import pytest

from bpfence.demo.connection import OpenConnection
from bpfence.demo.traffic import send_flows
from bpfence.emit.artefact import Artefact
from bpfence.flows import Flow
from bpfence.loader.status import read_status
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact
from support.netns import PODS, NodeUnderTest, inventory, tcp

pytestmark = pytest.mark.kernel

NO_ADMIN = (
    "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: no-admin, namespace: shop}\n"
    "spec: {selector: app == 'db', types: [Ingress], ingress: [\n"
    "  {action: Deny, protocol: TCP, source: {selector: app == 'cart'}, destination: {ports: [80]}}, {action: Allow}]}"
)
NOTHING = (
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: nothing, namespace: shop}\n"
    "spec: {podSelector: {}, policyTypes: [Ingress, Egress]}"
)
WEB, CART = tcp("shop/web", "shop/db"), tcp("shop/cart", "shop/db")
DNS = Flow("shop/cart", "shop/db", 17, destination_port=53)


def compiled(node: NodeUnderTest, *policies: str, notrack: bool = True) -> Artefact:
    path = node.folder / "policies.yaml"
    path.write_text("\n---\n".join((inventory(PODS), *policies)))
    options = Options(automatic_notrack=notrack)
    return compile_artefact(load_input([str(path)], options), options)


def test_such_flows_leave_no_entry(node: NodeUnderTest) -> None:
    node.apply(compiled(node, NO_ADMIN))
    assert send_flows(node.world, (WEB, DNS), 0.3, (True, True)) == (True, True)
    status = read_status(node.paths)
    assert status.connections is not None
    assert status.connections.count == 0
    counts = {item.name: item.passed for item in status.endpoints}
    assert all(counts[name]["untracked"] > 0 for name in PODS)
    assert not any(counts[name]["allowed"] for name in PODS)


def test_others_are_remembered_and_judged_as_ever(node: NodeUnderTest) -> None:
    node.apply(compiled(node, NO_ADMIN))
    assert send_flows(node.world, (CART, tcp("shop/db", "shop/cart")), 0.3, (False, True)) == (False, True)
    status = read_status(node.paths)
    denied = {item.name: item.drops["denied"] for item in status.endpoints}
    assert denied["shop/db"] > 0
    assert status.connections is not None
    assert status.connections.count > 0


def test_a_connection_goes_on_when_the_option_changes_and_ends_when_both_ways_are_denied(node: NodeUnderTest) -> None:
    node.apply(compiled(node, NO_ADMIN))
    with OpenConnection(node.world, WEB) as web:
        assert web.talk()
        for notrack in (False, True):
            node.apply(compiled(node, NO_ADMIN, notrack=notrack))
            assert web.talk()
        node.apply(compiled(node, NOTHING))
        assert not web.talk(0.3)
