"""Which policies see which traffic: real packets between hosts, pods and the outside, one port closed at each point.

Every row of the traffic table meets every closed port; exactly those closed at a point on its way stay unanswered.
"""

from __future__ import annotations

import pytest

from support.host_objects import CLOSED_PORTS, gnp, hep
from support.host_world import Ask, HostWorld, asks

pytestmark = pytest.mark.kernel


def closed(tcp_and_udp: int) -> str:
    ports = f"destination: {{ports: [{tcp_and_udp}]}}"
    return f"{{action: Deny, protocol: TCP, {ports}}}, {{action: Deny, protocol: UDP, {ports}}}"


def points(role: str, base: int) -> list[str]:
    """One policy at each point of the host endpoints with a role. Ports: base + 1 untracked, 2 before translation, 3
    the host's own, 4 passed on; 10 more on the way out.
    """
    here = f"role == '{role}'"
    before = [
        gnp(
            f"{role}-untracked",
            here,
            f"doNotTrack: true, applyOnForward: true, ingress: [{closed(base + 1)}], egress: [{closed(base + 11)}]",
        ),
        gnp(f"{role}-translated", here, f"preDNAT: true, applyOnForward: true, ingress: [{closed(base + 2)}]"),
    ]
    allow = "{action: Allow}"
    return [
        *(before if role != "star" else before[1:]),
        gnp(
            f"{role}-normal", here, f"ingress: [{closed(base + 3)}, {allow}], egress: [{closed(base + 13)}, {allow}]", 1
        ),
        gnp(
            f"{role}-forward",
            here,
            f"applyOnForward: true, ingress: [{closed(base + 4)}, {allow}], egress: [{closed(base + 14)}, {allow}]",
            2,
        ),
    ]


PODS = gnp(
    "pods", "has(app)", f"ingress: [{closed(3001)}, {{action: Allow}}], egress: [{closed(3002)}, {{action: Allow}}]"
)
WORLD = [
    hep("h-eth0", labels="role: named"),
    *points("named", 1000),
    *points("star", 2000),
    *points("second", 4000),
    hep("star", interface="*", labels="role: star"),
    PODS,
]
SECOND = hep("h-eth1", interface="eth1", labels="role: second")
ROWS = {
    "external to a host process": ("out node1", {1001, 1002, 1003}),
    "a host process to the outside": ("node1 out", {1011, 1013}),
    "external to a local pod": ("out shop/web", {1001, 1002, 1004, 2014, 3001}),
    "a local pod to the outside": ("shop/web out", {2002, 2004, 3002, 1014}),
    "passed on, the other interface is everybody's": ("out far", {1001, 1002, 1004, 2014}),
    "passed on, the other way": ("far out", {2002, 2004, 1014}),
    "a local pod to a local pod": ("shop/web shop/db", {2002, 2004, 2014, 3001, 3002}),
    "a local pod to its host": ("shop/web node1", {2002, 3002}),
    "a host to its pod": ("node1 shop/web", set()),
}
ROWS_OF_SECOND = {
    "external to a host process, by the second": ("far 198.51.101.1", {4001, 4002, 4003}),
    "a host process to the outside, by the second": ("node1 far", {4011, 4013}),
    "passed on, in by the first": ("out far", {1001, 1002, 1004, 4014}),
    "passed on, in by the second": ("far out", {4001, 4002, 4004, 1014}),
    "external to a local pod, by the second": ("far shop/web", {4001, 4002, 4004, 2014, 3001}),
    "a local pod to the outside, by the second": ("shop/web far", {2002, 2004, 3002, 4014}),
}


def questions(rows: dict[str, tuple[str, set[int]]]) -> list[Ask]:
    lines = [
        f"{ends} {protocol}/{port} {'no' if port in shut else 'yes'}"
        for ends, shut in rows.values()
        for protocol in ("tcp", "udp")
        for port in CLOSED_PORTS
    ]
    return asks(*lines)


def test_each_point_sees_its_traffic(hosts: HostWorld) -> None:
    report = hosts.apply("node1", *WORLD)
    assert not report.warnings
    assert hosts.wrong(questions(ROWS)) == []


def test_each_point_of_a_second_interface_sees_its_traffic(hosts: HostWorld) -> None:
    hosts.apply("node1", *WORLD, SECOND)
    same = {name: row for name, row in ROWS.items() if not name.startswith("passed on")}
    assert hosts.wrong(questions(same | ROWS_OF_SECOND)) == []


def test_nothing_is_left_when_it_is_taken_off(hosts: HostWorld) -> None:
    hosts.unload("node1")
    everything = [(ends, set[int]()) for ends, _ in (ROWS | ROWS_OF_SECOND).values()]
    assert hosts.wrong(questions(dict(enumerate(everything)))) == []  # type: ignore[arg-type]
