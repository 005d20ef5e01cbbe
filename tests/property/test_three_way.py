"""Generated clusters and policies: the reference evaluator, the IR, the emitted tables and the kernel give one answer.

Asked about are packets at the borders of the compiled classification and at those that the policies write.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import note

from bpfence.loader.trial import Trial
from support.fuzzing import run_examples
from support.policy_strategies import GeneratedInput, Refusals, document_text, inputs
from support.voices import Voices, sample_packets
from support.written import written_addresses, written_l4

MIXES = (
    ("kubernetes",),
    ("cluster",),
    ("kubernetes", "cluster"),
    ("cilium",),
    ("kubernetes", "cilium"),
    ("calico",),
    ("kubernetes", "calico"),
    ("kubernetes", "cluster", "cilium", "calico"),
)
EXAMPLES, KERNEL_EXAMPLES = 15, 6
PACKETS = 1200
"""for each node of an example"""

each_mix = pytest.mark.parametrize("languages", MIXES, ids="+".join)


@each_mix
def test_reference_ir_and_tables_agree(languages: Sequence[str], tmp_path: Path) -> None:
    _compare(languages, tmp_path, EXAMPLES, None)


@pytest.mark.kernel
@each_mix
def test_the_kernel_agrees(languages: Sequence[str], tmp_path: Path, kernel_trial: Trial) -> None:
    _compare(languages, tmp_path, KERNEL_EXAMPLES, kernel_trial)


def _compare(languages: Sequence[str], folder: Path, examples: int, place: Trial | None) -> None:
    refusals = Refusals()

    def examine(case: GeneratedInput) -> None:
        loaded = refusals.load(case, folder)
        note(f"{case.options}\n{document_text(case.policies)}")
        voices = Voices(loaded, case.options)
        objects = (*case.inventory, *case.policies)
        addresses, points = written_addresses(objects), written_l4(objects)
        for node in voices.nodes:
            compiled = voices.compiled(node)
            packets = sample_packets(compiled, addresses, points, PACKETS)
            differing = list(voices.disagreements(compiled, packets, place))
            assert not differing, "\n".join(map(str, differing[:5]))

    run_examples(examine, inputs(languages), examples)
    refusals.check()
