"""Ports that no policy of a host closes, and what comes from such ports without being an answer."""

from __future__ import annotations

import pytest

from bpfence.loader.guard import LockOut
from support.host_objects import NODE1, OUT, felix, gnp, hep
from support.host_world import HostWorld, asks

pytestmark = pytest.mark.kernel

HEP = hep("h0")
INBOUND = (22, 179, 2379, 2380, 5473, 6443, 6666, 6667)
OUTBOUND = (179, 2379, 2380, 5473, 6443, 6666, 6667)
NEAR = [f"{{action: Deny, source: {{nets: ['{net}']}}}}" for net in ("198.51.100.0/24", "2001:db8:1::/64")]
UNTRACKED_WALL = gnp("wall", "hep == 'h0'", f"doNotTrack: true, applyOnForward: true, ingress: [{', '.join(NEAR)}]")
OPEN = gnp("open", "hep == 'h0'", "ingress: [{action: Allow}], egress: [{action: Allow}]")


def test_a_host_endpoint_without_policy_leaves_its_failsafe_ports_open(hosts: HostWorld) -> None:
    hosts.apply("node1", HEP)
    hosts.forget_neighbours()
    inbound = [f"out node1 tcp/{port} yes" for port in INBOUND]
    outbound = [f"node1 out tcp/{port} yes" for port in OUTBOUND]
    closed = [
        "out node1 tcp/443 no",
        "out node1 tcp/10250 no",
        "out node1 ping no",
        "out node1 udp/22 no",
        "out node1 udp/161 no",
        "node1 out tcp/53 no",
        "node1 out tcp/22 no",
        "node1 out tcp/443 no",
        "node1 out udp/123 no",
        "node1 out ping no",
        "node2 node1 tcp/443 no",
    ]
    passed_on = [
        "out shop/web tcp/443 yes",
        "shop/web out tcp/443 yes",
        "out far ping yes",
        "shop/web node1 tcp/443 yes",
        "node1 shop/web tcp/443 yes",
    ]
    answers = ["node1 out udp/53 yes", "node1 out udp/67 yes"]
    assert hosts.wrong(asks(*inbound, *outbound, *closed, *passed_on, *answers)) == []


NARROW = felix(
    failsafeInboundHostPorts="[{protocol: TCP, port: 22, net: 198.51.100.9/32}, "
    "{protocol: TCP, port: 22, net: '2001:db8:1::9/128'}]",
    failsafeOutboundHostPorts="[{protocol: UDP, port: 123, net: 198.51.100.0/24}]",
)


def test_lists_replace_the_defaults_and_their_nets_hold(hosts: HostWorld) -> None:
    hosts.apply("node1", HEP, NARROW)
    both = asks(
        "out node1 tcp/22 yes",
        "node2 node1 tcp/22 no",
        "out node1 tcp/6443 no",
        "node1 out udp/53 no",
        "node1 out tcp/179 no",
    )
    four, six = asks("node1 out udp/123 yes", "node1 out udp/123 no")[0], asks("node1 out udp/123 no")[1]
    assert hosts.wrong([*both, four, six]) == []


def test_empty_lists_leave_nothing_open(hosts: HostWorld) -> None:
    hosts.apply("node1", HEP, felix(failsafeInboundHostPorts="[]", failsafeOutboundHostPorts="[]"))
    hosts.forget_neighbours()
    assert hosts.wrong(asks("out node1 tcp/22 no", "node1 out udp/53 no", "out shop/web tcp/22 yes")) == []


def test_an_untracked_wall_spares_failsafe_ports_and_answers_from_them(hosts: HostWorld) -> None:
    hosts.apply("node1", HEP, UNTRACKED_WALL, OPEN)
    through = ["out node1 tcp/22 yes", "node1 out udp/53 yes", "node1 out tcp/6443 yes", "out shop/web tcp/22 yes"]
    # an answer that does not come from such a port meets the wall; so does one that is for a pod
    stopped = [
        "out node1 tcp/443 no",
        "node1 out tcp/443 no",
        "node1 out udp/123 no",
        "out shop/web tcp/443 no",
        "shop/web out udp/53 no",
    ]
    assert hosts.wrong(asks(*through, *stopped)) == []


def test_a_source_port_alone_opens_nothing(hosts: HostWorld) -> None:
    flows = ("sly:53 node1 udp/6379", "sly:179 node1 tcp/6379", "sly:6443 node1 tcp/443", "sly:5473 shop/web tcp/443")
    hosts.apply("node1", HEP, UNTRACKED_WALL, OPEN)
    before = hosts.counted("node1")
    assert hosts.wrong(asks(*(f"{flow} no" for flow in flows))) == []
    assert (hosts.counted("node1") - before)["denied"] >= 2 * len(flows)
    hosts.apply("node1", HEP, OPEN)
    assert hosts.wrong(asks(*(f"{flow} yes" for flow in flows))) == []


def test_before_translation_failsafe_ports_are_those_of_the_node_itself(hosts: HostWorld) -> None:
    wall = gnp("early", "hep == 'h0'", "preDNAT: true, applyOnForward: true, ingress: [{action: Deny}]")
    hosts.apply("node1", HEP, wall, OPEN)
    lines = [
        "out node1 tcp/22 yes",
        "out node1 tcp/443 no",
        "out shop/web tcp/22 no",
        "node1 out tcp/443 yes",
        "shop/web out tcp/443 yes",
    ]
    assert hosts.wrong(asks(*lines)) == []


def test_what_is_passed_on_knows_no_failsafe_ports(hosts: HostWorld) -> None:
    wall = gnp("forward", "hep == 'h0'", "applyOnForward: true, ingress: [{action: Deny}], egress: [{action: Deny}]")
    hosts.apply("node1", HEP, wall)
    lines = [
        "out node1 tcp/22 yes",
        "out shop/web tcp/22 no",
        "shop/web out udp/53 no",
        "out far tcp/22 no",
        "node1 out udp/53 yes",
        "shop/web shop/db tcp/443 yes",
    ]
    assert hosts.wrong(asks(*lines)) == []


def test_what_would_cut_the_operators_session_is_refused(hosts: HostWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = felix(failsafeInboundHostPorts="[]")
    for client, server in zip(OUT, NODE1, strict=True):
        monkeypatch.setenv("SSH_CONNECTION", f"{client} 50000 {server} 22")
        hosts.apply("node1", HEP)
        generation = hosts.status("node1").generation
        with pytest.raises(LockOut, match="hep/h0, interface eth0"):
            hosts.apply("node1", HEP, closed)
        assert hosts.status("node1").generation == generation
        # by another interface it is not in the way
        hosts.apply("node1", hep("h1", interface="eth1"), closed)
        hosts.apply("node1", HEP, closed, force=True)
        assert hosts.wrong(asks("out node1 tcp/22 no")) == []
