"""The flows that are remembered, as columns and one by one."""

from __future__ import annotations

from ipaddress import ip_address

import numpy as np
import pytest

from bpfence.loader.kernel import TestRunner
from bpfence.loader.live_flows import live_flows
from bpfence.plan.layout import CONNECTION_REPLIED, TCP_ESTABLISHED
from kernel import frames
from kernel.frames import ACK, ICMP, SYN, TCP, UDP
from kernel.images import PLAIN, Tables
from kernel.plane import Plane

pytestmark = pytest.mark.kernel

POD, POD6 = "10.0.0.5", "fd00::5"
PEER, PEER6 = "10.1.0.7", "fd01::7"


@pytest.fixture
def opened(plane: Plane) -> Plane:
    """An endpoint that nothing restricts, and three flows."""
    tables = Tables(PLAIN, generation=9)
    tables.endpoint(0, 1, [POD, POD6])
    plane.fill(tables)
    plane.ingress(frames.tcp(PEER6, 4000, POD6, 80, SYN))
    plane.egress(frames.tcp(POD6, 80, PEER6, 4000, SYN | ACK))
    plane.ingress(frames.tcp(PEER6, 4000, POD6, 80, ACK))
    plane.egress(frames.udp(POD, 5000, PEER, 53))
    plane.ingress(frames.icmp(PEER, POD, 8, ident=0x1234))
    return plane


def test_nothing_is_remembered_at_first(plane: Plane) -> None:
    assert len(live_flows(plane.shared)) == 0
    assert list(live_flows(plane.shared)) == []


def test_each_flow_is_told_as_its_endpoint_sees_it(opened: Plane) -> None:
    flows = {flow.protocol: flow for flow in live_flows(opened.shared)}
    web = flows[TCP]
    assert (web.local, web.local_port) == (ip_address(POD6), 80)
    assert (web.remote, web.remote_port) == (ip_address(PEER6), 4000)
    assert (web.ifindex, web.generation, web.state, web.role) == (1, 9, TCP_ESTABLISHED, 0)
    assert web.flags & CONNECTION_REPLIED
    query = flows[UDP]
    assert (query.local, query.local_port) == (ip_address(POD), 5000)
    assert (query.remote, query.remote_port) == (ip_address(PEER), 53)
    ping = flows[ICMP]
    assert (ping.local_port, ping.remote_port, ping.role) == (0x1234, 0x1234, 1)


def test_columns_fit_together(opened: Plane) -> None:
    flows = live_flows(opened.shared)
    assert len(flows) == len(flows.family) == len(flows.last_seen) == 3
    assert flows.local.shape == flows.remote.shape == (3, 16)
    four = flows.select(flows.family == 4)
    assert sorted(four.protocol) == [ICMP, UDP]
    assert not four.local[:, 4:].any()
    came_in = flows.select(np.flatnonzero(flows.opened_ingress))
    assert sorted(came_in.protocol) == [ICMP, TCP]
    assert not flows.denied.any()


def test_what_is_over_is_left_out(opened: Plane) -> None:
    opened.age(31)
    assert [flow.protocol for flow in live_flows(opened.shared)] == [TCP]


def test_what_was_cut_is_marked(opened: Plane) -> None:
    tables = Tables(PLAIN, generation=10)
    tables.endpoint(0, 1, [POD, POD6], egress=0, ingress=0)
    opened.fill(tables)
    assert opened.ingress(frames.tcp(PEER6, 4000, POD6, 80, ACK)) == "denied"
    flows = live_flows(opened.shared)
    assert [flow.protocol for flow in flows.select(flows.denied)] == [TCP]


def test_many_flows_are_read_whole(plane: Plane) -> None:
    tables = Tables(PLAIN)
    tables.endpoint(0, 1, [POD])
    plane.fill(tables)
    ports = range(10_000, 20_000)
    assert plane.current is not None
    program = TestRunner(plane.current.programs["workload_egress"].fd)
    for port in ports:
        program.run(frames.udp(POD, port, PEER, 53))
    assert sorted(live_flows(plane.shared).local_port.tolist()) == list(ports)
