"""Tiers in which an endpoint meets only denies: their end denies all the rest, so they are no block list.

Languages whose lint says so already have order-free tiers; those are left alone.
"""

from __future__ import annotations

from bpfence.analyse.lint import codes
from bpfence.analyse.lint.groups import GroupRow
from bpfence.analyse.lint.tables import RowTable
from bpfence.classify.rows import ActiveTier
from bpfence.diagnostics import Diagnostics
from bpfence.ir.nodes import Action, Direction, Origin, Section


class DenyOnlyLint:
    """Collects, over rows, the policies that only deny where nothing else is allowed."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[Origin, str, GroupRow]] = {}

    def add(self, item: GroupRow, table: RowTable) -> None:
        """Look at one row of a group; its rules say enough."""
        del table
        for layer in item.row.layers:
            for tier in layer.tiers:
                if not tier.tier.order_free and _only_denies(tier, item.row.direction):
                    self._tier(tier, item)

    def _tier(self, tier: ActiveTier, item: GroupRow) -> None:
        for section in tier.isolating:
            if section.rules and _denies(section):
                key = (section.origin.policy, section.origin.field)
                self._found.setdefault(key, (section.origin, tier.tier.name, item))

    def report(self, diagnostics: Diagnostics) -> None:
        """One note per section of a policy."""
        for origin, tier, item in self._found.values():
            message = f"the rules only deny, and so does the end of tier {tier}: {item.group.words} allow nothing"
            hint = "add a rule that allows or passes the rest, or give the policy a tier that ends in Pass"
            diagnostics.note(codes.DENY_ONLY, origin.span, message, hint, origin.policy)


def _only_denies(tier: ActiveTier, direction: Direction) -> bool:
    exempt = tier.tier.exemptions(direction)
    rules = [rule for rule in tier.rules if rule not in exempt]
    ends = bool(tier.isolating) and tier.tier.end is Action.DENY
    return ends and bool(rules) and all(rule.action in (Action.DENY, Action.LOG) for rule in rules)


def _denies(section: Section) -> bool:
    return any(rule.action is Action.DENY for rule in section.rules)
