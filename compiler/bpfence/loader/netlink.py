"""Interfaces, qdiscs and tc filters of the current network namespace, by netlink."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bpfence.errors import AttachConflict, KernelError, PermissionMissing
from bpfence.loader.bpffs import Direction

HOOK_PARENT: dict[Direction, int] = {"egress": 0xFFFFFFF2, "ingress": 0xFFFFFFF3}
"""The clsact hook of each direction: the device's ingress for the endpoint's egress, and the other way round."""
FILTER_NAME: dict[Direction, str] = {"egress": "bpfence_egress", "ingress": "bpfence_ingress"}
FILTER_PRIORITY = 1
"""INVARIANT: the smallest there is. A filter ahead of ours that says OK would end classification and let packets
past the policy.
"""
FILTER_HANDLE = 0xBFE
ETH_P_ALL = 0x0003
_CLSACT_PARENT = 0xFFFFFFF1
_TCA_BPF_ID = 11
_UNICAST = 1
_LOCAL_TABLE = 255
_LOOPBACK_FLAG = 0x8
_ADDRESS_BITS = {AF_INET: 32, AF_INET6: 128}


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. ``kind``: veth, bridge ...; empty for hardware. ``master``: index of the bridge it is a port
    of, or 0.
    """

    index: int
    name: str
    kind: str
    master: int
    loopback: bool
    address: str


@dataclass(frozen=True, slots=True)
class HostRoute:
    """A route to one address (/32, /128) through an interface."""

    address: str
    index: int


@dataclass(frozen=True, slots=True)
class Neighbour:
    address: str
    index: int
    hardware: str


@dataclass(frozen=True, slots=True)
class Filter:
    """A tc filter at one of the two clsact hooks. ``program``: kernel id of its BPF program, 0 for other kinds."""

    index: int
    direction: Direction
    kind: str
    priority: int
    protocol: int
    handle: int
    name: str
    program: int

    @property
    def title(self) -> str:
        what = f"{self.kind} {self.name}".strip()
        return f"{what} (pref {self.priority}, handle {self.handle:#x}" + (
            f", program {self.program})" if self.program else ")"
        )


class Netlink:
    """An open netlink socket in the namespace where it was made."""

    def __init__(self) -> None:
        try:
            self._ip = IPRoute()
        except OSError as error:
            raise KernelError(f"can't open a netlink socket: {error.strerror}") from error

    def close(self) -> None:
        self._ip.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def links(self) -> tuple[Link, ...]:
        return tuple(_link(message) for message in self._ip.get_links())

    def host_routes(self) -> tuple[HostRoute, ...]:
        """Unicast routes to single addresses, in every table but ``local``."""
        routes = (*self._ip.get_routes(family=AF_INET), *self._ip.get_routes(family=AF_INET6))
        return tuple(
            HostRoute(str(r.get_attr("RTA_DST")), int(r.get_attr("RTA_OIF")))
            for r in routes
            if _is_unicast(r) and r["table"] != _LOCAL_TABLE and r["dst_len"] == _ADDRESS_BITS[r["family"]]
        )

    def default_route_interfaces(self) -> frozenset[int]:
        """Interfaces that lead to the rest of the world."""
        routes = (*self._ip.get_routes(family=AF_INET), *self._ip.get_routes(family=AF_INET6))
        return frozenset(int(r.get_attr("RTA_OIF")) for r in routes if r["dst_len"] == 0 and _is_unicast(r))

    def neighbours(self) -> tuple[Neighbour, ...]:
        """Entries that lead to a hardware address (not those that failed or are incomplete)."""
        found = (*self._ip.get_neighbours(family=AF_INET), *self._ip.get_neighbours(family=AF_INET6))
        return tuple(
            Neighbour(str(n.get_attr("NDA_DST")), int(n["ifindex"]), str(n.get_attr("NDA_LLADDR")))
            for n in found
            if n.get_attr("NDA_DST") and n.get_attr("NDA_LLADDR")
        )

    def bridge_ports(self) -> dict[tuple[int, str], int]:
        """(bridge, hardware address) -> port, from the bridges' forwarding tables."""
        return {
            (int(entry.get_attr("NDA_MASTER")), str(entry.get_attr("NDA_LLADDR"))): int(entry["ifindex"])
            for entry in self._ip.fdb("dump")
            if entry.get_attr("NDA_MASTER") and entry.get_attr("NDA_LLADDR")
        }

    def ingress_qdiscs(self) -> dict[int, str]:
        """Interface -> kind of the qdisc at the clsact place (``clsact`` or ``ingress``)."""
        return {
            int(q["index"]): str(q.get_attr("TCA_KIND")) for q in self._ip.get_qdiscs() if q["parent"] == _CLSACT_PARENT
        }

    def filters(self, index: int) -> tuple[Filter, ...]:
        """Every filter at both clsact hooks of an interface, in the order the kernel asks them."""
        return tuple(f for direction in HOOK_PARENT for f in self._filters(index, direction))

    def _filters(self, index: int, direction: Direction) -> Iterator[Filter]:
        for message in self._ip.get_filters(index=index, parent=HOOK_PARENT[direction]):
            # the kernel first names each chain's protocol instance (handle 0), then the filters in it
            if message["handle"]:
                yield _filter(message, index, direction)

    def add_clsact(self, index: int) -> None:
        with _refused(f"interface {index}: can't add the clsact qdisc"):
            self._ip.tc("add", "clsact", index)

    def remove_clsact(self, index: int) -> None:
        with _refused(f"interface {index}: can't remove the clsact qdisc"):
            self._ip.tc("del", "clsact", index)

    def add_filter(self, index: int, direction: Direction, program_fd: int) -> None:
        """Attach a dispatcher, direct action, ahead of everything else. Raises AttachConflict when the place is
        taken.
        """
        with _refused(f"interface {index}: can't attach the {direction} dispatcher"):
            self._ip.tc("add-filter", "bpf", index, FILTER_HANDLE, fd=program_fd, name=FILTER_NAME[direction],
                        parent=HOOK_PARENT[direction], prio=FILTER_PRIORITY, direct_action=True)  # fmt: skip

    def remove_filter(self, index: int, direction: Direction) -> None:
        with _refused(f"interface {index}: can't detach the {direction} dispatcher"):
            self._ip.tc("del-filter", "bpf", index, FILTER_HANDLE, parent=HOOK_PARENT[direction], prio=FILTER_PRIORITY)


def _is_unicast(route: Any) -> bool:
    """Leads through one interface (a route over several next hops leads to no pod)."""
    return route["type"] == _UNICAST and route.get_attr("RTA_OIF") is not None


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=int(message["index"]),
        name=str(message.get_attr("IFLA_IFNAME")),
        kind=str(info.get_attr("IFLA_INFO_KIND") or "") if info else "",
        master=int(message.get_attr("IFLA_MASTER") or 0),
        loopback=bool(message["flags"] & _LOOPBACK_FLAG),
        address=str(message.get_attr("IFLA_ADDRESS") or ""),
    )


def _filter(message: Any, index: int, direction: Direction) -> Filter:
    options = message.get_attr("TCA_OPTIONS")
    kind = str(message.get_attr("TCA_KIND"))
    bpf = options if kind == "bpf" and options else None
    info = int(message["info"])
    return Filter(
        index=index,
        direction=direction,
        kind=kind,
        priority=info >> 16,
        protocol=int.from_bytes((info & 0xFFFF).to_bytes(2, sys.byteorder), "big"),
        handle=int(message["handle"]),
        name=str(bpf.get_attr("TCA_BPF_NAME") or "") if bpf else "",
        program=_program_id(bpf) if bpf else 0,
    )


def _program_id(options: Any) -> int:
    """TCA_BPF_ID, which the netlink library does not decode: read from the attribute's own bytes (u32, host order)."""
    for attribute in options["attrs"]:
        raw = attribute.nla
        if attribute.name == "UNKNOWN" and raw["header"]["type"] == _TCA_BPF_ID:
            start = raw.offset + 4
            return int.from_bytes(raw.data[start : start + 4], sys.byteorder)
    return 0


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Netlink's answers in our words."""
    try:
        yield
    except NetlinkError as error:
        if error.code in (errno.EPERM, errno.EACCES):
            raise PermissionMissing(f"{what}: not permitted; run as root (CAP_NET_ADMIN)") from error
        if error.code == errno.EEXIST:
            raise AttachConflict(f"{what}: somebody else's stands there") from error
        raise KernelError(f"{what}: {error.args[1] if len(error.args) > 1 else error}") from error
