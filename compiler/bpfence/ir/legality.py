"""Whether a program keeps the IR's own rules. A violation is a mistake of the compiler, never of the user's input.

Checked when lowering is done and again after every pass, so that later stages need not doubt what they read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from bpfence.ir.expressions import PeerExpr
from bpfence.ir.illegal import IllegalProgram
from bpfence.ir.match_legality import MAX_DEPTH, check_alternative, check_labels, check_peer
from bpfence.ir.nodes import Action, Direction, L4Match, Layer, Origin, Policy, Program, Rule, Section, Tier

__all__ = ["MAX_DEPTH", "IllegalProgram", "ProgramChecker", "check_program"]


_NEEDS_ORDER = (Action.PASS, Action.LOG)


def check_program(program: Program) -> None:
    """IllegalProgram, naming the first node that is not legal, or nothing."""
    ProgramChecker().check(program)


@dataclass(slots=True)
class ProgramChecker:
    """Checks a series of programs, each made from the one before: what was found legal once is not read again."""

    _policies: dict[tuple[int, bool], Policy] = field(default_factory=dict)
    """By identity and `Tier.order_free`. INVARIANT: holds the nodes, so that no identity is given away again."""

    _matches: dict[int, PeerExpr | L4Match] = field(default_factory=dict)
    """Peers and L4 alternatives, likewise."""

    def check(self, program: Program) -> None:
        """As `check_program`."""
        _check_unique("layer", [layer.name for layer in program.layers])
        for layer in program.layers:
            try:
                self._check_layer(layer)
            except IllegalProgram as problem:
                raise problem.inside(f"layer {layer.name!r}") from None

    def _check_layer(self, layer: Layer) -> None:
        _check_unique("tier", [tier.name for tier in layer.tiers])
        for tier in layer.tiers:
            try:
                self._check_tier(tier)
            except IllegalProgram as problem:
                raise problem.inside(f"tier {tier.name!r}") from None
        _check_sorted("tiers", [(tier.order, "") for tier in layer.tiers])

    def _check_tier(self, tier: Tier) -> None:
        if tier.end not in (Action.PASS, Action.DENY):
            raise IllegalProgram(f"a tier can't end in {tier.end.value!r}")
        for direction in Direction:
            self._check_exemptions(tier.exemptions(direction), direction)
        # One object may hold several policies, at different fields.
        _check_unique("policy", [f"{policy.name} {policy.origin.field} {policy.order[1]}" for policy in tier.policies])
        _check_sorted("policies", [policy.order for policy in tier.policies])
        for policy in tier.policies:
            try:
                self._check_policy(policy, tier.order_free)
            except IllegalProgram as problem:
                raise problem.inside(f"policy {policy.name!r}") from None

    def _check_exemptions(self, rules: tuple[Rule, ...], direction: Direction) -> None:
        for index, rule in enumerate(rules):
            try:
                if rule.action is not Action.ALLOW:
                    raise IllegalProgram(f"an exemption can't {rule.action.value!r}")
                self._check_rule(rule, order_free=True)
            except IllegalProgram as problem:
                raise problem.inside(f"{direction.value} exemption {index}") from None

    def _check_policy(self, policy: Policy, order_free: bool) -> None:
        if (id(policy), order_free) in self._policies:
            return
        _check_origin(policy.origin)
        check_labels(policy.subject)
        for direction in Direction:
            if (section := policy.section(direction)) is not None:
                self._check_section(section, direction, order_free)
        self._policies[id(policy), order_free] = policy

    def _check_section(self, section: Section, direction: Direction, order_free: bool) -> None:
        _check_origin(section.origin)
        for index, rule in enumerate(section.rules):
            try:
                self._check_rule(rule, order_free)
            except IllegalProgram as problem:
                raise problem.inside(f"{direction.value} rule {index}") from None

    def _check_rule(self, rule: Rule, order_free: bool) -> None:
        if order_free and rule.action in _NEEDS_ORDER:
            raise IllegalProgram(f"{rule.action.value!r} in a tier without order")
        _check_origin(rule.origin)
        for peer in (rule.peer, rule.own):
            if id(peer) not in self._matches:
                check_peer(peer)
                self._matches[id(peer)] = peer
        for alternative in rule.l4:
            if id(alternative) not in self._matches:
                check_alternative(alternative)
                self._matches[id(alternative)] = alternative


def _check_origin(origin: Origin) -> None:
    span = origin.span
    if not (origin.policy and (span.path or span.relative) and span.line > 0 and span.column > 0):
        raise IllegalProgram(f"no origin: {origin!r}")


def _check_unique(what: str, names: list[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise IllegalProgram(f"{count} nodes named {what} {name!r}")


def _check_sorted(what: str, orders: Iterable[tuple[float, str]]) -> None:
    previous: tuple[float, str] | None = None
    for order in orders:
        # Written so that a NaN, which compares as false with everything, is refused.
        if not order[0] == order[0] or (previous is not None and not previous <= order):
            raise IllegalProgram(f"{what} are not sorted by their order: {previous!r} before {order!r}")
        previous = order
