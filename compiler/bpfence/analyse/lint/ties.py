"""Policies of one order that decide the same connections differently: only their names say who goes first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from bpfence.analyse.lint import codes
from bpfence.analyse.lint.groups import GroupRow, policies_of
from bpfence.analyse.lint.tables import RowTable
from bpfence.analyse.lint.walk import Step, walk
from bpfence.diagnostics import Diagnostics
from bpfence.ir.nodes import Action, Direction, Policy, Program

Decided = NDArray[np.int8]
"""Per cell what a policy does: a number of `NUMBERS`, 0 for nothing."""

NUMBERS = {Action.ALLOW: 1, Action.DENY: 2, Action.PASS: 3}
WORDS = {1: "allowed", 2: "denied", 3: "passed on"}


@dataclass(frozen=True, slots=True)
class Tie:
    first: Policy
    second: Policy
    words: str


@dataclass(slots=True)
class TieLint:
    """Collects, over rows, the pairs of policies that are in such a tie."""

    policy_of: Mapping[int, Policy]
    """identity of a rule -> its policy"""
    found: dict[tuple[str, str], Tie] = field(default_factory=dict)

    def add(self, item: GroupRow, table: RowTable) -> None:
        """Look at one row of a group."""
        for layer in table.row.layers:
            for tier, steps in groupby(walk(layer, table), key=lambda step: step.tier):
                if not tier.tier.order_free and len({rule.action for rule in tier.rules}) > 1:
                    self._tier([step for step in steps if step.rule is not None and not step.exempt], item)

    def _tier(self, steps: Iterable[Step], item: GroupRow) -> None:
        for _, tied in groupby(steps, key=lambda step: self._policy(step).order[0]):
            self._tied(tuple(tied), item)

    def _policy(self, step: Step) -> Policy:
        return self.policy_of[id(step.rule)]

    def _tied(self, steps: Sequence[Step], item: GroupRow) -> None:
        """Compare every policy of one order with those before it, on what was open when the first began."""
        undecided = steps[0].undecided
        together: Decided = np.zeros(undecided.shape, dtype=np.int8)
        before: list[tuple[Policy, Decided]] = []
        for policy, own in groupby(steps, key=self._policy):
            mine = np.where(undecided, _decisions(own, undecided.shape), 0).astype(np.int8)
            places = np.argwhere((mine != 0) & (together != 0) & (mine != together))
            if len(places):
                at = tuple(places[0].tolist())
                other = next(earlier for earlier, decided in before if decided[at])
                words = f"{WORDS[int(together[at])]} there, {WORDS[int(mine[at])]} here, for {item.group.words}"
                self.found.setdefault((policy.name, other.name), Tie(other, policy, words))
            before.append((policy, mine))
            together = np.where(together == 0, mine, together)

    def report(self, diagnostics: Diagnostics) -> None:
        """One warning per pair."""
        for tie in self.found.values():
            first, second = tie.first.origin, tie.second.origin
            message = f"{first.policy} has the same order and decides some connections differently: {tie.words}"
            hint = f"it goes first by its name ({first.span.path}:{first.span.line}); give each its own order"
            diagnostics.warning(codes.EQUAL_ORDER, second.span, message, hint, second.policy)


def tie_lint(program: Program) -> TieLint:
    """A fresh collector."""
    return TieLint(
        {
            id(rule): policy
            for policy in policies_of(program)
            for direction in Direction
            if (section := policy.section(direction)) is not None
            for rule in section.rules
        }
    )


def _decisions(steps: Iterable[Step], shape: tuple[int, ...]) -> Decided:
    """First match wins among the rules of one policy."""
    result: Decided = np.zeros(shape, dtype=np.int8)
    for step in steps:
        if step.action is not Action.LOG:
            result[step.matched & (result == 0)] = NUMBERS[step.action]
    return result
