"""The way of a flow: which endpoints are asked about it, at which points, in which order.

In: the two ends of a flow and the world's host endpoints. Out: `Check`s. Each end is judged on its own node:

=============================== ============================================================================
traffic                         checks (H: the host endpoint of the interface it crosses, ``*``: the node's one of every
                                interface, which alone acts on the interfaces of pods)
=============================== ============================================================================
outside -> host                 H untracked in, pre-DNAT in, endpoint in; the node itself
host -> outside                 H untracked out, endpoint out; the node itself
outside -> pod                  H untracked in, pre-DNAT in, forward in; ``*`` forward out; the pod
pod -> outside                  ``*`` pre-DNAT in, forward in; the pod; H forward out
pod -> pod of the node          ``*`` pre-DNAT in, forward in, forward out; both pods
pod -> its own host             ``*`` pre-DNAT in; the pod; what the node does with such traffic; the node itself
host -> its own pod             the node itself; the pod
=============================== ============================================================================

Another node and its pods are outside for the node that is asked. "The node itself" are policies that select nodes by
their labels; they do not see what the node forwards.
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

    ``own`` is the end on the subject's side of the packet: the destination on ingress. ``original``: the destination is
    the one on the wire, before any translation. ``failsafe``: ports that the check lets pass unasked. ``closed``:
    not a question but a setting that drops the flow.
    """

    side: Direction
    subject: Entity
    direction: Direction
    point: Point
    own: End
    peer: End
    original: bool = False
    failsafe: tuple[FailsafePort, ...] = ()
    closed: str = ""


@dataclass(frozen=True, slots=True)
class Via:
    """Which interfaces of hosts the traffic crosses; empty = the host endpoint with the smallest name."""

    interface: str = ""
    out_interface: str = ""


ANY_WAY = Via()
WORKLOAD_TO_HOST = "workload-to-host"


def is_allowed_failsafe(
    ports: tuple[FailsafePort, ...], protocol: int, port: int | None, remote: Address | None
) -> bool:
    """Whether one of the failsafe ports lets the packet pass. ``remote``: the address outside the host."""
    return any(
        (item.protocol, item.port) == (protocol, port)
        and (
            item.network is None
            or (remote is not None and remote.version == item.network.version and remote in item.network)
        )
        for item in ports
    )


class Paths:
    """Finds the checks of flows in one world. ``settings_of``: what a node's FelixConfiguration says."""

    def __init__(self, world: World, settings_of: Callable[[str], HostSettings]) -> None:
        self._world = world
        self._settings_of = settings_of
        self._hosts = hosts_by_node(world)

    def hosts(self, node: str) -> NodeHosts:
        """The node's host endpoints."""
        return self._hosts.get(node, NO_HOSTS)

    def host_endpoint(self, end: End, via: Via = ANY_WAY) -> Entity | None:
        """The host endpoint that traffic between the end's node and the outside meets."""
        hosts = self.hosts(end.node)
        if end.entity is not None and end.entity.kind == "hostendpoint":
            return hosts.winner(end.entity)
        if via.interface:
            return hosts.governing(via.interface, end.address if end.is_host else None)
        return hosts.default()

    def checks(
        self, source: End, destination: End, via: Via = ANY_WAY, original: End | None = None
    ) -> tuple[Check, ...]:
        """Every check of the flow, in order. ``original``: the destination on the wire when it differs."""
        local = source.node != "" and source.node == destination.node
        if local and source.is_host and destination.is_host:
            return ()
        way = _Way(source, destination, original or destination, local)
        return (*self._leaving(way, via), *self._entering(way, via))

    def forwarded(self, source: End, destination: End, node: str, via: Via) -> tuple[Check, ...]:
        """The checks of a flow between two outside addresses that the node passes on."""
        way = _Way(source, destination, destination, False)
        hosts, settings = self.hosts(node), self._settings_of(node)
        entry = hosts.governing(via.interface) if via.interface else hosts.default()
        leaving = hosts.governing(via.out_interface) if via.out_interface else hosts.default()
        found = [] if entry is None else list(_enter(way, entry, settings, Point.FORWARD))
        return (*found, *_at(way, leaving, OUT, Point.FORWARD, OUT))

    def _leaving(self, way: _Way, via: Via) -> Iterator[Check]:
        source = way.source
        hosts, settings = self.hosts(source.node), self._settings_of(source.node)
        if source.is_host:
            if not way.local:
                leaving = self.host_endpoint(source, via)
                yield from _at(way, leaving, OUT, Point.UNTRACKED, OUT, settings.failsafe_egress, original=True)
                yield from _at(way, leaving, OUT, Point.ENDPOINT, OUT, settings.failsafe_egress)
            yield from _at(way, self._node(source.node), OUT, Point.ENDPOINT, OUT, settings.failsafe_egress)
        if not source.is_pod:
            return
        kept = settings.failsafe_ingress if way.original.is_host and way.original.node == source.node else ()
        yield from _at(way, hosts.wildcard, OUT, Point.PRE_DNAT, IN, kept, original=True)
        to_host = way.local and way.destination.is_host
        if not to_host:
            yield from _at(way, hosts.wildcard, OUT, Point.FORWARD, IN)
        yield from _at(way, source.entity, OUT, Point.ENDPOINT, OUT)
        if to_host and settings.workload_to_host == "Drop" and way.destination.entity is not None:
            yield Check(
                OUT, way.destination.entity, IN, Point.ENDPOINT, way.destination, source, closed=WORKLOAD_TO_HOST
            )
        if not way.local:
            yield from _at(way, self.host_endpoint(source, via), OUT, Point.FORWARD, OUT)

    def _entering(self, way: _Way, via: Via) -> Iterator[Check]:
        destination = way.destination
        if not destination.is_pod and not destination.is_host:
            return
        hosts, settings = self.hosts(destination.node), self._settings_of(destination.node)
        last = Point.FORWARD if destination.is_pod else Point.ENDPOINT
        entry = None if way.local else self.host_endpoint(destination, via)
        if entry is not None:
            yield from _enter(way, entry, settings, last)
        if destination.is_host:
            yield from _at(way, self._node(destination.node), IN, Point.ENDPOINT, IN, settings.failsafe_ingress)
            return
        if not (way.local and way.source.is_host):
            yield from _at(way, hosts.wildcard, IN, Point.FORWARD, OUT)
        yield from _at(way, destination.entity, IN, Point.ENDPOINT, IN)

    def _node(self, name: str) -> Entity | None:
        return self._world.by_name.get(f"node/{name}")


@dataclass(frozen=True, slots=True)
class _Way:
    source: End
    destination: End
    original: End
    local: bool


def _enter(way: _Way, entry: Entity, settings: HostSettings, last: Point) -> Iterator[Check]:
    """A packet comes in by a host endpoint. ``last``: ENDPOINT when it ends in the host, FORWARD when it goes on."""
    kept = settings.failsafe_ingress
    yield from _at(way, entry, IN, Point.UNTRACKED, IN, kept, original=True)
    own = way.original.is_host and way.original.node == entry.node
    yield from _at(way, entry, IN, Point.PRE_DNAT, IN, kept if own else (), original=True)
    yield from _at(way, entry, IN, last, IN, kept if last is Point.ENDPOINT else ())


def _at(
    way: _Way,
    subject: Entity | None,
    side: Direction,
    point: Point,
    direction: Direction,
    failsafe: tuple[FailsafePort, ...] = (),
    original: bool = False,
) -> Iterator[Check]:
    """The check of one subject, if there is one."""
    if subject is None:
        return
    destination = way.original if original else way.destination
    own, peer = (destination, way.source) if direction is IN else (way.source, destination)
    yield Check(side, subject, direction, point, own, peer, original, failsafe)


def skips(earlier: Check, later: Check) -> bool:
    """Whether a rule that decided at the earlier check makes the later one needless: before connection tracking it is
    for all of that host endpoint, before translation for the rest of its way in.
    """
    if earlier.subject is not later.subject:
        return False
    if earlier.point is Point.UNTRACKED:
        return True
    return earlier.point is Point.PRE_DNAT and later.direction is IN
