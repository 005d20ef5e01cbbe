"""IR -> IR: small pure functions that make a program smaller without changing a verdict or its provenance."""

from __future__ import annotations

from collections.abc import Callable

from bpfence.ir.legality import ProgramChecker
from bpfence.ir.nodes import Program
from bpfence.passes.drop_dead_rules import drop_dead_rules
from bpfence.passes.drop_empty_policies import drop_empty_policies
from bpfence.passes.merge_alternatives import merge_alternatives
from bpfence.passes.simplify_expressions import simplify_expressions

PASSES: tuple[Callable[[Program], Program], ...] = (
    simplify_expressions,
    merge_alternatives,
    drop_dead_rules,
    drop_empty_policies,
)


def run_passes(program: Program) -> Program:
    """All of `PASSES` in order. IllegalProgram when the program, or what a pass made of it, is not legal."""
    checker = ProgramChecker()
    checker.check(program)
    for run_pass in PASSES:
        program = run_pass(program)
        checker.check(program)
    return program
