"""A flow taken through one node by its artefact alone: host endpoints, the node itself and local workloads.

In: a `Simulator` and a `Transit`. Out: whether everything that this node decides lets the flow pass. The other end's
node has its own artefact and its own answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Literal

from bpfence.emit.artefact import FailsafeEntry, HostEntry
from bpfence.flows import host_housekeeping, node_housekeeping
from bpfence.simulate.simulator import Address, Answer, Packet, Simulator

Place = Literal["pod", "host", "outside"]
Step = tuple[str, str, str]
"""(who, direction, point). Who: ``source`` or ``destination`` (a workload), ``node``, ``hep`` (the host endpoint of the
interface crossed), ``*`` (that of every interface), ``out`` (that of the interface by which the node passes a packet
on); ``drop`` is a setting of the node
"""

_ENTER: tuple[Step, ...] = (("hep", "ingress", "untracked"), ("hep", "ingress", "pre-dnat"))
_FROM_POD: tuple[Step, ...] = (
    ("*", "ingress", "pre-dnat"),
    ("*", "ingress", "forward"),
    ("source", "egress", "endpoint"),
)
WAYS: dict[tuple[Place, Place], tuple[Step, ...]] = {
    ("outside", "host"): (*_ENTER, ("hep", "ingress", "endpoint"), ("node", "ingress", "endpoint")),
    ("host", "outside"): (
        ("hep", "egress", "untracked"),
        ("hep", "egress", "endpoint"),
        ("node", "egress", "endpoint"),
    ),
    ("outside", "pod"): (
        *_ENTER,
        ("hep", "ingress", "forward"),
        ("*", "egress", "forward"),
        ("destination", "ingress", "endpoint"),
    ),
    ("pod", "outside"): (*_FROM_POD, ("hep", "egress", "forward")),
    ("pod", "pod"): (*_FROM_POD, ("*", "egress", "forward"), ("destination", "ingress", "endpoint")),
    ("pod", "host"): (
        ("*", "ingress", "pre-dnat"),
        ("source", "egress", "endpoint"),
        ("drop", "ingress", "endpoint"),
        ("node", "ingress", "endpoint"),
    ),
    ("host", "pod"): (("node", "egress", "endpoint"), ("destination", "ingress", "endpoint")),
    ("host", "host"): (),
    ("outside", "outside"): (*_ENTER, ("hep", "ingress", "forward"), ("out", "egress", "forward")),
}
"""what is asked on a flow's way, in order"""
EARLY = ("untracked", "pre-dnat")


@dataclass(frozen=True, slots=True)
class Transit:
    """A flow as one node sees it. ``interface``: the host interface it crosses; empty = that of the host endpoint with
    the smallest name. ``host_endpoint``: the one it crosses for sure. ``original``, ``original_port``: the destination
    on the wire before translation; None = the same. ``out_interface``: as ``interface``, where a packet leaves that the
    node passes on between two outside addresses. ``backends``: where the service leads that answers at the destination;
    None = none does.
    """

    source: Address
    destination: Address
    protocol: int
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    interface: str = ""
    out_interface: str = ""
    host_endpoint: str = ""
    original: Address | None = None
    original_port: int | None = None
    backends: tuple[tuple[Address, int], ...] | None = None


def passes(simulator: Simulator, transit: Transit) -> bool:
    """Whether the node lets the flow pass."""
    if transit.backends is None:
        return _Way(simulator, transit).passes(lambda step: True, set())
    done: set[str] = set()
    if not _Way(simulator, transit).passes(_is_before_translation, done):
        return False
    ends = transit.backends or ((transit.destination, transit.destination_port),)
    ways = (replace(transit, destination=address, destination_port=port) for address, port in ends)
    met = frozenset((str(transit.source), str(transit.destination)))
    return all(_Way(simulator, way, met).passes(_is_after_translation, set(done)) for way in ways)


def _is_before_translation(step: Step) -> bool:
    """Whether the step sees a service's address; a workload's own policy does, too."""
    who, _, point = step
    return who == "source" or point in EARLY


def _is_after_translation(step: Step) -> bool:
    """Whether the step sees the backend, on the way from the source."""
    who, direction, point = step
    return point not in EARLY and who not in ("source", "destination") and (who, direction) != ("node", "ingress")


class _Way:
    """``met``: addresses that may be on the interface crossed; None = the two of the flow."""

    def __init__(self, simulator: Simulator, transit: Transit, met: Set[str] | None = None) -> None:
        self._simulator = simulator
        self._transit = transit
        self._met = frozenset((str(transit.source), str(transit.destination))) if met is None else met
        manifest = simulator.manifest
        self._hosts = sorted(manifest.hosts, key=lambda item: item.name)
        self._pods = {ip_address(text): item.name for item in manifest.endpoints for text in item.addresses}
        own = [*manifest.node_addresses, *(text for item in manifest.hosts for text in item.addresses)]
        self._own = frozenset(map(ip_address, own)) - self._pods.keys()

    def passes(self, asked: Callable[[Step], bool], done: set[str]) -> bool:
        """Whether every step of the way that is asked lets the flow pass.

        ``done``: what an earlier rule has settled, as ``NAME`` (all of a host endpoint) or ``NAME ingress``; added to.
        """
        way = WAYS[self._place(self._transit.source), self._place(self._transit.destination)]
        return all(self._lets_pass(step, done) for step in way if asked(step))

    def crossings(self) -> Iterator[Crossing]:
        """See `crossings`."""
        transit = self._transit
        ends = transit.backends or ((transit.destination, transit.destination_port),)
        source, wire = self._place(transit.source), self._packet("", "ingress", original=True)
        local = wire.own in self._own
        if source == "pod":
            pod = self._pods[transit.source]
            leaving = replace(wire, endpoint=pod, direction="egress", own=wire.peer, peer=wire.own)
            yield Crossing(pod, None, leaving, local)
        elif source == "outside":
            yield Crossing("", self._host("hep"), wire, local)
        for address, port in ends:
            yield from self._leaving(source, replace(transit, destination=address, destination_port=port))

    def _leaving(self, source: Place, transit: Transit) -> Iterator[Crossing]:
        """Where the packet leaves the node, once its destination is the last one."""
        place, party = self._place(transit.destination), source == "host"
        way = _Way(self._simulator, transit)
        if place == "pod":
            pod = self._pods[transit.destination]
            yield Crossing(pod, None, way._packet(pod, "ingress"), party, transit.backends is not None)
        elif place == "outside":
            yield Crossing("", self._host("out" if source == "outside" else "hep"), way._packet("", "egress"), party)

    def _place(self, address: Address) -> Place:
        if address in self._pods:
            return "pod"
        return "host" if address in self._own else "outside"

    def _lets_pass(self, step: Step, done: set[str]) -> bool:
        """``done``: what an earlier rule has settled, as ``NAME`` (all of a host endpoint) or ``NAME ingress``."""
        who, direction, point = step
        if who == "drop":
            return not any(host.settings.workload_to_host == "Drop" for host in self._hosts)
        if who in ("source", "destination"):
            end = self._transit.source if who == "source" else self._transit.destination
            return self._simulator.decide(self._packet(self._pods[end], direction)).allowed
        host = self._host(who)
        if host is None or host.name in done or f"{host.name} {direction}" in done:
            return True
        packet = self._packet(host.name, direction, original=point in EARLY)
        if _is_housekeeping(packet) or self._is_failsafe(host, packet, point):
            return True
        answer = self._simulator.decide_host(packet, point) or Answer(True, undecided=True)
        if not answer.undecided and point in EARLY:
            done.add(host.name if point == "untracked" else f"{host.name} ingress")
        return answer.allowed

    def _host(self, who: str) -> HostEntry | None:
        if who == "node":
            return next((item for item in self._hosts if item.name.startswith("node/")), None)
        known = [item for item in self._hosts if item.name.startswith("hep/")]
        wildcard = next((item for item in known if item.interface == "*"), None)
        if who == "*":
            return wildcard
        if self._transit.host_endpoint:
            crossed = next(item for item in known if item.name == self._transit.host_endpoint)
            return _standing_in(crossed, known, self._met)
        interface = self._transit.out_interface if who == "out" else self._transit.interface
        if not interface:
            return next(iter(known), None)
        return _governing(interface, known, frozenset() if who == "out" else self._met)

    def _packet(self, endpoint: str, direction: str, *, original: bool = False) -> Packet:
        transit = self._transit
        destination, port = transit.destination, transit.destination_port
        if original:
            destination = transit.original or destination
            port = port if transit.original_port is None else transit.original_port
        own, peer = (destination, transit.source) if direction == "ingress" else (transit.source, destination)
        return Packet(
            endpoint,
            direction,
            own,
            peer,
            transit.protocol,
            transit.source_port,
            port,
            transit.icmp_type,
            transit.icmp_code,
        )

    def _is_failsafe(self, host: HostEntry, packet: Packet, point: str) -> bool:
        """Failsafe ports guard traffic of the host itself, and before connection tracking all that enters."""
        if point == "forward" or (point == "pre-dnat" and packet.own not in self._own):
            return False
        settings = host.settings
        ports = settings.failsafe_ingress if packet.direction == "ingress" else settings.failsafe_egress
        return any(_is_open(item, packet) for item in ports)


def _governing(interface: str, known: Sequence[HostEntry], on_it: Set[str]) -> HostEntry | None:
    """The first by name that names the interface, or names none and has an address on it; else that of every interface.
    ``on_it``: addresses that may be there.
    """
    if interface == "lo":
        return None
    wildcard = next((item for item in known if item.interface == "*"), None)
    if interface == "*":
        return wildcard
    there = {text for item in known if item.interface == interface for text in item.addresses} | on_it
    candidates = (i for i in known if i.interface == interface or (not i.interface and there & set(i.addresses)))
    return next(candidates, wildcard)


def _standing_in(host: HostEntry, known: Sequence[HostEntry], ends: Set[str]) -> HostEntry:
    """Who governs the interface where a host endpoint stands. ``ends``: one of its addresses is the flow's."""
    if host.interface:
        return _governing(host.interface, known, set()) or host
    met = set(host.addresses) & ends
    places = [item.interface for item in known if item.interface not in ("", "*") and met & set(item.addresses)]
    return _governing(places[0] if places else "?", known, met) or host


def _is_open(item: FailsafeEntry, packet: Packet) -> bool:
    if (item.protocol, item.port) != (packet.protocol, packet.destination_port):
        return False
    network = ip_network(item.network) if item.network else None
    return network is None or (network.version == packet.peer.version and packet.peer in network)


def _is_housekeeping(packet: Packet) -> bool:
    version = packet.peer.version
    if packet.endpoint.startswith("node/"):
        return node_housekeeping(version, packet.protocol, packet.icmp_type, packet.icmp_code)
    return host_housekeeping(version, packet.protocol, packet.icmp_type)


@dataclass(frozen=True, slots=True)
class Crossing:
    """A hook on a flow's way and the packet there. ``workload``: whose interface it is, empty for one of the node,
    which ``host`` governs (None = nobody). ``party``: the node itself is the other side, or the own one. ``backend``:
    of a service that the flow goes to.
    """

    workload: str
    host: HostEntry | None
    packet: Packet
    party: bool
    backend: bool = False


def crossings(simulator: Simulator, transit: Transit) -> tuple[Crossing, ...]:
    """The hooks of one node that a flow passes, in order. Coming in the packet carries the address on the wire, going
    out that of where it ends; with several backends every one of them.
    """
    return tuple(_Way(simulator, transit).crossings())
