"""Generated clusters and policies: leaving flows out of the connection table changes no answer, and each flow that is
left out is one that needs no memory: both of its directions are allowed by themselves, and so are errors about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bpfence.analyse.verify import verify
from support.fuzzing import run_examples
from support.policy_strategies import GeneratedInput, Refusals, inputs
from support.voices import Voices

MIXES = (("kubernetes", "cluster"), ("cilium",), ("calico",), ("kubernetes", "cluster", "cilium", "calico"))
EXAMPLES = 10
PACKETS = 400
"""for each node of an example"""


@pytest.mark.parametrize("languages", MIXES, ids="+".join)
def test_no_answer_changes(languages: Sequence[str], tmp_path: Path) -> None:
    refusals = Refusals()
    left_out = 0

    def examine(case: GeneratedInput) -> None:
        nonlocal left_out
        loaded = refusals.load(case, tmp_path)
        options = case.options.model_copy(update={"automatic_notrack": True})
        for node in Voices(loaded, options).nodes:
            agreement = verify(loaded, options.model_copy(update={"node": node}), PACKETS, None)
            assert not agreement.differing, (case, agreement.counterexamples[0].document())
            left_out += agreement.left_out

    run_examples(examine, inputs(languages), EXAMPLES)
    refusals.check()
    assert left_out
