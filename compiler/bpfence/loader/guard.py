"""The lock-out guard: would new tables cut what keeps the node reachable and alive?

Guarded: the operator's own connections, the node's name servers, its API server, and its default route. An artefact and
the node in, a refusal that names every flow and the rule that denies it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from bpfence.emit.artefact import Artefact, HostEntry
from bpfence.errors import KernelError
from bpfence.flows import PORT_PROTOCOLS, protocol_name
from bpfence.loader.guard_egress import EgressTables
from bpfence.loader.guard_flows import GuardedFlow, guarded_flows
from bpfence.loader.guard_verdict import Verdicts
from bpfence.loader.host_interfaces import HostInterface
from bpfence.loader.interfaces import Discovery, discover
from bpfence.loader.netlink import Netlink
from bpfence.simulate.simulator import Packet, Simulator

Address = IPv4Address | IPv6Address
_EPHEMERAL = 49152
_MOST = 10
_FWMARK_ACCEPT = Path("/proc/sys/net/ipv4/tcp_fwmark_accept")
_FAMILY = {4: "IPv4", 6: "IPv6"}


class LockOut(KernelError):  # noqa: N818 - the design's word
    """The new policy would cut what the node or its operator needs."""


def refuse_lock_out(
    artefact: Artefact,
    discovery: Discovery,
    netlink: Netlink,
    environment: Mapping[str, str],
    in_force: Callable[[], Artefact | None] = lambda: None,
) -> None:
    """Raise LockOut when the artefact would cut a guarded flow of the current network namespace (see
    `guarded_flows`), or leave no way out by an interface with a default route (see `bpfence.loader.guard_egress`).

    ``in_force``: the artefact that is in force. What it denies already is not cut.
    """
    cut = _cuts(artefact, discovery, netlink, environment)
    before = in_force() if cut else None
    if before is not None:
        denied = _cuts(before, discover(before.manifest, netlink, discovery.known), netlink, environment)
        cut = {what: text for what, text in cut.items() if what not in denied}
    found = [*cut.values(), *(_kept_marks() if discovery.places else ())]
    if not found:
        return
    shown = [f"  {text}" for text in found[:_MOST]]
    if len(found) > _MOST:
        shown.append(f"  and {len(found) - _MOST} more")
    raise LockOut("the new policy would cut\n" + "\n".join(shown) + "\n--force applies it all the same")


def _cuts(artefact: Artefact, discovery: Discovery, netlink: Netlink, environment: Mapping[str, str]) -> dict[str, str]:
    """What the artefact denies of all that is guarded -> a line that says so, with the rule."""
    if not discovery.places:
        return {}
    guard = _Guard(artefact, discovery, netlink)
    flows = guarded_flows(environment, artefact.manifest.guarded, guard.matters)
    found = (*(cut for flow in flows for cut in guard.cuts(flow)), *guard.closed_routes())
    return {what: f"{what}: {rule}" for what, rule in found}


def _kept_marks() -> Iterator[str]:
    """Sockets that take over the mark of the packet that opened them would send with the number of a generation that
    is long gone.
    """
    try:
        kept = _FWMARK_ACCEPT.read_text().strip() != "0"
    except OSError:
        return
    if kept:
        yield (
            "connections that this host accepts, two generations later: they keep the mark of their first packet; "
            "run `sysctl -w net.ipv4.tcp_fwmark_accept=0`"
        )


@dataclass(frozen=True)
class _Guard:
    """One artefact on one node."""

    artefact: Artefact
    discovery: Discovery
    netlink: Netlink

    @cached_property
    def _verdicts(self) -> Verdicts:
        return Verdicts(Simulator(self.artefact))

    @property
    def _workloads(self) -> dict[Address, str]:
        return self.artefact.manifest.workloads

    @cached_property
    def _hosts(self) -> dict[int, HostInterface]:
        return {item.index: item for item in self.discovery.hosts}

    @cached_property
    def _lower(self) -> dict[int, int]:
        """VLAN -> the interface below it."""
        return {link.index: link.lower for link in self.netlink.links() if link.lower}

    @cached_property
    def _own(self) -> tuple[tuple[int, Address], ...]:
        return tuple((index, ip_address(text)) for index, text in self.netlink.own_addresses())

    def matters(self, own: Address, peer: Address) -> bool:
        """Whether a flow between them passes any hook of ours."""
        return bool(self._hosts) or own in self._workloads or peer in self._workloads

    def cuts(self, flow: GuardedFlow) -> Iterator[tuple[str, str]]:
        """(what, by which rule) for each place where the flow would be cut."""
        if flow.peer in self._workloads or flow.own in self._workloads:
            yield from self._at_workloads(flow)
        elif self._hosts:
            yield from self._at_interfaces(flow)

    def _at_workloads(self, flow: GuardedFlow) -> Iterator[tuple[str, str]]:
        own = self._located(flow).own
        if own is None:
            return
        node = {address for _, address in self._own}
        ends = ((own, flow.peer, flow.incoming), (flow.peer, own, not flow.incoming))
        for here, there, incoming in ends:
            if here in self._workloads:
                direction = "ingress" if incoming else "egress"
                packet = replace(_packet(flow, own, direction), endpoint=self._workloads[here], own=here, peer=there)
                denied = self._verdicts.at_workload(packet, party=there in node)
                if denied:
                    yield f"{_title(flow, own)}, {direction} of {packet.endpoint}", denied

    def _at_interfaces(self, flow: GuardedFlow) -> Iterator[tuple[str, str]]:
        located = self._located(flow)
        if located.own is None:
            return
        direction = "ingress" if flow.incoming else "egress"
        packet = _packet(flow, located.own, direction)
        for index in located.interfaces:
            item = self._hosts.get(index)
            denied = self._verdicts.at_interface(self._endpoint(item), packet) if item is not None else ""
            if item is not None and denied:
                place = f"{item.host}, interface {item.name}, {direction}"
                yield f"{_title(flow, located.own)} ({place})", denied

    def _located(self, flow: GuardedFlow) -> _Located:
        """The interfaces that the flow uses, those below VLANs included; without a route those with its own address."""
        route = self.netlink.route_to(str(flow.peer))
        own = flow.own or (ip_address(route.source) if route and route.source else None)
        used = [route.index] if route is not None else [index for index, address in self._own if address == own]
        below = [self._lower[index] for index in used if index in self._lower]
        return _Located(own, tuple(dict.fromkeys((*used, *below))))

    def _endpoint(self, item: HostInterface | None) -> HostEntry | None:
        return None if item is None or item.number < 0 else self.artefact.manifest.hosts[item.number]

    def closed_routes(self) -> Iterator[tuple[str, str]]:
        """(what, by which rule) for each default route that a policy closes. Where no policy speaks of what the host
        sends, its host endpoint closes it but for the failsafe ports: that is what a host endpoint is.
        """
        routes = sorted(self.netlink.default_routes()) if self._hosts else []
        policed = [(family, self._hosts[index]) for family, index in routes if index in self._hosts]
        tables = EgressTables(self.artefact) if policed else None
        for family, item in policed:
            own = [str(address) for index, address in self._own if index == item.index]
            host = self._endpoint(item)
            if tables is None or tables.lets_out(host, family, own):
                continue
            rule = self._verdicts.closing_rule(host)
            if rule:
                yield (
                    f"everything that this host sends by its {_FAMILY[family]} default route ({item.host}, interface "
                    f"{item.name}, egress) but failsafe ports",
                    rule,
                )


@dataclass(frozen=True, slots=True)
class _Located:
    """``own`` None: the machine has no address for the flow."""

    own: Address | None
    interfaces: tuple[int, ...]


def _packet(flow: GuardedFlow, own: Address, direction: str) -> Packet:
    """The flow's first packet as its own end sees it."""
    ports = (flow.own_port or _EPHEMERAL, flow.peer_port or _EPHEMERAL)
    source, destination = ports[::-1] if flow.incoming else ports
    return Packet("", direction, own, flow.peer, flow.protocol, source, destination)


def _title(flow: GuardedFlow, own: Address) -> str:
    """What it is, and from where to where."""
    ends = [_end(flow, own, flow.own_port), _end(flow, flow.peer, flow.peer_port)]
    source, destination = ends[::-1] if flow.incoming else ends
    return f"{flow.what}: {protocol_name(flow.protocol)} {source} to {destination}"


def _end(flow: GuardedFlow, address: Address, port: int) -> str:
    if flow.protocol not in PORT_PROTOCOLS or not port:
        return str(address)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
