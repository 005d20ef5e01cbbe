"""What `status` says about packets: each endpoint's own since the generation is in force, and all since the first."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bpfence.demo.traffic import send_flows
from bpfence.errors import KernelError
from bpfence.loader import stage, transaction
from bpfence.loader.status import StatusReport, read_status
from support.netns import PODS, NodeUnderTest, allow_ingress, die, killed_during, tcp

pytestmark = pytest.mark.kernel

WEB_TO_DB = allow_ingress("db", "db", "web")
ALLOWED, DENIED = tcp("shop/web", "shop/db"), tcp("shop/cart", "shop/db")
OTHER_SHAPE = (
    "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: codes, namespace: shop}\n"
    "spec: {selector: app == 'web', types: [Ingress],\n"
    "  ingress: [{action: Allow, protocol: ICMP, icmp: {type: 8, code: 0}}]}"
)
CRASHES = (
    (transaction, "stage"), (stage, "clear_counts"), (stage, "read_array"), (transaction, "prove"),
    (transaction, "_attach"), (transaction, "_commit"), (transaction, "_tidy"),
)  # fmt: skip


def talk(node: NodeUnderTest) -> None:
    assert send_flows(node.world, (ALLOWED, DENIED), 0.2, (True, False)) == (True, False)


@dataclass(frozen=True)
class Seen:
    """Totals, and (allowed, denied) of each endpoint."""

    allowed: int
    denied: int
    endpoints: dict[str, tuple[int, int]]


def seen(node: NodeUnderTest) -> Seen:
    report = read_status(node.paths)
    assert report.passed is not None
    assert report.drops is not None
    each = {item.name: (item.passed["allowed"], item.drops["denied"]) for item in report.endpoints}
    return Seen(report.passed["allowed"], report.drops["denied"], each)


def test_packets_are_counted_where_they_were_judged(node: NodeUnderTest) -> None:
    node.apply(node.compile(WEB_TO_DB))
    assert seen(node).endpoints == dict.fromkeys(PODS, (0, 0))
    talk(node)
    now = seen(node)
    assert now.endpoints["shop/web"][0] > 0
    assert now.endpoints["shop/db"][1] > 0
    assert now.endpoints["shop/web"][1] == now.endpoints["shop/cart"][1] == 0
    assert now.allowed == sum(allowed for allowed, _ in now.endpoints.values())
    assert now.denied == now.endpoints["shop/db"][1]


def test_an_endpoint_begins_anew_and_the_sum_goes_on(node: NodeUnderTest) -> None:
    """Over generations that take over a slot's programs, and one that replaces them."""
    before = Seen(0, 0, {})
    plain, other = node.compile(WEB_TO_DB), node.compile(WEB_TO_DB, OTHER_SHAPE)
    for artefact, loaded in ((plain, 2), (plain, 0), (plain, 0), (other, 2), (plain, 0)):
        assert node.apply(artefact).programs_loaded == loaded
        now = seen(node)
        assert (now.allowed, now.denied) == (before.allowed, before.denied)
        assert not any(map(sum, now.endpoints.values()))
        talk(node)
        before = seen(node)
        assert before.allowed > now.allowed
        assert before.denied > now.denied


def test_what_fails_or_only_tries_counts_nothing(node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        node.apply(node.compile(WEB_TO_DB))
        talk(node)
    before = seen(node)
    state = (node.paths.state / "node.json").read_bytes()
    node.apply(node.compile(WEB_TO_DB), dry_run=True)
    assert seen(node) == before
    for step in ("_attach", "_commit"):
        with monkeypatch.context() as patch:
            patch.setattr(transaction, step, refuse)
            with pytest.raises(KernelError, match="refused"):
                node.apply(node.compile(WEB_TO_DB))
        assert seen(node) == before
    assert (node.paths.state / "node.json").read_bytes() == state


def test_a_crash_neither_loses_nor_doubles(node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    artefact = node.compile(WEB_TO_DB)
    for _ in range(2):
        node.apply(artefact)
        talk(node)
    before = totals(read_status(node.paths))
    for owner, step in CRASHES:
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, die)
            assert killed_during(lambda: node.apply(artefact)), step
        assert totals(read_status(node.paths)) == before, step
        node.apply(artefact)
        assert totals(read_status(node.paths)) == before, step


def totals(report: StatusReport) -> tuple[int, int]:
    assert report.passed is not None
    assert report.drops is not None
    return report.passed["allowed"], report.drops["denied"]


def refuse(*_: object, **__: object) -> None:
    raise KernelError("refused")
