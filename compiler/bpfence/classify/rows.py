"""Policy rows: which tiers and rules concern an endpoint in a direction. Endpoints with the same answer share one row.

In: the program, the world's label index, the subjects. Out: `RowKey`s (hashable: equal keys, equal rows) per
endpoint, own address and direction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from bpfence.identity.inventory import Address, Network
from bpfence.identity.labels import Bits, LabelIndex, value_predicate
from bpfence.identity.named_ports import PortNumbers, own_names
from bpfence.identity.world import Entity, World
from bpfence.ir.expressions import (
    ANYONE,
    HasObject,
    InPrefixes,
    LabelAll,
    LabelAny,
    LabelExpr,
    LabelNot,
    LabelTest,
    LearntName,
    OnOwnNode,
    PeerAll,
    PeerAny,
    PeerExpr,
    PeerNot,
)
from bpfence.ir.nodes import Direction, Layer, Point, Policy, Program, Rule, Section, Tier, tier_rules
from bpfence.ir.walk import peer_leaves
from bpfence.options import NameProfile


@dataclass(frozen=True, slots=True)
class ActiveTier:
    """A tier that has policies for the row. ``rules`` in evaluation order, those that can't apply to the own address
    left out.
    """

    tier: Tier
    rules: tuple[Rule, ...]
    isolating: tuple[Section, ...]
    """the sections that isolate: they turn the tier's end into a decision"""


@dataclass(frozen=True, slots=True)
class ActiveLayer:
    layer: Layer
    tiers: tuple[ActiveTier, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """What decides for some endpoints in one direction. ``layers``: every layer with at least one active tier."""

    direction: Direction
    node: str
    layers: tuple[ActiveLayer, ...]
    own_ports: PortNumbers
    point: Point = Point.ENDPOINT


@dataclass(frozen=True, slots=True)
class Subject:
    """An endpoint seen through one of its addresses (None: a template without addresses)."""

    entity: Entity
    address: Address | None


Choices = list[tuple[Bits, list[tuple[int, Policy]]]]
"""label profiles that a subject selects, and its policies with their places in the tier"""


class RowBuilder:
    """Builds the rows of subjects; equal rows are one object."""

    def __init__(self, program: Program, world: World, labels: LabelIndex) -> None:
        self._tiers = {
            point: [(layer, tier) for layer in program.layers if layer.point is point for tier in layer.tiers]
            for point in Point
        }
        self._world = world
        self._labels = labels
        self._positions = {entity.name: position for position, entity in enumerate(world.entities)}
        self._choices = {
            point: [_by_subject(tier, labels) for _, tier in tiers] for point, tiers in self._tiers.items()
        }
        self._selected: dict[tuple[int, Direction, Point], tuple[tuple[Policy, ...], ...]] = {}
        self._rows: dict[object, Row] = {}

    def row(self, subject: Subject, direction: Direction, point: Point = Point.ENDPOINT) -> Row | None:
        """The subject's row at a point, shared with all equal ones; None when nothing restricts it there."""
        selected = self._policies(subject.entity, direction, point)
        active = [
            self._activate(tier, chosen, subject, direction) if chosen else None
            for (_, tier), chosen in zip(self._tiers[point], selected, strict=True)
        ]
        rules = [rule for item in active if item for rule in item.rules]
        if not any(active):
            return None
        names = frozenset(name for rule in rules for name in own_names(rule, direction))
        own_ports = _own_numbers(self._port_owners(subject), names)
        node = subject.entity.node if any(_mentions_node(rule) for rule in rules) else ""
        key = (
            direction,
            point,
            node,
            tuple(sorted(own_ports.items())),
            tuple(tuple(map(id, chosen)) for chosen in selected),
            tuple(map(id, rules)),
        )
        if key not in self._rows:
            self._rows[key] = Row(direction, node, self._layers(active, point), own_ports, point)
        return self._rows[key]

    def _policies(self, entity: Entity, direction: Direction, point: Point) -> tuple[tuple[Policy, ...], ...]:
        """Per tier of the point: the policies that select the entity and speak about the direction."""
        profile = int(self._labels.profile_of[self._positions[entity.name]])
        known = self._selected.get((profile, direction, point))
        if known is None:
            known = tuple(_selected(choices, profile, direction) for choices in self._choices[point])
            self._selected[profile, direction, point] = known
        return known

    def _activate(self, tier: Tier, chosen: tuple[Policy, ...], subject: Subject, direction: Direction) -> ActiveTier:
        rules = tuple(rule for rule in tier_rules(tier, chosen, direction) if self._own_side(rule, subject))
        sections = (policy.section(direction) for policy in chosen)
        isolating = tuple(section for section in sections if section is not None and section.isolates)
        return ActiveTier(tier, rules, isolating)

    def _layers(self, active: list[ActiveTier | None], point: Point) -> tuple[ActiveLayer, ...]:
        tiers: dict[str, list[ActiveTier]] = {}
        layers: dict[str, Layer] = {}
        for (layer, _), item in zip(self._tiers[point], active, strict=True):
            if item is not None:
                layers[layer.name] = layer
                tiers.setdefault(layer.name, []).append(item)
        return tuple(ActiveLayer(layer, tuple(tiers[name])) for name, layer in layers.items())

    def _port_owners(self, subject: Subject) -> tuple[Entity, ...]:
        """Whose port names hold on the own side: a host endpoint also sees packets that are for others."""
        return (subject.entity,) if subject.entity.kind != "hostendpoint" else self._place(subject).holders

    def _place(self, subject: Subject) -> Place:
        """Nobody is known to have an unknown address of a host; a host endpoint only has those that it expects."""
        if subject.address is not None:
            return place_of(subject.address, self._world)
        return Place(None, () if subject.entity.kind == "hostendpoint" else (subject.entity,))

    def _own_side(self, rule: Rule, subject: Subject) -> bool:
        return rule.own == ANYONE or place_matches(rule.own, self._place(subject), subject.entity.node)


def _by_subject(tier: Tier, labels: LabelIndex) -> Choices:
    """The tier's policies under their subjects: who is selected is asked once for all policies of one subject."""
    found: dict[LabelExpr, list[tuple[int, Policy]]] = {}
    for position, policy in enumerate(tier.policies):
        found.setdefault(policy.subject, []).append((position, policy))
    return [(labels.profiles(subject), policies) for subject, policies in found.items()]


def _selected(choices: Choices, profile: int, direction: Direction) -> tuple[Policy, ...]:
    """In tier order: the policies that select the profile and speak about the direction."""
    found = [item for bits, policies in choices if bits[profile] for item in policies]
    found.sort(key=lambda item: item[0])
    return tuple(policy for _, policy in found if policy.section(direction) is not None)


def _own_numbers(owners: tuple[Entity, ...], names: frozenset[tuple[str, int]]) -> PortNumbers:
    if not names:
        return {}
    numbers: dict[tuple[str, int], list[int]] = {}
    for name, protocol, number in sorted({port for entity in owners for port in entity.ports}):
        if (name, protocol) in names:
            numbers.setdefault((name, protocol), []).append(number)
    return {key: tuple(sorted(values)) for key, values in numbers.items()}


def _mentions_node(rule: Rule) -> bool:
    return any(isinstance(leaf, OnOwnNode) for leaf in peer_leaves(rule.peer))


@dataclass(frozen=True, slots=True)
class Place:
    """One address with everybody who has it; a template has no address but is its own holder.

    ``fqdn``: the name under which the subject has learnt the address; ``query``: the name it asks the peer for; empty =
    none.
    """

    address: Address | None
    holders: tuple[Entity, ...]
    fqdn: str = ""
    query: str = ""


def place_of(address: Address, world: World) -> Place:
    """The place of an address."""
    return Place(address, world.entities_at(address))


def place_matches(expression: PeerExpr, place: Place, node: str) -> bool:
    """Whether one place satisfies a peer expression, asked directly, for a subject on ``node``."""
    match expression:
        case PeerAll(items):
            return all(place_matches(item, place, node) for item in items)
        case PeerAny(items):
            return any(place_matches(item, place, node) for item in items)
        case PeerNot(item):
            return not place_matches(item, place, node)
        case InPrefixes(networks):
            return _inside(place, networks)
        case HasObject(labels):
            return any(entity_matches(labels, entity) for entity in place.holders)
        case OnOwnNode():
            return any(entity.kind == "node" and entity.node == node for entity in place.holders)
        case LearntName(patterns, profile):
            return place.fqdn != "" and _is_named(place.fqdn, patterns, profile)
        case _:
            assert_never(expression)


def _is_named(name: str, patterns: Iterable[str], profile: NameProfile) -> bool:
    # Not at the top: few programs speak of names, and the grammar library behind it takes a while to import.
    from bpfence.selectors.fqdn import parse_pattern

    return any(parse_pattern(pattern, profile).matches(name) for pattern in patterns)


def _inside(place: Place, networks: tuple[Network, ...]) -> bool:
    """An address known by its name alone is surely inside only what covers everything."""
    address = place.address
    if address is None:
        return place.fqdn != "" and any(network.prefixlen == 0 for network in networks)
    return any(address in network for network in networks if network.version == address.version)


def entity_matches(expression: LabelExpr, entity: Entity) -> bool:
    """Whether one entity satisfies a label expression, asked directly."""
    match expression:
        case LabelAll(items):
            return all(entity_matches(item, entity) for item in items)
        case LabelAny(items):
            return any(entity_matches(item, entity) for item in items)
        case LabelNot(item):
            return not entity_matches(item, entity)
        case LabelTest():
            value = next((entity.labels[key] for key in expression.keys if key in entity.labels), None)
            if value is None:
                return expression.operator.value in ("not in", "absent")
            return value_predicate(expression)(value)


def used_rules(rows: Iterable[Row]) -> tuple[Rule, ...]:
    """Every rule of the rows once, in first-use order."""
    seen: dict[int, Rule] = {}
    for row in rows:
        for layer in row.layers:
            for tier in layer.tiers:
                for rule in tier.rules:
                    seen.setdefault(id(rule), rule)
    return tuple(seen.values())
