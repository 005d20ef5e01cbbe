"""How large a program is, to tell what a pass has done to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bpfence.ir.nodes import Program, Rule
from bpfence.ir.walk import peer_leaves


@dataclass(frozen=True, slots=True)
class ProgramSize:
    """``alternatives``: L4 matches of all rules; ``peer_tests``: leaves of their expressions over addresses, peers'
    and own.
    """

    policies: int
    rules: int
    alternatives: int
    peer_tests: int


def measure_program(program: Program) -> ProgramSize:
    """Counts over all layers and tiers, exemptions included."""
    policies = [policy for layer in program.layers for tier in layer.tiers for policy in tier.policies]
    rules = tuple(_rules(program))
    return ProgramSize(
        len(policies),
        len(rules),
        sum(len(rule.l4) for rule in rules),
        sum(1 for rule in rules for expression in (rule.peer, rule.own) for _ in peer_leaves(expression)),
    )


def _rules(program: Program) -> Iterator[Rule]:
    for layer in program.layers:
        for tier in layer.tiers:
            yield from (*tier.exempt_ingress, *tier.exempt_egress)
            for policy in tier.policies:
                for section in (policy.ingress, policy.egress):
                    if section is not None:
                        yield from section.rules
