"""Real traffic through a veth pair: segments larger than a frame, pages outside the linear part, both families."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from pyroute2 import IPRoute

from bpfence.loader.namespaces import NetworkNamespace
from bpfence.loader.netlink import Netlink
from bpfence.plan.layout import CONNECTION_REPLIED, TCP_ESTABLISHED
from kernel.frames import TCP
from kernel.images import PLAIN, Tables
from kernel.plane import Plane

pytestmark = pytest.mark.kernel

NODE, POD = {4: "10.77.0.1", 6: "fd77::1"}, {4: "10.77.0.2", 6: "fd77::2"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
OPEN, CLOSED = 80, 81
BULK = 8 << 20


@contextmanager
def two_ends() -> Iterator[tuple[NetworkNamespace, NetworkNamespace, int]]:
    """A node and a pod, joined by a veth pair; the node's interface number."""
    node, pod = NetworkNamespace.create(), NetworkNamespace.create()
    try:
        with node.inside(), IPRoute() as ip:
            ip.link("add", ifname="wl0", kind="veth", peer={"ifname": "eth0", "net_ns_fd": pod.descriptor})
            index = set_up(ip, "wl0", NODE)
        with pod.inside(), IPRoute() as ip:
            set_up(ip, "eth0", POD)
        yield node, pod, index
    finally:
        node.close()
        pod.close()


def set_up(ip: IPRoute, name: str, addresses: dict[int, str]) -> int:
    (index,) = ip.link_lookup(ifname=name)
    ip.addr("add", index=index, address=addresses[4], prefixlen=24)
    ip.addr("add", index=index, address=addresses[6], prefixlen=64, flags=2)  # IFA_F_NODAD: usable at once
    ip.link("set", index=index, state="up")
    return index


def fence(plane: Plane, index: int) -> None:
    """The pod takes TCP on one port and opens nothing."""
    tables = Tables(PLAIN)
    tables.endpoint(0, index, [POD[4], POD[6]], egress=0, ingress=1)
    tables.port(TCP, OPEN, 1)
    tables.cell(1, 0, 1)
    slot = plane.fill(tables)
    with closing(Netlink()) as netlink:
        netlink.add_clsact(index)
        netlink.add_filter(index, "egress", slot.programs["workload_egress"].fd)
        netlink.add_filter(index, "ingress", slot.programs["workload_ingress"].fd)


def serve(listener: socket.socket) -> None:
    """Answer one bulk transfer with another."""
    connection, _ = listener.accept()
    with connection:
        received = 0
        while received < BULK:
            received += len(connection.recv(1 << 18))
        connection.sendall(bytes(BULK))


@pytest.mark.parametrize("family", [4, 6])
def test_bulk_traffic_passes_and_the_closed_port_does_not(plane: Plane, family: int) -> None:
    with two_ends() as (node, pod, index):
        with pod.inside():
            ports = (OPEN, CLOSED)
            servers = {port: socket.create_server((POD[family], port), family=FAMILY[family]) for port in ports}
        with node.inside():
            fence(plane, index)
            before = plane.counters()
            thread = threading.Thread(target=serve, args=(servers[OPEN],))
            thread.start()
            with socket.create_connection((POD[family], OPEN), timeout=10) as client:
                client.sendall(bytes(BULK))
                received = 0
                while received < BULK:
                    received += len(client.recv(1 << 18))
            thread.join(10)
            ((_, flow),) = plane.connections()
            with pytest.raises(TimeoutError):
                socket.create_connection((POD[family], CLOSED), timeout=0.3)
        after = plane.counters()
        for server in servers.values():
            server.close()
    assert flow["bytes"] > 2 * BULK
    assert flow["bytes"] / flow["packets"] > 2000, "no large segment was seen"
    assert flow["flags"] & CONNECTION_REPLIED
    assert flow["state"] & TCP_ESTABLISHED
    assert after["denied"] > before["denied"]
    assert after["malformed"] == before["malformed"]
