"""All passes in a row, with the legality check before the first and after each."""

from __future__ import annotations

import pytest

from bpfence.ir.legality import IllegalProgram, ProgramChecker
from bpfence.ir.parse import parse_program
from bpfence.ir.text import program_text
from bpfence.passes import AS_WRITTEN, PASSES, run_measured, run_passes
from bpfence.passes.size import measure_program

PROGRAM = """\
layer "kubernetes" unmatched ""
  tier "default" order 0 end deny order-free
    policy "a" subject every & every @ a:1:1-1:1 ""
      ingress isolates @ a:2:1-2:1 ""
        allow {10.0.0.0/9} | {10.128.0.0/9} on protocol tcp to 1 | protocol tcp to 2 @ a:3:1-3:1 ""
        %s own-node & nobody on any @ a:4:1-4:1 ""
    policy "b" subject every @ b:1:1-1:1 ""
"""

SMALLER = """\
layer "kubernetes" unmatched ""
  tier "default" order 0 end deny order-free
    policy "a" subject every @ a:1:1-1:1 ""
      ingress isolates @ a:2:1-2:1 ""
        allow {10.0.0.0/8} on protocol tcp to 1-2 @ a:3:1-3:1 ""
"""


def test_each_pass_does_its_part() -> None:
    assert program_text(run_passes(parse_program(PROGRAM % "deny"))) == SMALLER


def test_an_illegal_program_is_refused_even_where_a_pass_would_drop_the_reason() -> None:
    with pytest.raises(IllegalProgram, match="'pass' in a tier without order"):
        run_passes(parse_program(PROGRAM % "pass"))


def test_a_checker_reads_what_is_new_in_a_later_program() -> None:
    checker = ProgramChecker()
    checker.check(parse_program(SMALLER))
    with pytest.raises(IllegalProgram, match="networks"):
        checker.check(parse_program(SMALLER.replace("{10.0.0.0/8}", "{10.0.0.0/8, 10.0.0.0/8}")))


def test_sizes_are_told_for_every_pass() -> None:
    written = parse_program(PROGRAM % "deny")
    program, sizes = run_measured(written)
    assert list(sizes) == [AS_WRITTEN, *(run_pass.__name__ for run_pass in PASSES)]
    assert sizes[AS_WRITTEN] == measure_program(written)
    assert sizes[PASSES[-1].__name__] == measure_program(program)
    assert sizes[AS_WRITTEN].rules > measure_program(program).rules
