"""The network of the world of hosts: namespaces, links, addresses, routes, and an echo server on every port.

The link is a bridge in a namespace of its own, so neighbours are found by ARP and neighbour discovery, as on a wire.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from bpfence.demo.loop import Loop
from bpfence.demo.servers import TCP, UDP, listen
from bpfence.demo.world import Place
from bpfence.loader.namespaces import NetworkNamespace
from support.host_objects import (
    FAR,
    NODE1,
    NODE1_FAR,
    NODE2,
    NODE_OF,
    OUT,
    POD_NETS,
    PODS,
    PORTS,
    SERVICE_NETS,
    SLY,
)

PERMANENT = 0x80
"""a neighbour that is not asked for"""
_NO_DETECTION = 0x02
_HARDWARE = "02:00:00:00:ff:ff"


@dataclass(slots=True)
class HostNetwork:
    """Places by name, and an `IPRoute` in each."""

    stack: ExitStack
    places: dict[str, Place] = field(default_factory=dict)
    netlink: dict[str, Any] = field(default_factory=dict)


def build(made: HostNetwork) -> None:
    """Everything but the servers."""
    switch, ip = _namespace(made.stack, forwarding=False)
    made.places["switch"], made.netlink["switch"] = Place("switch", switch, ()), ip
    ip.link("add", ifname="br0", kind="bridge")
    bridge = bring_up(ip, "br0")
    for name, addresses in (("out", OUT), ("sly", SLY), ("node1", NODE1), ("node2", NODE2)):
        _place(made, name, addresses, forwarding=name.startswith("node"))
        made.netlink[name].link(
            "add", ifname="eth0", kind="veth", peer={"ifname": f"port-{name}", "net_ns_fd": switch.descriptor}
        )
        port = bring_up(ip, f"port-{name}")
        ip.link("set", index=port, master=bridge)
        _addresses(made.netlink[name], bring_up(made.netlink[name], "eth0"), addresses)
    _place(made, "far", FAR, forwarding=False)
    made.netlink["node1"].link(
        "add", ifname="eth1", kind="veth",
        peer={"ifname": "eth0", "net_ns_fd": made.places["far"].namespace.descriptor},
    )  # fmt: skip
    _addresses(made.netlink["node1"], bring_up(made.netlink["node1"], "eth1"), NODE1_FAR)
    _addresses(made.netlink["far"], bring_up(made.netlink["far"], "eth0"), FAR)
    for number, (name, addresses) in enumerate(PODS.items(), 1):
        _pod(made, name, addresses, f"pod{number}", number)
    _routes(made)


def _place(made: HostNetwork, name: str, addresses: Sequence[str], forwarding: bool) -> None:
    namespace, ip = _namespace(made.stack, forwarding)
    made.places[name] = Place(name, namespace, tuple(map(ip_address, addresses)))
    made.netlink[name] = ip


def _pod(made: HostNetwork, name: str, addresses: Sequence[str], interface: str, number: int) -> None:
    """Joined to its node as routed CNIs do it."""
    _place(made, name, addresses, forwarding=False)
    node, ip = made.netlink[NODE_OF[name]], made.netlink[name]
    hardware = f"02:00:00:01:00:{number:02x}"
    peer = {"ifname": "eth0", "net_ns_fd": made.places[name].namespace.descriptor, "address": hardware}
    node.link("add", ifname=interface, kind="veth", address=_HARDWARE, peer=peer)
    inner, outer = bring_up(ip, "eth0"), bring_up(node, interface)
    for text in addresses:
        version = ip_address(text).version
        bits, gateway = (32, "169.254.1.1") if version == 4 else (128, "fe80::1")
        ip.addr("add", index=inner, address=text, prefixlen=bits, **({} if version == 4 else {"flags": _NO_DETECTION}))
        node.route("add", dst=f"{text}/{bits}", oif=outer, scope=253 if version == 4 else 0)
        node.neigh("add", dst=text, lladdr=hardware, ifindex=outer, state=PERMANENT)
        if version == 4:
            ip.route("add", dst="169.254.1.1/32", oif=inner, scope=253)
        ip.neigh("add", dst=gateway, lladdr=_HARDWARE, ifindex=inner, state=PERMANENT)
        ip.route("add", family=socket.AF_INET if version == 4 else socket.AF_INET6, dst="default", gateway=gateway,
                 oif=inner)  # fmt: skip


def _routes(made: HostNetwork) -> None:
    def via(place: str, net: str, gateway: str) -> None:
        family = socket.AF_INET if "." in net else socket.AF_INET6
        made.netlink[place].route("add", family=family, dst=net, gateway=gateway)

    nodes = {"node1": NODE1, "node2": NODE2}
    for place in ("out", "sly", "node1", "node2"):
        for node, nets in POD_NETS.items():
            for net, gateway in zip(nets, nodes[node], strict=True) if place != node else ():
                via(place, net, gateway)
        for net, gateway in zip(("198.51.101.0/24", "2001:db8:2::/64"), NODE1, strict=True) if place != "node1" else ():
            via(place, net, gateway)
        for nets in SERVICE_NETS:
            for net, gateway in zip(nets, OUT if place == "node1" else NODE1, strict=True):
                via(place, net, gateway)
    for gateway, family in zip(NODE1_FAR, (socket.AF_INET, socket.AF_INET6), strict=True):
        made.netlink["far"].route("add", family=family, dst="default", gateway=gateway)


def _namespace(stack: ExitStack, forwarding: bool) -> tuple[NetworkNamespace, Any]:
    namespace = NetworkNamespace.create()
    stack.callback(namespace.close)
    with namespace.inside():
        values = {
            "ipv4/ip_forward": int(forwarding),
            "ipv4/conf/all/rp_filter": 0,
            "ipv4/conf/default/rp_filter": 0,
            "ipv4/ip_local_port_range": "42000\t60000",
            "ipv4/icmp_echo_ignore_broadcasts": 0,
            "ipv6/conf/all/disable_ipv6": 0,
            "ipv6/conf/default/disable_ipv6": 0,
            "ipv6/conf/default/accept_dad": 0,
            "ipv6/conf/default/router_solicitations": 0,
            "ipv6/conf/all/forwarding": int(forwarding),
            "netfilter/nf_conntrack_tcp_timeout_time_wait": 1,
        }
        for name, value in values.items():
            path = Path("/proc/sys/net") / name
            if path.exists():
                path.write_text(str(value))
        ip = IPRoute()
    stack.callback(ip.close)
    bring_up(ip, "lo")
    return namespace, ip


def bring_up(ip: Any, name: str) -> int:
    index = int(ip.link_lookup(ifname=name)[0])
    ip.link("set", index=index, state="up")
    return index


def _addresses(ip: Any, index: int, addresses: Sequence[str]) -> None:
    for text in addresses:
        if ip_address(text).version == 4:
            ip.addr("add", index=index, address=text, prefixlen=24, broadcast=text.rpartition(".")[0] + ".255")
        else:
            ip.addr("add", index=index, address=text, prefixlen=64, flags=_NO_DETECTION)


@contextmanager
def served(made: HostNetwork) -> Iterator[None]:
    """Echo servers at every place, in a thread of their own."""
    loop, stop = Loop(), threading.Event()
    for name, place in made.places.items():
        if name not in ("switch", "sly"):
            for port in PORTS:
                _listen(loop, place, port)
    wake, woken = socket.socketpair()
    loop.watch(woken, selectors.EVENT_READ, lambda: woken.recv(1))
    thread = threading.Thread(target=loop.run, args=(3600.0, stop.is_set), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        wake.send(b"!")
        thread.join()
        wake.close()
        loop.close()


def _listen(loop: Loop, place: Place, port: int) -> None:
    for protocol in (TCP, UDP):
        listen(loop, place, protocol, port)
