"""Over generated clusters: a rule that is said never to take effect decides nothing, and one that is said to change
nothing can be taken away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bpfence.analyse.lint import LintInput, codes, lint_program, rule_usage
from bpfence.diagnostics import Diagnostics
from bpfence.options import Options
from bpfence.pipeline import analyse
from support.fuzzing import run_examples
from support.idle_rules import deciding, endpoint_layers, verdicts, without
from support.policy_strategies import GeneratedInput, Refusals, inputs

EXAMPLES = 10
TAKEN = 4
"""rules taken away per example"""
MIXES = (("kubernetes", "cluster"), ("cilium",), ("calico",), ("kubernetes", "calico"), ("kubernetes", "cilium"))


@pytest.mark.parametrize("languages", MIXES, ids="-".join)
def test_rules_without_effect_can_be_taken_away(languages: Sequence[str], tmp_path: Path) -> None:
    refusals, seen = Refusals(), Counter[str]()

    def examine(case: GeneratedInput) -> None:
        loaded = refusals.load(case, tmp_path)
        analysed = analyse(loaded, case.options)
        given = LintInput(endpoint_layers(analysed.program), analysed.world, loaded.inventory, frozenset(), Options())
        usage = rule_usage(given)
        idle = usage.idle
        overruled = {p for p in idle if all(taker.action is not usage.rules[p].action for taker in usage.takers(p))}
        assert not overruled & deciding(given.program, given.world)
        for place in idle[:TAKEN]:
            reduced = without(given.program, place)
            assert reduced != given.program
            for before, after in verdicts(given.program, reduced, given.world):
                assert np.array_equal(before, after), place
        said = Diagnostics()
        lint_program(given, said)
        counts = Counter(item.code for item in said.items)
        assert (counts[codes.RULE_OVERRULED], counts[codes.RULE_REDUNDANT]) == (
            len(overruled),
            len(idle) - len(overruled),
        )
        seen["idle"] += len(idle)
        seen["rules"] += len(deciding(given.program, given.world))

    run_examples(examine, inputs(languages), EXAMPLES)
    refusals.check()
    assert seen["idle"]
    assert seen["rules"] > seen["idle"] / 4
