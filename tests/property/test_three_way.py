"""Generated clusters and policies: the reference evaluator, the IR, the emitted tables and the kernel give one answer.

Asked about are packets at the borders of the compiled classification and at those that the policies write.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bpfence.errors import BpfenceError
from bpfence.loader.trial import Trial
from bpfence.simulate.simulator import Packet
from support.fuzzing import run_examples
from support.policy_strategies import GeneratedInput, Object, Refusals, document_text, inputs
from support.reduction import reduced
from support.sampling import sample_packets
from support.voices import Disagreement, Voices
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
EXAMPLES, KERNEL_EXAMPLES = 30, 10
PACKETS = 500
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
        voices = Voices(refusals.load(case, folder), case.options)
        objects = (*case.inventory, *case.policies)
        addresses, points = written_addresses(objects), written_l4(objects)
        for node in voices.nodes:
            compiled = voices.compiled(node)
            packets = sample_packets(compiled, (addresses, voices.cluster_addresses), (points,), PACKETS)
            differing = list(voices.disagreements(compiled, packets, place))
            assert not differing, _report(case, node, differing[:5], folder, place)

    run_examples(examine, inputs(languages), examples)
    refusals.check()


def _report(
    case: GeneratedInput, node: str, differing: Sequence[Disagreement], folder: Path, place: Trial | None
) -> str:
    """The packets, and the policies without which they are not answered differently."""
    packets = [item.packet for item in differing[:1]]

    def fails(policies: list[Object]) -> bool:
        smaller = GeneratedInput(case.inventory, tuple(policies), case.options)
        return bool(_differing(smaller, node, packets, folder, place))

    policies = reduced(list(case.policies), fails)
    lines = [*map(str, differing), str(case.options), document_text(case.inventory), "---", document_text(policies)]
    return "\n".join(lines)


def _differing(
    case: GeneratedInput, node: str, packets: Sequence[Packet], folder: Path, place: Trial | None
) -> list[Disagreement]:
    try:
        voices = Voices(case.load(folder), case.options)
        return list(voices.disagreements(voices.compiled(node), packets, place))
    except BpfenceError:
        return []
