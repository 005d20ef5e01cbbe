"""`explain`: the verdict of a flow, and per direction and layer the deciding rule with its place.

In: an `Analysed` program and a `Query`. Out: `Explanation`, as the command prints it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bpfence.analyse.judge import L4Facts
from bpfence.analyse.parties import Party, common_family, find_party
from bpfence.analyse.passage import Finding, L4Packet, Passage
from bpfence.analyse.path import Arrival, Check, End, Paths, Via, Way
from bpfence.analyse.query import EPHEMERAL_PORT, Query
from bpfence.classify.decide import LayerOutcome
from bpfence.classify.services import ServiceCell, find_cell
from bpfence.errors import UsageError
from bpfence.flows import PORT_PROTOCOLS, always_passes
from bpfence.identity.inventory import Address, HostSettings
from bpfence.identity.world import World
from bpfence.ir.expressions import LearntName
from bpfence.ir.nodes import Direction, Program
from bpfence.ir.walk import peer_leaves

Addresses = tuple[Address | None, Address | None]


@dataclass(frozen=True, slots=True)
class Side:
    """One direction. ``endpoint``: who is judged; empty when that party is no policed endpoint."""

    allowed: bool
    endpoint: str
    findings: tuple[Finding, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """``pending``: the answer if the staged policies were in force; None when there are none."""

    egress: Side
    ingress: Side
    notes: tuple[str, ...] = ()
    pending: Explanation | None = None

    @property
    def allowed(self) -> bool:
        return self.egress.allowed and self.ingress.allowed

    def document(self) -> dict[str, Any]:
        """The JSON of interfaces: verdict, egress, ingress, notes, and pending when policies are staged."""
        found: dict[str, Any] = {**_verdicts(self), "notes": list(self.notes)}
        if self.pending is not None:
            found["pending"] = _verdicts(self.pending)
        return found


def default_settings(_node: str) -> HostSettings:
    """What a node does without any configuration."""
    return HostSettings()


class Explainer:
    """Answers many questions about one program.

    ``settings_of``: what a node does with its hosts' traffic. ``pending``: the program with the staged policies.
    """

    def __init__(
        self,
        program: Program,
        world: World,
        node: str,
        services: Sequence[ServiceCell] = (),
        settings_of: Callable[[str], HostSettings] = default_settings,
        pending: Program | None = None,
    ) -> None:
        self._world = world
        self._node = node
        self._services = services
        self._passage = Passage(program, world, services)
        self._paths = Paths(world, settings_of)
        self._pending = None if pending is None else Explainer(pending, world, node, services, settings_of)

    def explain(self, query: Query) -> Explanation:
        """UsageError when a party or the combination makes no sense."""
        source = find_party(query.source, self._world, self._node)
        destination = find_party(query.destination, self._world, self._node)
        if source.fqdn:
            raise UsageError(f"{query.source}: a DNS name can only be a destination")
        addresses = common_family(source, destination, query.implied_family)
        explanation = self._explain_at(query, source, destination, addresses)
        explanation = self._with_other_family(explanation, query, source, destination, addresses)
        return explanation if self._pending is None else replace(explanation, pending=self._pending.explain(query))

    def _with_other_family(
        self, first: Explanation, query: Query, source: Party, destination: Party, used: Addresses
    ) -> Explanation:
        """Say when the other family of two dual-stack parties would be answered differently."""
        if used[0] is None or used[1] is None or query.implied_family is not None:
            return first
        other = 6 if used[0].version == 4 else 4
        try:
            addresses = common_family(source, destination, other)
        except UsageError:
            return first
        second = self._explain_at(query, source, destination, addresses)
        if second.allowed == first.allowed:
            return first
        note = f"over IPv{other} the answer differs: {_word(second.allowed)} (ask with --family {other})"
        return replace(first, notes=(*first.notes, note))

    def _explain_at(self, query: Query, source: Party, destination: Party, addresses: Addresses) -> Explanation:
        if source.entity is not None and source.entity is destination.entity and source.policed:
            note = "a pod always reaches itself"
            return Explanation(Side(True, source.text, note=note), Side(True, destination.text, note=note))
        near = End(source.entity, addresses[0])
        far = End(destination.entity, addresses[1], destination.fqdn or query.fqdn)
        way = Way(near, far, self._original(query, far), self._backends(query, far))
        checks = self._checks(query, way)
        packet = L4Packet(_facts(query), _version(query, addresses))
        findings = self._passage.take(checks, packet)
        sides = (_side(near, Direction.EGRESS, checks, findings), _side(far, Direction.INGRESS, checks, findings))
        if always_passes(packet.version, query.protocol, query.icmp_type, query.icmp_code):
            note = "neighbour discovery, multicast listener and path MTU messages always pass at workloads"
            sides = (_with_note(sides[0], note), _with_note(sides[1], note))
        notes = (*self._way_notes(query, checks, near, far), *self._name_notes(checks, packet, findings, far))
        return Explanation(*sides, (*notes, *self._backend_notes(query, way)))

    def _checks(self, query: Query, way: Way) -> tuple[Check, ...]:
        via = Via(query.interface, query.out_interface)
        if not via.out_interface or way.source.node or way.destination.node:
            return self._paths.checks(way, via)
        nodes = self._paths.nodes
        node = self._node if self._node in nodes or len(nodes) != 1 else nodes[0]
        if not node:
            raise UsageError("choose the node that passes the traffic on with --node")
        return self._paths.forwarded(way, node, via)

    def _original(self, query: Query, far: End) -> Arrival | None:
        if not query.original_destination:
            return None if query.original_port is None else Arrival(far, query.original_port)
        party = find_party(query.original_destination, self._world, self._node)
        version = None if far.address is None else far.address.version
        address = next((item for item in party.addresses if version in (None, item.version)), None)
        return Arrival(End(party.entity, address), query.original_port)

    def _backends(self, query: Query, far: End) -> tuple[Arrival, ...] | None:
        """Where a service leads that answers at the destination; None: no service does."""
        if far.address is None:
            return None
        cell = find_cell(self._services, far.address, query.protocol, query.destination_port)
        if cell is None:
            return None
        parties = (
            (find_party(str(address), self._world, self._node).entity, address, n) for address, n in cell.backends
        )
        return tuple(Arrival(End(entity, address), number) for entity, address, number in parties)

    def _way_notes(self, query: Query, checks: Iterable[Check], *ends: End) -> list[str]:
        """What was assumed about interfaces."""
        asked = {check.subject.name for check in checks if check.subject.kind == "hostendpoint"}
        notes: dict[str, None] = {}
        for end in ends:
            hosts = self._paths.hosts(end.node)
            named = end.entity is not None and end.entity.kind == "hostendpoint"
            default = hosts.default()
            if named and end.entity is not None and (winner := hosts.winner(end.entity)) is not end.entity:
                notes[f"{end.entity.name} polices nothing: {winner.name} governs its interface"] = None
            if named or query.interface or default is None or default.name not in asked or len(hosts.active) < 2:
                continue
            notes[f"node {end.node} has several host endpoints, {default.name} was asked (choose with --interface)"] = (
                None
            )
        return list(notes)

    def _name_notes(
        self, checks: Iterable[Check], packet: L4Packet, findings: Sequence[Finding], far: End
    ) -> list[str]:
        """Where names matter: an unknown address, or a name that would open what is denied."""
        if far.fqdn:
            return [] if far.address else [f"the address of {far.fqdn} is not known: no rule about a prefix matches it"]
        if far.entity is not None or all(item.outcome.allowed for item in findings):
            return []
        asked = tuple(checks)
        for name in self._example_names(asked):
            named = [replace(check, peer=replace(check.peer, fqdn=name)) for check in asked]
            if all(item.outcome.allowed for item in self._passage.take(named, packet)):
                return [f"no name is taken as learnt for {far.address}: one like {name} would open it (ask with fqdn)"]
        return []

    def _example_names(self, checks: Iterable[Check]) -> list[str]:
        """A name for each pattern that the rows of the checks mention."""
        rows = [row for check in checks if check.direction is Direction.EGRESS and (row := self._passage.row(check))]
        rules = [rule for row in rows for layer in row.layers for tier in layer.tiers for rule in tier.rules]
        patterns = (
            pattern
            for rule in rules
            for leaf in peer_leaves(rule.peer)
            if isinstance(leaf, LearntName)
            for pattern in leaf.patterns
        )
        return list(dict.fromkeys(example_name(pattern) for pattern in patterns))

    def _backend_notes(self, query: Query, way: Way) -> list[str]:
        """Backends of a service that would refuse what the source may send: that is decided there."""
        notes = []
        for arrival in way.backends or ():
            if not way.source.is_pod or arrival.end.address is None or arrival.end.entity is way.source.entity:
                continue
            checks = [c for c in self._paths.checks(Way(way.source, arrival.end)) if c.side is Direction.INGRESS]
            packet = L4Packet(replace(_facts(query), destination_port=arrival.port), arrival.end.address.version)
            if not all(finding.outcome.allowed for finding in self._passage.take(checks, packet)):
                name = arrival.end.entity.name if arrival.end.entity is not None else str(arrival.end.address)
                notes.append(f"the backend {name} denies it on ingress")
        return notes


def example_name(pattern: str) -> str:
    """A name that satisfies a name pattern: every wildcard stands for one letter."""
    text = pattern.rstrip(".")
    while "**" in text:
        text = text.replace("**", "*")
    return text.replace("*", "a")


def _facts(query: Query) -> L4Facts:
    ports = query.protocol in PORT_PROTOCOLS
    source_port = query.source_port
    if source_port is None and query.destination_port is not None:
        source_port = EPHEMERAL_PORT  # without any port the packet is one whose ports can't be read
    return L4Facts(
        query.protocol,
        source_port if ports else None,
        query.destination_port if ports else None,
        query.icmp_type,
        query.icmp_code,
    )


def _version(query: Query, addresses: Addresses) -> int:
    known = addresses[1] or addresses[0]
    return known.version if known is not None else {1: 4, 58: 6}.get(query.protocol, 0)


def _side(end: End, direction: Direction, checks: Iterable[Check], findings: Iterable[Finding]) -> Side:
    mine = tuple(item for item in findings if item.side is direction)
    endpoint = _endpoint(end, [check.subject.name for check in checks if check.side is direction], mine)
    if mine:
        return Side(all(item.outcome.allowed for item in mine), endpoint, mine)
    return Side(True, endpoint, note=f"no policy restricts its {direction}" if endpoint else "no policed endpoint")


def _endpoint(end: End, asked: Sequence[str], findings: Sequence[Finding]) -> str:
    """The pod; for a host the host endpoint that is asked, else whoever had something to say."""
    if end.is_pod and end.entity is not None:
        return end.entity.name
    candidates = [name for name in asked if name.startswith("hep/")] + [item.endpoint for item in findings]
    return candidates[0] if candidates else ""


def _with_note(side: Side, note: str) -> Side:
    return side if side.findings or not side.endpoint else replace(side, note=note)


def _word(allowed: bool) -> str:
    return "allow" if allowed else "deny"


def _verdicts(explanation: Explanation) -> dict[str, Any]:
    return {
        "verdict": _word(explanation.allowed),
        "egress": _side_document(explanation.egress),
        "ingress": _side_document(explanation.ingress),
    }


def _side_document(side: Side) -> dict[str, Any]:
    return {
        "verdict": _word(side.allowed),
        "endpoint": side.endpoint,
        "note": side.note,
        "layers": [finding_document(item) for item in side.findings],
    }


def finding_document(finding: Finding) -> dict[str, Any]:
    """One layer at one endpoint of a side."""
    return {**layer_document(finding.outcome), "endpoint": finding.endpoint, "point": str(finding.point)}


def layer_document(outcome: LayerOutcome) -> dict[str, Any]:
    """What one layer says."""
    origin = outcome.origin
    place = None if origin is None else {"path": origin.span.path, "line": origin.span.line}
    return {
        "layer": outcome.layer,
        "verdict": _word(outcome.allowed),
        "tier": outcome.tier,
        "policy": origin.policy if origin is not None else "",
        "rule": origin.field if origin is not None else "",
        "origin": place,
        "reason": outcome.reason,
        "isolated_by": [item.policy for item in outcome.isolating],
    }
