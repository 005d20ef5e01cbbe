"""The way of a flow: which endpoints are asked about it, at which points, in which order.

In: the two ends of a flow and the world's host endpoints. Out: `Check`s. Each end is judged on its own node:

=============================== ============================================================================
traffic                         checks (H: the host endpoint of the interface it crosses, ``*``: the node's one of every
                                interface, which alone acts on the interfaces of pods)
=============================== ============================================================================
outside -> host                 H untracked in, pre-DNAT in, endpoint in; the node itself
host -> outside                 H untracked out, endpoint out; the node itself
outside -> pod                  H untracked in, pre-DNAT in, forward in; ``*`` forward out; the pod
outside -> NodePort             H untracked in, pre-DNAT in; then as to each backend, without the pod
pod -> outside                  ``*`` pre-DNAT in, forward in; the pod; H forward out
pod -> pod of the node          ``*`` pre-DNAT in, forward in, forward out; both pods
pod -> its own host             ``*`` pre-DNAT in; the pod; what the node does with such traffic; the node itself
host -> its own pod             the node itself; the pod
=============================== ============================================================================

Another node and its pods are outside for the node that is asked. "The node itself" are policies that select nodes by
their labels; they do not see what the node forwards. Failsafe ports are open for the node's own traffic there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bpfence.identity.host_interfaces import NO_HOSTS, NodeHosts, hosts_by_node
from bpfence.identity.inventory import Address, FailsafePort, HostSettings
from bpfence.identity.world import Entity, World
from bpfence.ir.nodes import Direction, Point

IN, OUT = Direction.INGRESS, Direction.EGRESS


@dataclass(frozen=True, slots=True)
class End:
    """One end of a flow. ``entity``: a pod, a node, a host endpoint (its node's processes), a service; None: outside.

    ``fqdn``: the name under which the other end has learnt the address.
    """

    entity: Entity | None
    address: Address | None
    fqdn: str = ""

    @property
    def is_pod(self) -> bool:
        return self.entity is not None and self.entity.kind == "pod"

    @property
    def is_host(self) -> bool:
        return self.entity is not None and self.entity.kind in ("node", "hostendpoint")

    @property
    def node(self) -> str:
        """Where the end is; empty for the outside and for services."""
        return self.entity.node if self.entity is not None and (self.is_pod or self.is_host) else ""


@dataclass(frozen=True, slots=True)
class Check:
    """One endpoint asked about a flow. ``side``: EGRESS on the source's node, INGRESS on the destination's.

    ``own`` is the end on the subject's side of the packet: the destination on ingress. ``port``: the destination port
    that the check sees, None = the flow's. ``failsafe``: ports that the check lets pass unasked. ``closed``: no
    question but a setting that drops the flow.
    """

    side: Direction
    subject: Entity
    direction: Direction
    point: Point
    own: End
    peer: End
    port: int | None = None
    failsafe: tuple[FailsafePort, ...] = ()
    closed: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where a packet goes. ``port``: the destination port there, None = the flow's."""

    end: End
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """A flow with its ends.

    ``original``: the destination on the wire when it has been translated since; None = the same. ``backends``: where it
    ends when the destination is a service's address (or a node's, at a NodePort); None = it is no service.
    """

    source: End
    destination: End
    original: Arrival | None = None
    backends: tuple[Arrival, ...] | None = None

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        """Where the flow can end: the backends of a service that has some, else the destination."""
        return self.backends or (Arrival(self.destination),)

    @property
    def on_wire(self) -> Arrival:
        return self.original or Arrival(self.destination)


@dataclass(frozen=True, slots=True)
class Via:
    """Which interfaces of hosts the traffic crosses; empty = the host endpoint with the smallest name."""

    interface: str = ""
    out_interface: str = ""


ANY_WAY = Via()
WORKLOAD_TO_HOST = "workload-to-host"


def is_failsafe(ports: tuple[FailsafePort, ...], protocol: int, port: int | None, remote: Address | None) -> bool:
    """Whether one of the failsafe ports lets the packet pass. ``remote``: the address outside the host."""
    return any(
        (item.protocol, item.port) == (protocol, port)
        and (item.network is None or (remote is not None and remote in item.network))
        for item in ports
    )


class Paths:
    """Finds the checks of flows in one world. ``settings_of``: what a node's configuration says."""

    def __init__(self, world: World, settings_of: Callable[[str], HostSettings]) -> None:
        self._world = world
        self._settings_of = settings_of
        self._hosts = hosts_by_node(world)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that have host endpoints."""
        return tuple(sorted(self._hosts))

    def hosts(self, node: str) -> NodeHosts:
        """The node's host endpoints."""
        return self._hosts.get(node, NO_HOSTS)

    def host_endpoint(self, end: End, via: Via = ANY_WAY) -> Entity | None:
        """The host endpoint that traffic between the end's node and the outside meets: at the interface that was said,
        else where the end itself is a host endpoint there, else the one with the smallest name.
        """
        hosts = self.hosts(end.node)
        if via.interface:
            return hosts.governing(via.interface, end.address if end.is_host else None)
        if end.entity is not None and end.entity.kind == "hostendpoint":
            return hosts.winner(end.entity, end.address)
        return hosts.default()

    def checks(self, way: Way, via: Via = ANY_WAY) -> tuple[Check, ...]:
        """Every check of the flow, in order."""
        return (*self._leaving(way, via), *self._entering(way, via))

    def forwarded(self, way: Way, node: str, via: Via) -> tuple[Check, ...]:
        """The checks of a flow between two outside addresses that the node passes on."""
        hosts, settings = self.hosts(node), self._settings_of(node)
        entry = hosts.governing(via.interface) if via.interface else hosts.default()
        leaving = hosts.governing(via.out_interface) if via.out_interface else hosts.default()
        return (
            *_enter(way, entry, settings, node),
            *_in(way.source, Arrival(way.destination), entry, IN, Point.FORWARD),
            *_out(way.source, Arrival(way.destination), leaving, IN, Point.FORWARD),
        )

    def _leaving(self, way: Way, via: Via) -> Iterator[Check]:
        if way.source.is_host:
            yield from self._leaving_host(way, via)
        elif way.source.is_pod:
            yield from self._leaving_pod(way, via)

    def _leaving_host(self, way: Way, via: Via) -> Iterator[Check]:
        """A host's processes meet a host endpoint only towards the outside."""
        source, node = way.source, way.source.node
        kept = self._settings_of(node).failsafe_egress
        arrivals = [item for item in way.arrivals if not (item.end.is_host and item.end.node == node)]
        leaving = [item for item in arrivals if item.end.node != node]
        crossed = self.host_endpoint(source, via)
        if leaving:
            yield from _out(source, way.on_wire, crossed, OUT, Point.UNTRACKED, kept)
        for arrival in arrivals:
            if arrival in leaving:
                yield from _out(source, arrival, crossed, OUT, Point.ENDPOINT, kept)
            yield from _out(source, arrival, self._node(node), OUT, Point.ENDPOINT, kept)

    def _leaving_pod(self, way: Way, via: Via) -> Iterator[Check]:
        source, node = way.source, way.source.node
        hosts, settings = self.hosts(node), self._settings_of(node)
        wire = way.on_wire
        kept = settings.failsafe_ingress if _is_at(wire.end, node) else ()
        yield from _in(source, wire, hosts.wildcard, OUT, Point.PRE_DNAT, kept)
        yield from _out(source, Arrival(way.destination), source.entity, OUT, Point.ENDPOINT)
        for arrival in way.arrivals:
            if _is_at(arrival.end, node):
                yield from self._to_own_host(source, arrival, settings)
                continue
            yield from _in(source, arrival, hosts.wildcard, OUT, Point.FORWARD)
            if not node or arrival.end.node != node:
                yield from _out(source, arrival, self.host_endpoint(source, via), OUT, Point.FORWARD)
            elif way.backends:
                yield from _out(source, arrival, hosts.wildcard, OUT, Point.FORWARD)

    def _to_own_host(self, source: End, arrival: Arrival, settings: HostSettings) -> Iterator[Check]:
        """What the node does with its pods' traffic to itself."""
        subject = self._node(source.node) or arrival.end.entity
        if settings.workload_to_host == "Drop" and subject is not None:
            yield Check(OUT, subject, IN, Point.ENDPOINT, arrival.end, source, closed=WORKLOAD_TO_HOST)

    def _entering(self, way: Way, via: Via) -> Iterator[Check]:
        source, destination = way.source, way.destination
        if not destination.is_pod and not destination.is_host:
            return
        node, arrival = destination.node, Arrival(destination)
        hosts, settings = self.hosts(node), self._settings_of(node)
        local = node != "" and source.node == node
        if local and source.is_host and destination.is_host:
            return
        crossed = None if local else self.host_endpoint(destination, via)
        yield from _enter(way, crossed, settings, node)
        if destination.is_pod:
            yield from _in(source, arrival, crossed, IN, Point.FORWARD)
            if not (local and source.is_host):
                yield from _out(source, arrival, hosts.wildcard, IN, Point.FORWARD)
            yield from _in(source, arrival, destination.entity, IN, Point.ENDPOINT)
        elif way.backends is None:
            yield from _in(source, arrival, crossed, IN, Point.ENDPOINT, settings.failsafe_ingress)
            yield from _in(source, arrival, self._node(node), IN, Point.ENDPOINT, settings.failsafe_ingress)
        elif not local:
            for arrival in way.arrivals:
                yield from self._translated(source, arrival, crossed, node, via)

    def _translated(
        self, source: End, arrival: Arrival, crossed: Entity | None, node: str, via: Via
    ) -> Iterator[Check]:
        """A packet from the outside that the node has sent on to a service's backend."""
        hosts, settings = self.hosts(node), self._settings_of(node)
        if _is_at(arrival.end, node):
            yield from _in(source, arrival, crossed, IN, Point.ENDPOINT, settings.failsafe_ingress)
            return
        leaving = hosts.governing(via.out_interface) if via.out_interface else hosts.default()
        yield from _in(source, arrival, crossed, IN, Point.FORWARD)
        yield from _out(source, arrival, hosts.wildcard if arrival.end.node == node else leaving, IN, Point.FORWARD)

    def _node(self, name: str) -> Entity | None:
        return self._world.by_name.get(f"node/{name}")


def _is_at(end: End, node: str) -> bool:
    """Whether the end is the node itself."""
    return end.is_host and end.node == node


def _enter(way: Way, entry: Entity | None, settings: HostSettings, node: str) -> Iterator[Check]:
    """A packet comes in by a host endpoint: the points before translation."""
    kept = settings.failsafe_ingress
    yield from _in(way.source, way.on_wire, entry, IN, Point.UNTRACKED, kept)
    yield from _in(way.source, way.on_wire, entry, IN, Point.PRE_DNAT, kept if _is_at(way.on_wire.end, node) else ())


def _in(
    source: End,
    arrival: Arrival,
    subject: Entity | None,
    side: Direction,
    point: Point,
    failsafe: tuple[FailsafePort, ...] = (),
) -> Iterator[Check]:
    """A packet that comes in at the subject, if there is one."""
    if subject is not None:
        yield Check(side, subject, IN, point, arrival.end, source, arrival.port, failsafe)


def _out(
    source: End,
    arrival: Arrival,
    subject: Entity | None,
    side: Direction,
    point: Point,
    failsafe: tuple[FailsafePort, ...] = (),
) -> Iterator[Check]:
    """A packet that goes out at the subject, if there is one."""
    if subject is not None:
        yield Check(side, subject, OUT, point, source, arrival.end, arrival.port, failsafe)


def skips(earlier: Check, later: Check) -> bool:
    """Whether a rule that decided at the earlier check makes the later one needless: before connection tracking it is
    for all of that host endpoint, before translation for the rest of its way in.
    """
    if earlier.subject is not later.subject:
        return False
    if earlier.point is Point.UNTRACKED:
        return True
    return earlier.point is Point.PRE_DNAT and later.direction is IN
