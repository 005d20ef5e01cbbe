"""What the compiled program shows and no language's text alone: rules without effect, ties, pods without names.

In: the program as lowered, the world, what other lint looks after. Out: warnings and notes. Everything is computed
from what decides for every endpoint of the input, so it is exact for that input and says nothing about pods to come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bpfence.analyse.lint import codes
from bpfence.analyse.lint.deny_only import DenyOnlyLint
from bpfence.analyse.lint.dns import DNS_KEY, DnsLint, dns_marks
from bpfence.analyse.lint.duplicates import lint_duplicates
from bpfence.analyse.lint.groups import GroupRow, GroupRows, TooLarge, group_endpoints, policies_of
from bpfence.analyse.lint.idle_rules import lint_idle_rules
from bpfence.analyse.lint.prefixes import lint_prefixes
from bpfence.analyse.lint.services import ServiceLint
from bpfence.analyse.lint.tables import Marks, RowTable, TableBuilder
from bpfence.analyse.lint.ties import tie_lint
from bpfence.analyse.lint.usage import Usage, groups_to_check
from bpfence.classify.classification import index_program
from bpfence.classify.services import service_cells
from bpfence.diagnostics import Diagnostics
from bpfence.identity.inventory import Inventory
from bpfence.identity.world import World
from bpfence.ir.nodes import Program
from bpfence.options import Options
from bpfence.source.spans import Span

__all__ = ["LintInput", "lint_program", "rule_usage", "codes"]

MOST_SELECTIONS = 20_000_000
"""pairs of a selector and a label profile"""
MOST_ELEMENTS = 150_000_000
"""elements of all tables together: about a second"""


@dataclass(frozen=True, slots=True)
class LintInput:
    """``spoken_of``: places of the policies whose own lint speaks about prefixes and names already."""

    program: Program
    world: World
    inventory: Inventory
    spoken_of: frozenset[Span]
    options: Options


def lint_program(given: LintInput, diagnostics: Diagnostics) -> None:
    """All of it."""
    lint_duplicates(given.program, diagnostics)
    lint_prefixes(given.program, given.spoken_of, given.inventory, given.options, diagnostics)
    found = Diagnostics()
    try:
        _lint_rows(given, found)
    except TooLarge:
        _note_left_out(given, diagnostics)
        return
    diagnostics.extend(found.items)


def rule_usage(given: LintInput) -> Usage:
    """Which rules ever decide. TooLarge when finding out would take too long."""
    return _examine(given, ())


def _lint_rows(given: LintInput, diagnostics: Diagnostics) -> None:
    lints = (tie_lint(given.program), DenyOnlyLint(), DnsLint(given.program, given.world, given.spoken_of))
    services = ServiceLint(service_cells(given.inventory), given.inventory)
    usage = _examine(given, lints, services)
    lint_idle_rules(usage, diagnostics)
    for lint in (*lints, services):
        lint.report(diagnostics)


class RowLint(Protocol):
    """Something that looks at the rows one by one."""

    def add(self, item: GroupRow, table: RowTable) -> None: ...


def _examine(given: LintInput, lints: Sequence[RowLint], services: ServiceLint | None = None) -> Usage:
    labels = index_program(given.program, given.world, (DNS_KEY,))
    groups = group_endpoints(given.program, given.world, labels, MOST_SELECTIONS)
    rows = GroupRows(given.program, given.world, labels)
    usage = Usage()
    first = rows.first(groups)
    builder = TableBuilder([item.row for item in first], given.world, labels, dns_marks(given.world), MOST_ELEMENTS)
    for item in first:
        table = builder.table(item.row)
        usage.add(table)
        for lint in lints:
            lint.add(item, table)
    if services is not None:
        services.examine(first, builder)
    # What is idle for the first member of a group need not be for the others.
    rest = rows.others(groups_to_check(usage, first))
    if not rest:
        return usage
    builder = TableBuilder([item.row for item in rest], given.world, labels, Marks(), MOST_ELEMENTS)
    for item in rest:
        usage.add(builder.table(item.row))
    return usage


def _note_left_out(given: LintInput, diagnostics: Diagnostics) -> None:
    policy = next(policies_of(given.program))
    message = "the input is too large to look for rules without effect, ties of order and pods without DNS"
    diagnostics.note(codes.LEFT_OUT, policy.origin.span, message, "check a part of it, a namespace for instance")
