"""IR -> IR: small pure functions that make a program smaller without changing a verdict or its provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bpfence.ir.legality import ProgramChecker
from bpfence.ir.nodes import Program
from bpfence.passes.drop_dead_rules import drop_dead_rules
from bpfence.passes.drop_empty_policies import drop_empty_policies
from bpfence.passes.merge_alternatives import merge_alternatives
from bpfence.passes.simplify_expressions import simplify_expressions
from bpfence.passes.size import ProgramSize, measure_program

PASSES: tuple[Callable[[Program], Program], ...] = (
    simplify_expressions,
    merge_alternatives,
    drop_dead_rules,
    drop_empty_policies,
)
AS_WRITTEN = "as written"


def run_passes(program: Program) -> Program:
    """All of `PASSES` in order. IllegalProgram when the program, or what a pass made of it, is not legal."""
    return run_measured(program)[0]


def run_measured(program: Program) -> tuple[Program, Mapping[str, ProgramSize]]:
    """`run_passes`, and how large the program was `AS_WRITTEN` and after each pass, by the pass's name, in order."""
    checker = ProgramChecker()
    checker.check(program)
    sizes = {AS_WRITTEN: measure_program(program)}
    for run_pass in PASSES:
        program = run_pass(program)
        checker.check(program)
        sizes[run_pass.__name__] = measure_program(program)
    return program, sizes
