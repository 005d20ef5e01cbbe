"""doNotTrack with real packets: each for itself, both ways, remembered neither by bpfence nor by the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.host_objects import NODE1, OUT, gnp, hep
from support.host_world import HostWorld, asks

pytestmark = pytest.mark.kernel

HEP = hep("h0")
CLIENTS = [f"source: {{nets: ['{net}']}}" for net in ("198.51.100.9/32", "2001:db8:1::9/128")]
ANSWERS = [f"destination: {{nets: ['{net}']}}" for net in ("198.51.100.9/32", "2001:db8:1::9/128")]
SERVER = "hep == 'h0'"


def rules(*items: str) -> str:
    return f"[{', '.join(f'{{{item}}}' for item in items)}]"


def to_port(action: str, protocol: str, port: int, who: str = "") -> str:
    if who:
        return f"action: {action}, protocol: {protocol}, {who}, destination: {{ports: [{port}]}}"
    return f"action: {action}, protocol: {protocol}, destination: {{ports: [{port}]}}"


FAST = gnp(
    "redis-fast",
    SERVER,
    "doNotTrack: true, applyOnForward: true, ingress: "
    + rules(
        *(to_port("Allow", p, 6379, who) for p in ("TCP", "UDP") for who in CLIENTS),
        *(to_port("Deny", p, 6379) for p in ("TCP", "UDP")),
    )
    + ", egress: "
    + rules(
        *(f"action: Allow, protocol: {p}, source: {{ports: [6379]}}, {who}" for p in ("TCP", "UDP") for who in ANSWERS)
    ),
    10,
)
BASE = gnp("base", SERVER, f"ingress: {rules(to_port('Allow', 'TCP', 9100))}, egress: [{{action: Allow}}]", 100)
NOTRACK = """
table inet bpfence_notrack {
 chain in { type filter hook prerouting priority raw; meta mark & 0x00200000 != 0 notrack; }
 chain out { type filter hook output priority raw; meta l4proto { tcp, udp } th sport 6379 notrack; }
 chain seen { type filter hook input priority filter; ct state invalid drop; }
}
"""
TRACKED = """
table inet plain {
 chain seen { type filter hook input priority filter; ct state invalid drop; }
}
"""


def kernel_flows(hosts: HostWorld, port: int) -> list[str]:
    with hosts.inside("node1"):
        lines = Path("/proc/thread-self/net/nf_conntrack").read_text().splitlines()
    return [line for line in lines if f"port={port} " in line]


def test_an_untracked_pair_is_remembered_nowhere(hosts: HostWorld) -> None:
    hosts.apply("node1", HEP, FAST, BASE)
    flows = asks(
        "out node1 tcp/6379 yes",
        "out node1 udp/6379 yes",
        "sly node1 tcp/6379 no",
        "node2 node1 udp/6379 no",
        "out node1 tcp/9100 yes",
        "out node1 tcp/443 no",
    )
    for ruleset, remembered in ((TRACKED, True), (NOTRACK, False)):
        hosts.nft("node1", ruleset)
        hosts.forget_flows("node1")
        assert hosts.wrong(flows) == []
        known = {(local, port) for local, port, *_ in hosts.connections("node1")}
        assert (NODE1[0], 9100) in known
        assert not [place for place in known if place[1] == 6379]
        assert bool(kernel_flows(hosts, 6379)) is remembered
        assert kernel_flows(hosts, 9100)


def test_an_untracked_deny_stops_what_is_established(hosts: HostWorld) -> None:
    hosts.apply("node1", HEP, BASE)
    with hosts.open("out", NODE1[0], 9100) as tracked, hosts.open("node1", OUT[0], 443) as own:
        assert tracked.talk()
        assert own.talk()
        wall = gnp(
            "wall",
            SERVER,
            "doNotTrack: true, applyOnForward: true, ingress: "
            + rules(to_port("Deny", "TCP", 9100), "action: Deny, protocol: TCP, source: {ports: [443]}"),
        )
        # by force: the guard finds that the new policy cuts connections of this very process
        hosts.apply("node1", HEP, BASE, wall, force=True)
        assert not tracked.talk(0.3)
        assert not own.talk(0.3)


def test_an_untracked_allow_takes_a_tracked_flow_over(hosts: HostWorld) -> None:
    hosts.apply("node1", HEP, gnp("open", SERVER, "ingress: [{action: Allow}], egress: [{action: Allow}]"))
    with hosts.open("out", NODE1[0], 6379) as session:
        assert session.talk()
        hosts.apply("node1", HEP, FAST, BASE)
        assert session.talk()


def test_a_pod_behind_an_untracked_allow_is_still_guarded(hosts: HostWorld) -> None:
    everything = "[{action: Allow, protocol: TCP}]"
    let_in = gnp("in", SERVER, f"doNotTrack: true, applyOnForward: true, ingress: {everything}, egress: {everything}")
    pods = gnp("pods", "app == 'web'", "types: [Ingress], ingress: " + rules(to_port("Allow", "TCP", 80)))
    hosts.apply("node1", HEP, let_in, pods)
    assert hosts.wrong(asks("out shop/web tcp/80 yes", "out shop/web tcp/443 no", "out shop/db tcp/443 yes")) == []
