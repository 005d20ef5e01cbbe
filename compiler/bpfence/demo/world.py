"""A world of network namespaces: one acts as the node, one as each pod, one as each outside host. All in one
process, gone with it.

Nothing of it touches the machine's own network: the namespaces have no names and no way out. Pods are joined to the
node the way routed CNIs do it: a veth pair, a host route to each of the pod's addresses, and fixed neighbour
entries.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import TracebackType
from typing import Any

from pyroute2 import IPRoute

from bpfence.errors import UsageError
from bpfence.loader.namespaces import NetworkNamespace

Address = IPv4Address | IPv6Address

_GATEWAY4, _GATEWAY6 = "169.254.1.1", "fe80::1"
_NODE_HARDWARE = "02:00:00:00:ff:ff"
_PERMANENT = 0x80
_NO_DETECTION = 0x02  # IFA_F_NODAD: addresses are usable at once


@dataclass(frozen=True, slots=True)
class Place:
    """A party of the world: its namespace, its addresses, and the interface on the node that leads to it (none for
    the node).
    """

    name: str
    namespace: NetworkNamespace
    addresses: tuple[Address, ...]
    interface: str = ""

    def address(self, family: int) -> Address | None:
        """Its first address of family 4 or 6."""
        return next((address for address in self.addresses if address.version == family), None)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A non-blocking socket of this party. ``family``: 4 or 6; ``kind``: a SOCK_* constant."""
        with self.namespace.inside():
            made = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, kind, protocol)
        made.setblocking(False)
        return made


class World:
    """Build it as a context manager; leaving removes everything. A killed process leaves nothing either."""

    def __init__(
        self,
        pods: Mapping[str, Iterable[Address]],
        node: Iterable[Address] = (IPv4Address("10.255.0.1"), IPv6Address("fd00:ffff::1")),
        outside: Mapping[str, Iterable[Address]] | None = None,
    ) -> None:
        """``pods``: ``namespace/name`` -> addresses. ``outside``: name -> addresses of hosts beyond the node."""
        self._pods = {name: tuple(addresses) for name, addresses in pods.items()}
        self._outside = {name: tuple(addresses) for name, addresses in (outside or {}).items()}
        self._node_addresses = tuple(node)
        self._stack = ExitStack()
        self.places: dict[str, Place] = {}

    @property
    def node(self) -> Place:
        return self.places["node"]

    def find(self, name: str) -> Place:
        """The party that a `Flow` names: ``namespace/pod``, ``node/NAME``, or an address. UsageError when nobody is
        called that.
        """
        if name in self.places:
            return self.places[name]
        if name.startswith("node/"):
            return self.node
        for place in self.places.values():
            if name in map(str, place.addresses):
                return place
        raise UsageError(f"nobody in this world is called {name}")

    def __enter__(self) -> World:
        with ExitStack() as undo:
            self._build(undo)
            self._stack = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self.places.clear()

    def _build(self, undo: ExitStack) -> None:
        node, ip = _make_namespace(undo, forwarding=True)
        self.places["node"] = Place("node", node, self._node_addresses)
        loopback = _bring_up(ip, "lo")
        for address in self._node_addresses:
            _add_address(ip, loopback, address)
        for number, (name, addresses) in enumerate(self._pods.items(), 1):
            self._join(undo, ip, name, f"pod{number}", addresses, number)
        for number, (name, addresses) in enumerate(self._outside.items(), 1):
            self._join(undo, ip, name, f"uplink{number}", addresses, 0x8000 + number)

    def _join(
        self, undo: ExitStack, node_ip: Any, name: str, interface: str, addresses: tuple[Address, ...], number: int
    ) -> None:
        """A namespace for a party, with one veth pair to the node."""
        namespace, ip = _make_namespace(undo, forwarding=False)
        hardware = f"02:00:00:01:{number >> 8:02x}:{number & 255:02x}"
        peer = {"ifname": "eth0", "net_ns_fd": namespace.descriptor, "address": hardware}
        node_ip.link("add", ifname=interface, kind="veth", address=_NODE_HARDWARE, peer=peer)
        _bring_up(ip, "lo")
        inner = _bring_up(ip, "eth0")
        outer = _bring_up(node_ip, interface)
        for address in addresses:
            _add_address(ip, inner, address)
            bits = 32 if address.version == 4 else 128
            node_ip.route("add", dst=f"{address}/{bits}", oif=outer, scope=253 if bits == 32 else 0)
            _add_neighbour(node_ip, outer, str(address), hardware)
        _add_default_routes(ip, inner, {address.version for address in addresses})
        self.places[name] = Place(name, namespace, addresses, interface)


def _make_namespace(undo: ExitStack, forwarding: bool) -> tuple[NetworkNamespace, Any]:
    namespace = NetworkNamespace.create()
    undo.callback(namespace.close)
    with namespace.inside():
        _set_sysctls(forwarding)
        ip = IPRoute()
    undo.callback(ip.close)
    return namespace, ip


def _set_sysctls(forwarding: bool) -> None:
    """Of the namespace the thread is in: no automatic IPv6 addresses, no duplicate detection, forwarding on the
    node.
    """
    values = {
        "ipv4/ip_forward": int(forwarding),
        "ipv4/conf/all/rp_filter": 0,
        "ipv4/conf/default/rp_filter": 0,
        "ipv6/conf/all/disable_ipv6": 0,
        "ipv6/conf/default/disable_ipv6": 0,
        "ipv6/conf/default/addr_gen_mode": 1,
        "ipv6/conf/default/accept_dad": 0,
        "ipv6/conf/default/router_solicitations": 0,
        "ipv6/conf/all/forwarding": int(forwarding),
    }
    for name, value in values.items():
        path = Path("/proc/sys/net") / name
        if path.exists():
            path.write_text(str(value))


def _bring_up(ip: Any, name: str) -> int:
    index = int(ip.link_lookup(ifname=name)[0])
    ip.link("set", index=index, state="up")
    return index


def _add_address(ip: Any, index: int, address: Address) -> None:
    if address.version == 4:
        ip.addr("add", index=index, address=str(address), prefixlen=32)
    else:
        ip.addr("add", index=index, address=str(address), prefixlen=128, flags=_NO_DETECTION)


def _add_neighbour(ip: Any, index: int, address: str, hardware: str) -> None:
    ip.neigh("add", dst=address, lladdr=hardware, ifindex=index, state=_PERMANENT)


def _add_default_routes(ip: Any, index: int, families: set[int]) -> None:
    if 4 in families:
        ip.route("add", dst=f"{_GATEWAY4}/32", oif=index, scope=253)
        _add_neighbour(ip, index, _GATEWAY4, _NODE_HARDWARE)
        ip.route("add", dst="default", gateway=_GATEWAY4, oif=index)
    if 6 in families:
        _add_neighbour(ip, index, _GATEWAY6, _NODE_HARDWARE)
        ip.route("add", family=socket.AF_INET6, dst="default", gateway=_GATEWAY6, oif=index)
