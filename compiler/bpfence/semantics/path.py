"""The way of a flow through the hosts: which pods, nodes and host endpoints are asked, at which points, on each side.

Follows the host endpoint documentation of projectcalico/calico: which policies see which traffic. Each end is judged on
its own node, for which other nodes and their pods are outside.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bpfence.flows import Flow
from bpfence.semantics.calico_hosts import Point, decide_host_endpoint
from bpfence.semantics.combine import judge, judge_node
from bpfence.semantics.decision import Decision
from bpfence.semantics.host_endpoints import HostInterface, closes_host, governing, standing_in, wildcard_of
from bpfence.semantics.packet import Direction, Packet
from bpfence.semantics.verdict import LayerVerdict, SideVerdict
from bpfence.semantics.world import Party, ReferenceWorld, parse_address


@dataclass(slots=True)
class Trail:
    """What a packet has met on one node so far, in order."""

    world: ReferenceWorld
    verdicts: list[LayerVerdict] = field(default_factory=list)
    passed: set[tuple[str, Direction]] = field(default_factory=set)
    """(host endpoint, direction) whose later points an early allow makes needless"""

    def ask(self, host: HostInterface | None, point: Point, packet: Packet) -> None:
        """One point of a host endpoint, unless an earlier one has let the packet pass it."""
        if host is None or (host.name, packet.direction) in self.passed:
            return
        verdict = decide_host_endpoint(self.world, packet, host, point)
        self.verdicts.append(verdict)
        if not verdict.allowed or verdict.reason != "rule":
            return
        if point == "untracked":
            self.passed |= {(host.name, "ingress"), (host.name, "egress")}
        elif point == "pre-dnat":
            self.passed.add((host.name, "ingress"))

    def add(self, verdicts: tuple[LayerVerdict, ...]) -> None:
        self.verdicts.extend(verdicts)

    def side(self) -> SideVerdict:
        return SideVerdict(all(verdict.allowed for verdict in self.verdicts), tuple(self.verdicts))


@dataclass(frozen=True, slots=True)
class Way:
    """A flow with its ends. ``original``: the destination on the wire, ``arrivals``: where it can end."""

    world: ReferenceWorld
    flow: Flow
    source: Party
    destination: Party

    @property
    def original(self) -> Party:
        written = self.flow.original_destination
        return self.world.owner(parse_address(written)) if written else self.destination

    @property
    def original_port(self) -> int | None:
        return self.flow.destination_port if self.flow.original_port is None else self.flow.original_port

    @property
    def arrivals(self) -> list[tuple[Party, int | None]]:
        """The ready backends of the service that is addressed; else the destination as it stands."""
        address, port = self.destination.address, self.flow.destination_port
        place = None if address is None or port is None else (address, self.flow.protocol, port)
        backends = self.world.backends.get(place, ()) if place else ()
        return [(self.world.owner(item.address), item.port) for item in backends] or [(self.destination, port)]

    @property
    def ends_at_service(self) -> bool:
        address, port = self.destination.address, self.flow.destination_port
        return address is not None and port is not None and (address, self.flow.protocol, port) in self.world.backends

    def packet(self, node: str, direction: Direction, destination: Party, port: int | None) -> Packet:
        """The flow's first packet, going to the destination, as seen on a node."""
        own, peer = (destination, self.source) if direction == "ingress" else (self.source, destination)
        flow = self.flow
        ports = (flow.source_port, port, flow.icmp_type, flow.icmp_code)
        return Packet(node, direction, own, peer, flow.protocol, *ports, fqdn=flow.fqdn)

    def now(self, node: str, direction: Direction) -> Packet:
        return self.packet(node, direction, self.destination, self.flow.destination_port)

    def on_wire(self, node: str, direction: Direction) -> Packet:
        return self.packet(node, direction, self.original, self.original_port)


def node_of(party: Party) -> str:
    """Where a pod or a host's process is; empty for the outside."""
    return party.host if party.pod is None else party.pod.node


def leave(way: Way) -> SideVerdict:
    """The source's side."""
    trail = Trail(way.world)
    if way.source.pod is not None:
        _leave_pod(way, trail, way.source.pod.node)
    elif way.source.host:
        _leave_host(way, trail, way.source.host)
    return trail.side()


def enter(way: Way) -> SideVerdict:
    """The destination's side."""
    trail = Trail(way.world)
    if way.destination.pod is not None:
        _enter_pod(way, trail, way.destination.pod.node)
    elif way.destination.host:
        _enter_host(way, trail, way.destination.host)
    return trail.side()


def pass_on(way: Way, node: str) -> Trail:
    """What a node says that only passes the flow on, in by ``interface`` and out by ``out_interface``."""
    trail = Trail(way.world)
    hosts = way.world.host_interfaces
    entry = governing(hosts, node, way.flow.interface, None)
    _enter_by(way, trail, entry, node)
    trail.ask(entry, "forward", way.now(node, "ingress"))
    trail.ask(governing(hosts, node, way.flow.out_interface, None), "forward", way.now(node, "egress"))
    return trail


def _leave_pod(way: Way, trail: Trail, node: str) -> None:
    """The ``*`` host endpoint acts on the pod's interface; the one of the interface to the outside when it leaves."""
    packet = way.now(node, "egress")
    if way.source.pod is way.destination.pod:
        trail.add(judge(way.world, packet).layers)
        return
    wildcard = wildcard_of(way.world.host_interfaces, node)
    trail.ask(wildcard, "pre-dnat", way.on_wire(node, "ingress"))
    early = set(trail.passed)
    trail.add(judge(way.world, packet).layers)
    for destination, port in way.arrivals:
        trail.passed = set(early)
        if destination.host == node and node:
            trail.add(_to_own_host(way, node))
            continue
        trail.ask(wildcard, "forward", way.packet(node, "ingress", destination, port))
        onward = way.packet(node, "egress", destination, port)
        if not node or node_of(destination) != node:
            trail.ask(_outer(way, way.source, way.flow.source, node), "forward", onward)
        elif way.ends_at_service:
            trail.ask(wildcard, "forward", onward)


def _to_own_host(way: Way, node: str) -> tuple[LayerVerdict, ...]:
    """What happens to a pod's traffic to its own node, after the pod's policy has allowed it."""
    item = closes_host(way.world.policies.calico, node)
    if item is None:
        return ()
    decision = Decision("deny", item.title, item.span("spec", "defaultEndpointToHostAction"), "workload-to-host")
    return (decision.verdict("calico", f"node/{node}"),)


def _leave_host(way: Way, trail: Trail, node: str) -> None:
    """Host processes meet the host endpoint of the interface they leave by, never on the way to their own pods."""
    packets = [way.packet(node, "egress", *arrival) for arrival in way.arrivals if arrival[0].host != node]
    for packet in packets:
        trail.add(judge_node(way.world, packet))
    leaving = [packet for packet in packets if node_of(packet.peer) != node]
    if not leaving:
        return
    outer = _outer(way, way.source, way.flow.source, node)
    trail.ask(outer, "untracked", way.on_wire(node, "egress"))
    for packet in leaving:
        trail.ask(outer, "endpoint", packet)


def _enter_pod(way: Way, trail: Trail, node: str) -> None:
    """From the outside by an interface, whose host endpoint is asked; out to the pod by the pod's own."""
    packet = way.now(node, "ingress")
    local = bool(node) and node_of(way.source) == node
    if not local:
        outer = _outer(way, way.destination, way.flow.destination, node)
        _enter_by(way, trail, outer, node)
        trail.ask(outer, "forward", packet)
    from_host = local and way.source.pod is None
    if not from_host and way.source.pod is not way.destination.pod:
        trail.ask(wildcard_of(way.world.host_interfaces, node), "forward", _turned(packet))
    trail.add(judge(way.world, packet).layers)


def _turned(packet: Packet) -> Packet:
    """The same packet, leaving instead of entering."""
    direction: Direction = "egress" if packet.direction == "ingress" else "ingress"
    return replace(packet, direction=direction, own=packet.peer, peer=packet.own)


def _enter_host(way: Way, trail: Trail, node: str) -> None:
    """What is sent to a service at the node's address does not end in the host: its backends are asked."""
    if way.source.host == node:
        return
    packet = way.now(node, "ingress")
    if way.source.pod is None or way.source.pod.node != node:
        outer = _outer(way, way.destination, way.flow.destination, node)
        _enter_by(way, trail, outer, node)
        if way.ends_at_service:
            _send_on(way, trail, outer, node)
        else:
            trail.ask(outer, "endpoint", packet)
    if not way.ends_at_service:
        trail.add(judge_node(way.world, packet))


def _send_on(way: Way, trail: Trail, outer: HostInterface | None, node: str) -> None:
    """From the outside to a service at the node's address: in by the interface, on to each backend, out again."""
    early = set(trail.passed)
    for destination, port in way.arrivals:
        trail.passed = set(early)
        packet = way.packet(node, "ingress", destination, port)
        if destination.host == node:
            trail.ask(outer, "endpoint", packet)
            continue
        trail.ask(outer, "forward", packet)
        hosts = way.world.host_interfaces
        local = node_of(destination) == node
        beyond = wildcard_of(hosts, node) if local else governing(hosts, node, way.flow.out_interface, None)
        trail.ask(beyond, "forward", _turned(packet))


def _enter_by(way: Way, trail: Trail, outer: HostInterface | None, node: str) -> None:
    """The points before translation."""
    trail.ask(outer, "untracked", way.on_wire(node, "ingress"))
    trail.ask(outer, "pre-dnat", way.on_wire(node, "ingress"))


def _outer(way: Way, end: Party, written: str, node: str) -> HostInterface | None:
    """Who governs the interface between the end's node and the outside: the one that the flow names, else that of an
    end that is written as a host endpoint or has an address that only host endpoints know.
    """
    hosts, interface = way.world.host_interfaces, way.flow.interface
    if interface:
        return governing(hosts, node, interface, end.address if end.host == node else None)
    known = _as_host_endpoint(way, end, written, node)
    if known is None or end.address is None:
        return governing(hosts, node, "", None)
    return standing_in(hosts, known, end.address)


def _as_host_endpoint(way: Way, end: Party, written: str, node: str) -> HostInterface | None:
    if written.startswith("hep/"):
        return way.world.host_interface(written.removeprefix("hep/"))
    if end.host != node or end.node is not None or end.pod is not None:
        return None
    return next(item for item in way.world.host_interfaces if item.node == node and end.address in item.addresses)
