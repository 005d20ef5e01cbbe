"""The rules of one layer in the order it tries them, each with the cells that are still open when its turn comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bpfence.analyse.lint.tables import Matrix, RowTable
from bpfence.classify.rows import ActiveLayer, ActiveTier
from bpfence.ir.nodes import Action, Origin, Rule


@dataclass(frozen=True, slots=True)
class Step:
    """``rule`` None: the end of a tier that denies. ``undecided``: cells that nothing before has decided."""

    tier: ActiveTier
    rule: Rule | None
    exempt: bool
    matched: Matrix
    undecided: Matrix

    @property
    def action(self) -> Action:
        return Action.DENY if self.rule is None else self.rule.action

    @property
    def origin(self) -> Origin:
        """The rule's; at a tier's end that of the first policy that isolates."""
        return self.tier.isolating[0].origin if self.rule is None else self.rule.origin

    @property
    def hit(self) -> Matrix:
        """The cells that are decided (or logged) here."""
        return self.matched & self.undecided


def walk(layer: ActiveLayer, table: RowTable) -> Iterator[Step]:
    """Every tier in order, every rule in order, then the tier's end."""
    live = np.ones(table.shape, dtype=bool)
    for tier in layer.tiers:
        undecided = live
        exempt = frozenset(map(id, tier.tier.exemptions(table.row.direction)))
        for rule in _tried(tier, table, exempt):
            step = Step(tier, rule, id(rule) in exempt, table.matrix(rule), undecided)
            yield step
            if rule.action is not Action.LOG:
                undecided = undecided & ~step.matched
            if rule.action in (Action.ALLOW, Action.DENY):
                live = live & ~step.hit
        if tier.isolating and tier.tier.end is Action.DENY:
            yield Step(tier, None, False, np.ones(table.shape, dtype=bool), undecided)
            live = live & ~undecided


def _tried(tier: ActiveTier, table: RowTable, exempt: frozenset[int]) -> Sequence[Rule]:
    """The rules in order. Where their order doesn't matter, wide ones go first and exemptions last: of a narrow rule
    and a wide one the narrow one is then the one without effect, whatever the names of their policies.
    """
    others = [rule for rule in tier.rules if id(rule) not in exempt]
    if not tier.tier.order_free and any(rule.action is not Action.ALLOW for rule in others):
        return tier.rules
    return sorted(tier.rules, key=lambda rule: (_rank(rule, exempt), -int(table.matrix(rule).sum())))


def _rank(rule: Rule, exempt: frozenset[int]) -> int:
    if rule.action is Action.DENY:
        return 0
    return 2 if id(rule) in exempt else 1
