"""Interfaces, qdiscs and tc filters of the current network namespace, by netlink."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from socket import AF_INET, AF_INET6
from typing import Any

from bpfence.errors import AttachConflict, KernelError, PermissionMissing
from bpfence.loader.bpffs import HOST_DIRECTIONS, WORKLOAD_DIRECTIONS, Direction
from bpfence.loader.rtnetlink import FilterPlace, Message, NetlinkError, RouteSocket

HOOK_PARENT: dict[Direction, int] = {
    "egress": 0xFFFFFFF2,
    "ingress": 0xFFFFFFF3,
    "host-ingress": 0xFFFFFFF2,
    "host-egress": 0xFFFFFFF3,
}
"""The clsact hook of each direction: the device's ingress for a workload's egress, and the other way round."""
FILTER_NAME: dict[Direction, str] = {
    "egress": "bpfence_egress",
    "ingress": "bpfence_ingress",
    "host-ingress": "bpfence_host_ingress",
    "host-egress": "bpfence_host_egress",
}
FILTER_PRIORITY = 1
"""INVARIANT: the smallest there is. A filter ahead of ours that says OK would end classification and let packets
past the policy.
"""
FILTER_HANDLES: dict[Direction, int] = {"egress": 0xBFE, "ingress": 0xBFE, "host-ingress": 0xBFF, "host-egress": 0xBFF}
"""Two, so that an interface that changes hands may have both for a moment."""
ETH_P_ALL = 0x0003
_CLSACT_PARENT = 0xFFFFFFF1
_UNICAST = 1
_LOCAL_TABLE = 255
_DIRECT_ACTION, _SKIP_SOFTWARE = 0x1, 0x2
"""TCA_BPF_FLAG_ACT_DIRECT, TCA_CLS_FLAGS_SKIP_SW"""
_NUD_INCOMPLETE = 0x01
_ENDING = frozenset((2, 3, 4))
"""RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST"""
_LOOPBACK_FLAG = 0x8
_XDP_IF_NONE = 1
_XDP_IF_EXPECTED = 16
_XDP_MODES = {"native": 4, "generic": 2}
_XDP_ATTRIBUTES = {
    "native": "IFLA_XDP_DRV_PROG_ID",
    "generic": "IFLA_XDP_SKB_PROG_ID",
    "offload": "IFLA_XDP_HW_PROG_ID",
}
_ADDRESS_BITS: dict[int, int] = {AF_INET: 32, AF_INET6: 128}
_VERSION: dict[int, int] = {AF_INET: 4, AF_INET6: 6}


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. ``kind``: veth, bridge ...; empty for hardware. ``master``: index of the bridge it is a port
    of, or 0. ``lower``: of a VLAN the interface below it, else 0.
    """

    index: int
    name: str
    kind: str
    master: int
    loopback: bool
    address: str
    lower: int = 0


@dataclass(frozen=True, slots=True)
class HostRoute:
    """A route to one address (/32, /128) through an interface."""

    address: str
    index: int


@dataclass(frozen=True, slots=True)
class Route:
    """How packets to some address leave: the interface, and the address they come from when nobody chose one."""

    index: int
    source: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    address: str
    index: int
    hardware: str


@dataclass(frozen=True, slots=True)
class Filter:
    """A tc filter at one of the two clsact hooks (see `_direction`). ``program``: kernel id of its BPF program, 0 for
    other kinds. ``direct_action``: what a BPF program answers is the verdict. ``in_software``: packets are asked here,
    and not in the hardware alone.
    """

    index: int
    direction: Direction
    kind: str
    priority: int
    protocol: int
    handle: int
    name: str
    program: int
    chain: int = 0
    direct_action: bool = True
    in_software: bool = True

    @property
    def title(self) -> str:
        facts = [f"pref {self.priority}", f"handle {self.handle:#x}"]
        facts += [f"chain {self.chain}"] if self.chain else []
        facts += [f"protocol {self.protocol:#06x}"] if self.protocol != ETH_P_ALL else []
        facts += [f"program {self.program}"] if self.program else []
        facts += ["without direct action"] if self.program and not self.direct_action else []
        facts += [] if self.in_software else ["in hardware alone"]
        return f"{self.kind} {self.name}".strip() + f" ({', '.join(facts)})"

    @property
    def place(self) -> FilterPlace:
        protocol = int.from_bytes(self.protocol.to_bytes(2, "big"), sys.byteorder)
        info = self.priority << 16 | protocol
        return FilterPlace(self.index, HOOK_PARENT[self.direction], self.chain, info, self.handle, self.kind)


def dispatcher_filter(index: int, direction: Direction, program: int = 0) -> Filter:
    """A dispatcher's filter as it is attached. ``program``: kernel id of the dispatcher."""
    handle, name = FILTER_HANDLES[direction], FILTER_NAME[direction]
    return Filter(index, direction, "bpf", FILTER_PRIORITY, ETH_P_ALL, handle, name, program)


@dataclass(frozen=True, slots=True)
class XdpProgram:
    """The XDP program of an interface. ``program``: its kernel id; ``mode``: ``native``, ``generic`` or ``offload``."""

    index: int
    program: int
    mode: str


class Netlink:
    """An open netlink socket in the namespace where it was made."""

    def __init__(self) -> None:
        try:
            self._ip = RouteSocket()
        except OSError as error:
            raise KernelError(f"can't open a netlink socket: {error.strerror}") from error
        self._links: tuple[list[Message], tuple[Link, ...]] = ([], ())
        """what was read last, and what it means"""

    def close(self) -> None:
        self._ip.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def remembering(self) -> AbstractContextManager[None]:
        """Within the block what was read once is not read again; a change made here forgets it."""
        return self._ip.remembering()

    def links(self) -> tuple[Link, ...]:
        messages = self._ip.get_links()
        if messages is not self._links[0]:
            self._links = messages, tuple(_link(message) for message in messages)
        return self._links[1]

    def host_routes(self) -> tuple[HostRoute, ...]:
        """Unicast routes to single addresses, in every table but ``local``."""
        routes = (*self._ip.get_routes(family=AF_INET), *self._ip.get_routes(family=AF_INET6))
        return tuple(
            HostRoute(str(r.get_attr("RTA_DST")), int(r.get_attr("RTA_OIF")))
            for r in routes
            if r["dst_len"] == _ADDRESS_BITS[r["family"]] and r["table"] != _LOCAL_TABLE and _is_unicast(r)
        )

    def default_route_interfaces(self) -> frozenset[int]:
        """Interfaces that lead to the rest of the world."""
        routes = (*self._ip.get_routes(family=AF_INET), *self._ip.get_routes(family=AF_INET6))
        return frozenset(int(r.get_attr("RTA_OIF")) for r in routes if r["dst_len"] == 0 and _is_unicast(r))

    def default_routes(self) -> frozenset[tuple[int, int]]:
        """(family, interface) of every default route, 4 or 6; routes over several next hops included."""
        routes = (*self._ip.get_routes(family=AF_INET), *self._ip.get_routes(family=AF_INET6))
        defaults = [route for route in routes if route["dst_len"] == 0 and route["type"] == _UNICAST]
        return frozenset((_VERSION[route["family"]], index) for route in defaults for index in _ways_out(route))

    def route_to(self, address: str) -> Route | None:
        """The way to an address as the kernel would choose it now; None when there is none."""
        try:
            found = self._ip.get_route_to(address)
        except NetlinkError:
            return None
        if not found or found[0].get_attr("RTA_OIF") is None:
            return None
        return Route(int(found[0].get_attr("RTA_OIF")), str(found[0].get_attr("RTA_PREFSRC") or ""))

    def own_addresses(self) -> tuple[tuple[int, str], ...]:
        """(interface, address) of the namespace's own addresses, broadcast addresses among them."""
        names = ("IFA_LOCAL", "IFA_ADDRESS", "IFA_BROADCAST")
        found = ((int(m["index"]), [m.get_attr(name) for name in names]) for m in self._ip.get_addr())
        return tuple((index, str(text)) for index, texts in found for text in _own(texts) if text)

    def local_prefixes(self) -> tuple[str, ...]:
        """Prefixes for which the routing tables say that packets end here, whether an interface has the addresses or
        not: anycast addresses of a router among them. Loopback is left out.
        """
        routes = (*self._ip.get_routes(family=AF_INET), *self._ip.get_routes(family=AF_INET6))
        ending = (route for route in routes if route["type"] in _ENDING and route.get_attr("RTA_DST") is not None)
        found = {f"{route.get_attr('RTA_DST')}/{route['dst_len']}" for route in ending}
        return tuple(sorted(text for text in found if not ip_network(text, strict=False).is_loopback))

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
            for entry in self._ip.get_bridge_entries()
            if entry.get_attr("NDA_MASTER") and entry.get_attr("NDA_LLADDR")
        }

    def has_waiting_packets(self) -> bool:
        """Whether a queue of an interface that is not hardware holds packets, or packets wait for some neighbour's
        hardware address.
        """
        holding = {int(q["index"]) for q in self._ip.get_qdiscs() if _waiting(q)}
        if holding and any(link.index in holding for link in self.links() if link.kind or link.loopback):
            return True
        neighbours = (*self._ip.get_neighbours(family=AF_INET), *self._ip.get_neighbours(family=AF_INET6))
        return any(n["state"] & _NUD_INCOMPLETE for n in neighbours)

    def ingress_qdiscs(self) -> dict[int, str]:
        """Interface -> kind of the qdisc at the clsact place (``clsact`` or ``ingress``)."""
        return {
            int(q["index"]): str(q.get_attr("TCA_KIND")) for q in self._ip.get_qdiscs() if q["parent"] == _CLSACT_PARENT
        }

    def filters(self, *indices: int) -> tuple[Filter, ...]:
        """Every filter at both clsact hooks of interfaces, in the order the kernel asks them."""
        known: dict[bytes, _Classifier] = {}
        return tuple(
            _filter(message, index, direction, known)
            for index in indices
            for direction in WORKLOAD_DIRECTIONS
            for message in self._ip.get_filters(index=index, parent=HOOK_PARENT[direction])
            # the kernel first names each chain's protocol instance (handle 0), then the filters in it
            if message["handle"]
        )

    def xdp_programs(self) -> tuple[XdpProgram, ...]:
        """Every interface with an XDP program; of one with several the first that is asked."""
        found = ((int(message["index"]), message.get_attr("IFLA_XDP")) for message in self._ip.get_links())
        return tuple(made for index, facts in found if facts is not None for made in _xdp(index, facts))

    def attach_xdp(self, index: int, program_fd: int) -> str:
        """Attach a program where none is: in the driver, else before the stack. Returns the mode, empty when neither
        can be.
        """
        for mode, flag in _XDP_MODES.items():
            try:
                self._ip.link("set", index=index, xdp=_xdp_request(program_fd, flag | _XDP_IF_NONE))
            except NetlinkError as error:
                if error.code == errno.EBUSY:
                    raise AttachConflict(f"interface {index}: somebody else's XDP program stands there") from error
            else:
                return mode
        return ""

    def remove_xdp(self, index: int, mode: str, program_fd: int) -> None:
        """Take a program off; the kernel makes sure that it is this one."""
        request = _xdp_request(-1, _XDP_MODES.get(mode, 0) | _XDP_IF_EXPECTED)
        request["attrs"].append(("IFLA_XDP_EXPECTED_FD", program_fd))
        with _refused(f"interface {index}: can't detach the XDP dispatcher"):
            self._ip.link("set", index=index, xdp=request)

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
            self._put(dispatcher_filter(index, direction), program_fd)

    def remove_filter(self, index: int, direction: Direction) -> None:
        with _refused(f"interface {index}: can't detach the {direction} dispatcher"):
            self._ip.remove_filter(dispatcher_filter(index, direction).place)

    def put_back(self, item: Filter, program_fd: int) -> None:
        """Attach a BPF filter as it stood, without actions of its own."""
        with _refused(f"interface {item.index}: can't put back the filter {item.title}"):
            self._put(item, program_fd)

    def take_off(self, item: Filter) -> None:
        """Remove a filter, wherever it stands."""
        with _refused(f"interface {item.index}: can't take off the filter {item.title}"):
            self._ip.remove_filter(item.place)

    def _put(self, item: Filter, program_fd: int) -> None:
        direct, general = _DIRECT_ACTION * item.direct_action, _SKIP_SOFTWARE * (not item.in_software)
        self._ip.add_bpf_filter(item.place, program_fd, item.name, direct, general)


def _ways_out(route: Any) -> Iterator[int]:
    """The interfaces of a route, one for each next hop."""
    if route.get_attr("RTA_OIF") is not None:
        yield int(route.get_attr("RTA_OIF"))
    yield from (int(hop["oif"]) for hop in route.get_attr("RTA_MULTIPATH") or ())


def _waiting(qdisc: Message) -> int:
    """Packets in a qdisc and those below it."""
    if qdisc["parent"] == _CLSACT_PARENT:  # keeps none
        return 0
    statistics = qdisc.get_attr("TCA_STATS2")
    queue = statistics.get_attr("TCA_STATS_QUEUE") if statistics else None
    return int(queue["qlen"]) if queue else 0


def _own(texts: list[Any]) -> tuple[Any, ...]:
    """IFA_ADDRESS is the other end's where IFA_LOCAL is there too."""
    local, address, broadcast = texts
    return (local or address, broadcast)


def _is_unicast(route: Any) -> bool:
    """Leads through one interface (a route over several next hops leads to no pod)."""
    return route["type"] == _UNICAST and route.get_attr("RTA_OIF") is not None


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    kind = str(info.get_attr("IFLA_INFO_KIND") or "") if info else ""
    return Link(
        index=int(message["index"]),
        name=str(message.get_attr("IFLA_IFNAME")),
        kind=kind,
        master=int(message.get_attr("IFLA_MASTER") or 0),
        loopback=bool(message["flags"] & _LOOPBACK_FLAG),
        address=str(message.get_attr("IFLA_ADDRESS") or ""),
        lower=int(message.get_attr("IFLA_LINK") or 0) if kind == "vlan" else 0,
    )


@dataclass(frozen=True, slots=True)
class _Classifier:
    """What a filter's attributes say (see `Filter`)."""

    kind: str
    chain: int
    name: str = ""
    program: int = 0
    direct_action: bool = False
    in_software: bool = True


def _classifier(message: Message) -> _Classifier:
    options = message.get_attr("TCA_OPTIONS")
    kind, chain = str(message.get_attr("TCA_KIND")), int(message.get_attr("TCA_CHAIN") or 0)
    bpf = options if kind == "bpf" and options else None
    if bpf is None:
        return _Classifier(kind, chain)
    return _Classifier(
        kind,
        chain,
        str(bpf.get_attr("TCA_BPF_NAME") or ""),
        int(bpf.get_attr("TCA_BPF_ID") or 0),
        bool((bpf.get_attr("TCA_BPF_FLAGS") or 0) & _DIRECT_ACTION),
        not (bpf.get_attr("TCA_BPF_FLAGS_GEN") or 0) & _SKIP_SOFTWARE,
    )


def _filter(message: Message, index: int, direction: Direction, known: dict[bytes, _Classifier]) -> Filter:
    """``known``: attributes that were decoded before; a dispatcher's are the same on every interface."""
    tail = message.tail
    if tail not in known:
        known[tail] = _classifier(message)
    found = known[tail]
    info = int(message["info"])
    return Filter(
        index=index,
        direction=_direction(direction, found.name),
        kind=found.kind,
        priority=info >> 16,
        protocol=int.from_bytes((info & 0xFFFF).to_bytes(2, sys.byteorder), "big"),
        handle=int(message["handle"]),
        name=found.name,
        program=found.program,
        chain=found.chain,
        direct_action=found.direct_action,
        in_software=found.in_software,
    )


def _xdp_request(program_fd: int, flags: int) -> dict[str, list[tuple[str, int]]]:
    return {"attrs": [("IFLA_XDP_FD", program_fd), ("IFLA_XDP_FLAGS", flags)]}


def _xdp(index: int, facts: Any) -> Iterator[XdpProgram]:
    """One for each mode that has a program; the kernel names the mode's own id, or with one mode just the id."""
    modes = {mode: facts.get_attr(name) for mode, name in _XDP_ATTRIBUTES.items()}
    found = {mode: int(number) for mode, number in modes.items() if number}
    attached, number = facts.get_attr("IFLA_XDP_ATTACHED"), facts.get_attr("IFLA_XDP_PROG_ID")
    if not found and number:
        found = {{1: "native", 2: "generic", 3: "offload"}.get(_number(attached), "native"): int(number)}
    yield from (XdpProgram(index, program, mode) for mode, program in found.items())


def _number(value: Any) -> int:
    """Of the attached mode, which the netlink library gives as a name or as a number."""
    names = {"xdp": 1, "xdpgeneric": 2, "xdpoffload": 3}
    return names[value] if value in names else int(value or 0)


def _direction(direction: Direction, name: str) -> Direction:
    """The hook as its dispatcher names it; of a foreign filter as a workload would."""
    parent = HOOK_PARENT[direction]
    named = (item for item in HOST_DIRECTIONS if HOOK_PARENT[item] == parent and FILTER_NAME[item] == name)
    return next(named, direction)


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
