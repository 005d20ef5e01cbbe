"""Rewritings of an input that must change no verdict: another order, repetition, idle additions, finer pieces, IPv6.

Each verdict is the one of the emitted tables; the borders of both the original and its rewriting are asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import note

from bpfence.flows import always_passes
from bpfence.loading import LoadedInput, load_input
from bpfence.simulate.simulator import Packet, Simulator
from support.fuzzing import run_examples
from support.padding import padded, repeated
from support.policy_strategies import LANGUAGES, GeneratedInput, Object, Refusals, document_text, inputs
from support.sampling import sample_packets
from support.splitting import split_policies
from support.twins import twin, twin_packet
from support.voices import Voices
from support.written import written_addresses, written_l4

EXAMPLES = 10
PACKETS = 500
PADDING = 200
FEW_EXAMPLES = {"padded": 5}
Rewrite = Callable[[GeneratedInput, Path], LoadedInput]

each_language = pytest.mark.parametrize("languages", [*((name,) for name in LANGUAGES), LANGUAGES], ids="+".join)


def _shuffled(case: GeneratedInput, folder: Path) -> LoadedInput:
    """All objects in another order, spread over files and folders whose names sort differently."""
    objects = [*case.inventory, *case.policies]
    random = Random(len(objects))
    random.shuffle(objects)
    names = ("z.yaml", "a/b.yaml", "a/a.yml", "m.yaml")
    piles: dict[str, list[Object]] = {}
    for item in objects:
        piles.setdefault(random.choice(names), []).append(item)
    for name, pile in piles.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(document_text(pile))
    return load_input([str(folder)], case.options)


def _repeated(case: GeneratedInput, folder: Path) -> LoadedInput:
    return replace(case, policies=repeated(case.policies)).load(folder)


def _padded(case: GeneratedInput, folder: Path) -> LoadedInput:
    return replace(case, policies=padded(case.policies, PADDING)).load(folder)


def _split(case: GeneratedInput, folder: Path) -> LoadedInput:
    return replace(case, policies=split_policies(case.policies)).load(folder)


REWRITINGS: dict[str, Rewrite] = {"shuffled": _shuffled, "repeated": _repeated, "padded": _padded, "split": _split}


@each_language
@pytest.mark.parametrize("name", REWRITINGS)
def test_the_verdicts_stay(name: str, languages: Sequence[str], tmp_path: Path) -> None:
    refusals = Refusals()

    def examine(case: GeneratedInput) -> None:
        before = Voices(refusals.load(case, tmp_path / "before"), case.options)
        note(f"{case.options}\n{document_text(case.policies)}")
        _empty(tmp_path / "after")
        after = Voices(REWRITINGS[name](case, tmp_path / "after"), case.options)
        for node in before.nodes:
            _compare(case, before, after, node)

    run_examples(examine, inputs(languages), FEW_EXAMPLES.get(name, EXAMPLES))
    refusals.check()


@each_language
def test_optimising_changes_no_verdict(languages: Sequence[str], tmp_path: Path) -> None:
    refusals = Refusals()

    def examine(case: GeneratedInput) -> None:
        voices = Voices(refusals.load(case, tmp_path), case.options)
        note(f"{case.options}\n{document_text(case.policies)}")
        for node in voices.nodes:
            one, other = (Simulator(voices.compiled(node, optimise=wanted).artefact) for wanted in (False, True))
            packets = _packets(case, voices, node)
            _assert_equal(packets, one, packets, other)

    run_examples(examine, inputs(languages), EXAMPLES)
    refusals.check()


@each_language
def test_ipv6_twins_behave_alike(languages: Sequence[str], tmp_path: Path) -> None:
    refusals = Refusals()

    def examine(case: GeneratedInput) -> None:
        voices = Voices(refusals.load(case, tmp_path / "four"), case.options)
        note(f"{case.options}\n{document_text(case.policies)}")
        objects = (*(twin(list(part)) for part in (case.inventory, case.policies)),)
        six = GeneratedInput(tuple(objects[0]), tuple(objects[1]), case.options)
        twins = Voices(six.load(tmp_path / "six"), case.options)
        for node in voices.nodes:
            packets = [packet for packet in _packets(case, voices, node) if _has_twin(packet)]
            one, other = (Simulator(world.compiled(node).artefact) for world in (voices, twins))
            _assert_equal(packets, one, [twin_packet(packet) for packet in packets], other)

    run_examples(examine, inputs(languages, families=(4,)), EXAMPLES)
    refusals.check()


def _has_twin(packet: Packet) -> bool:
    """Both packets are policy's matter."""
    pairs = ((4, packet.protocol), (6, twin_packet(packet).protocol))
    return not any(always_passes(*pair, packet.icmp_type, packet.icmp_code) for pair in pairs)


def _compare(case: GeneratedInput, before: Voices, after: Voices, node: str) -> None:
    packets = [*_packets(case, before, node), *sample_packets(after.compiled(node), (), (), PACKETS)]
    simulators = [Simulator(voices.compiled(node).artefact) for voices in (before, after)]
    _assert_equal(packets, simulators[0], packets, simulators[1])


def _packets(case: GeneratedInput, voices: Voices, node: str) -> list[Packet]:
    objects = (*case.inventory, *case.policies)
    peers = (written_addresses(objects), voices.cluster_addresses)
    return sample_packets(voices.compiled(node), peers, (written_l4(objects),), PACKETS)


def _assert_equal(packets: Sequence[Packet], before: Simulator, others: Sequence[Packet], after: Simulator) -> None:
    pairs = zip(packets, others, strict=True)
    differing = [one for one, other in pairs if before.decide(one).allowed != after.decide(other).allowed]
    assert not differing, "\n".join(map(str, differing[:5]))


def _empty(folder: Path) -> None:
    if folder.exists():
        for path in sorted(folder.rglob("*.y*ml")):
            path.unlink()
