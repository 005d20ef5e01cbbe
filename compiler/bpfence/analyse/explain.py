"""`explain`: the verdict of a flow, and per direction and layer the deciding rule with its place.

In: an `Analysed` program and a `Query`. Out: `Explanation`, as the command prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bpfence.analyse.judge import Judgement, L4Facts, judge
from bpfence.analyse.parties import Party, common_family, find_party, place_of_party
from bpfence.classify.classification import index_program
from bpfence.classify.decide import LayerOutcome
from bpfence.classify.rows import RowBuilder, Subject
from bpfence.errors import UsageError
from bpfence.flows import ICMP_PROTOCOLS, PORT_PROTOCOLS, PROTOCOL_NUMBERS, always_passes
from bpfence.identity.inventory import Address
from bpfence.identity.named_ports import cluster_ports
from bpfence.identity.world import World
from bpfence.ir.nodes import Direction, Program

EPHEMERAL_PORT = 40000
"""the source port of a question that names none"""


@dataclass(frozen=True, slots=True)
class Query:
    """A question, its numbers checked."""

    source: str
    destination: str
    protocol: int
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    family: int | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """One direction. ``endpoint``: who is judged; empty when that party is no policed endpoint."""

    allowed: bool
    endpoint: str
    layers: tuple[LayerOutcome, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    egress: Side
    ingress: Side
    notes: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        return self.egress.allowed and self.ingress.allowed

    def document(self) -> dict[str, Any]:
        """The JSON of interfaces: verdict, egress, ingress."""
        return {
            "verdict": _word(self.allowed),
            "egress": _side_document(self.egress),
            "ingress": _side_document(self.ingress),
            "notes": list(self.notes),
        }


class Explainer:
    """Answers many questions about one program."""

    def __init__(self, program: Program, world: World, node: str) -> None:
        self._world = world
        self._node = node
        self._rows = RowBuilder(program, world, index_program(program, world))
        self._cluster = cluster_ports(world.entities)

    def explain(self, query: Query) -> Explanation:
        """UsageError when a party or the combination makes no sense."""
        source = find_party(query.source, self._world, self._node)
        destination = find_party(query.destination, self._world, self._node)
        addresses = common_family(source, destination, _implied_family(query))
        explanation = self._explain_at(query, source, destination, addresses)
        return self._with_other_family(explanation, query, source, destination, addresses)

    def _with_other_family(
        self,
        first: Explanation,
        query: Query,
        source: Party,
        destination: Party,
        used: tuple[Address | None, Address | None],
    ) -> Explanation:
        """Say when the other family of two dual-stack parties would be answered differently."""
        if used[0] is None or used[1] is None or _implied_family(query) is not None:
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
        return Explanation(first.egress, first.ingress, (*first.notes, note))

    def _explain_at(
        self, query: Query, source: Party, destination: Party, addresses: tuple[Address | None, Address | None]
    ) -> Explanation:
        if source.entity is not None and source.entity is destination.entity and source.policed:
            note = "a pod always reaches itself"
            return Explanation(Side(True, source.text, note=note), Side(True, destination.text, note=note))
        version = {1: 4, 58: 6}.get(query.protocol, 0) if addresses[1] is None else addresses[1].version
        if always_passes(version, query.protocol, query.icmp_type, query.icmp_code):
            note = "neighbour discovery, multicast listener and path MTU messages always pass"
            return Explanation(Side(True, _endpoint(source), note=note), Side(True, _endpoint(destination), note=note))
        egress = self._side(source, addresses[0], destination, addresses[1], Direction.EGRESS, query)
        ingress = self._side(destination, addresses[1], source, addresses[0], Direction.INGRESS, query)
        return Explanation(egress, ingress)

    def _side(
        self,
        own: Party,
        own_address: Address | None,
        peer: Party,
        peer_address: Address | None,
        direction: Direction,
        query: Query,
    ) -> Side:
        if not own.policed or own.entity is None:
            return Side(True, "", note="no policed endpoint")
        name = own.entity.name
        row = self._rows.row(Subject(own.entity, own_address), direction)
        if row is None:
            return Side(True, name, note=f"no policy restricts its {direction}")
        facts = _facts(query)
        judgement: Judgement = judge(row, place_of_party(peer, peer_address, self._world), facts, self._cluster)
        return Side(judgement.allowed, name, judgement.layers)


def _facts(query: Query) -> L4Facts:
    ports = query.protocol in PORT_PROTOCOLS
    source_port = query.source_port if query.source_port is not None else EPHEMERAL_PORT
    return L4Facts(
        query.protocol,
        source_port if ports else None,
        query.destination_port if ports else None,
        query.icmp_type,
        query.icmp_code,
    )


def _implied_family(query: Query) -> int | None:
    if query.family is not None:
        return query.family
    return {1: 4, 58: 6}.get(query.protocol)


def _endpoint(party: Party) -> str:
    return party.entity.name if party.policed and party.entity is not None else ""


def make_query(values: dict[str, Any]) -> Query:
    """A question from the keys of a batch line or the options of the command. UsageError naming what is wrong."""
    protocol = parse_protocol(values.get("protocol"))
    ports = protocol in PORT_PROTOCOLS
    icmp = protocol in ICMP_PROTOCOLS
    destination_port = _number(values, "dst_port", 65535)
    if ports and destination_port is None:
        raise UsageError(f"protocol {values.get('protocol')} needs a destination port (dst_port)")
    icmp_type = _number(values, "icmp_type", 255)
    if icmp and icmp_type is None:
        icmp_type = 8 if protocol == 1 else 128
    icmp_code = _number(values, "icmp_code", 255)
    return Query(
        _text(values, "src"),
        _text(values, "dst"),
        protocol,
        _number(values, "src_port", 65535),
        destination_port,
        icmp_type if icmp else None,
        (0 if icmp_code is None else icmp_code) if icmp else None,
        _family(values.get("family")),
    )


def parse_protocol(value: object) -> int:
    """``TCP``, ``icmpv6``, a number 0-255 or its text."""
    if isinstance(value, str) and value.upper() in PROTOCOL_NUMBERS:
        return PROTOCOL_NUMBERS[value.upper()]
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if text.isascii() and text.isdigit() and int(text) <= 255:
        return int(text)
    raise UsageError(f"protocol {value!r}: give TCP, UDP, SCTP, ICMP, ICMPv6 or a number 0-255")


def _family(value: object) -> int | None:
    if value is None:
        return None
    if str(value) in ("4", "6"):
        return int(str(value))
    raise UsageError(f"family {value!r}: give 4 or 6")


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{key} is missing")
    return value


def _number(values: dict[str, Any], key: str, most: int) -> int | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise UsageError(f"{key} must be a number from 0 to {most}, not {value!r}")
    return value


def _word(allowed: bool) -> str:
    return "allow" if allowed else "deny"


def _side_document(side: Side) -> dict[str, Any]:
    return {
        "verdict": _word(side.allowed),
        "endpoint": side.endpoint,
        "note": side.note,
        "layers": [layer_document(layer) for layer in side.layers],
    }


def layer_document(outcome: LayerOutcome) -> dict[str, Any]:
    """One layer of a side."""
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
