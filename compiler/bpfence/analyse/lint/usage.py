"""Which rules ever decide, and which rules decide instead of the others.

In: the tables of rows. Out: `Usage`. Rules that were made from one place of the input count as one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bpfence.analyse.lint.groups import Check, GroupRow
from bpfence.analyse.lint.tables import RowTable
from bpfence.analyse.lint.walk import Step, walk
from bpfence.classify.rows import ActiveLayer
from bpfence.ir.expressions import OnOwnNode
from bpfence.ir.nodes import Action, Origin, Rule
from bpfence.ir.walk import peer_leaves

if TYPE_CHECKING:
    import networkx as nx

Place = tuple[str, str]
"""the policy and the field inside it"""

NOBODY = -1


@dataclass(frozen=True, slots=True)
class Taker:
    """What decides cells. ``kind``: ``rule``, ``exempt`` or ``end``: of the tier, by the policy that isolates."""

    action: Action
    origin: Origin
    tier: str
    kind: str

    @property
    def place(self) -> Place:
        return (self.origin.policy, self.origin.field)


@dataclass(slots=True)
class Usage:
    """``overlaps``: the overlap graph: rule -> taker, for cells that the rule matches and the taker decides first; None
    while it is empty.

    A node's attribute ``taker`` says what it is; only rules that had not been seen to act have edges.
    """

    acting: set[Place] = field(default_factory=set)
    overlaps: nx.DiGraph[Place] | None = None
    rules: dict[Place, Rule] = field(default_factory=dict)

    @property
    def idle(self) -> tuple[Place, ...]:
        """Rules that match something and never act, in the order they were met."""
        return tuple(place for place in self.rules if place not in self.acting)

    def takers(self, place: Place) -> tuple[Taker, ...]:
        """Who decides instead of an idle rule, in the order of the input."""
        if self.overlaps is None:
            return ()
        found = [self.overlaps.nodes[other]["taker"] for other in self.overlaps.successors(place)]
        return tuple(sorted(found, key=lambda taker: (taker.origin.span, taker.place)))

    def add(self, table: RowTable) -> None:
        """Watch the layers of a row in which some rule was not seen to act."""
        for layer in table.row.layers:
            if any(place_of(rule) not in self.acting for tier in layer.tiers for rule in tier.rules):
                self._watch(layer, table)

    def _watch(self, layer: ActiveLayer, table: RowTable) -> None:
        takers: list[Taker] = []
        final: NDArray[np.int64] = np.full(table.shape, NOBODY, dtype=np.int64)
        here, tier = final.copy(), None
        for step in walk(layer, table):
            if step.tier is not tier:
                here, tier = final.copy(), step.tier
            hit = step.hit
            acts = bool(hit.any())
            if step.rule is not None and not step.exempt:
                self._note(step, acts, [takers[n] for n in _numbers(step, here)] if not acts else [])
            if acts and step.action is not Action.LOG:
                here[hit] = len(takers)
                takers.append(_taker(step))
                if step.action is not Action.PASS:
                    final[hit] = here[hit]

    def _note(self, step: Step, acts: bool, takers: list[Taker]) -> None:
        """``takers``: none when the rule acts, or when it matches nothing."""
        assert step.rule is not None
        place = place_of(step.rule)
        if acts:
            self.acting.add(place)
        elif takers and place not in self.acting:
            self.rules.setdefault(place, step.rule)
            if self.overlaps is None:
                self.overlaps = _new_graph()
            for taker in takers:
                self.overlaps.add_node(taker.place, taker=taker)
                self.overlaps.add_edge(place, taker.place)


def _new_graph() -> nx.DiGraph[Place]:
    """Not imported at the top: the library takes as long to import as hundreds of policies to check, and most input has
    no rule that needs it.
    """
    import networkx as nx

    return nx.DiGraph()


def place_of(rule: Rule) -> Place:
    """The rule's place in the input."""
    return (rule.origin.policy, rule.origin.field)


def _numbers(step: Step, owners: NDArray[np.int64]) -> list[int]:
    """Who owns the cells that the rule matches."""
    numbers: list[int] = np.unique(owners[step.matched]).tolist()
    return numbers


def _taker(step: Step) -> Taker:
    kind = "end" if step.rule is None else "exempt" if step.exempt else "rule"
    return Taker(step.action, step.origin, step.tier.tier.name, kind)


def groups_to_check(usage: Usage, rows: Iterable[GroupRow]) -> tuple[Check, ...]:
    """The groups whose other members may use a rule that the first one doesn't.

    Which node an endpoint is on matters only to a rule that gives way to an exemption, or speaks of nodes itself.
    """
    idle = frozenset(usage.idle)
    by_node = frozenset(place for place in idle if _depends_on_node(place, usage))
    found: dict[int, Check] = {}
    for item in rows:
        mine = {place_of(r) for layer in item.row.layers for tier in layer.tiers for r in tier.rules} & idle
        if mine:
            known = found.get(id(item.group))
            checks_nodes = bool(mine & by_node) or (known is not None and known.by_node)
            found[id(item.group)] = Check(item.group, checks_nodes)
    return tuple(found.values())


def _depends_on_node(place: Place, usage: Usage) -> bool:
    leaves = peer_leaves(usage.rules[place].peer)
    return any(t.kind != "rule" for t in usage.takers(place)) or any(isinstance(leaf, OnOwnNode) for leaf in leaves)
