"""Running a property: a fixed number of examples always, more of them with ``BPFENCE_FUZZ_MINUTES`` in the environment.

Examples are whole clusters: hypothesis would need minutes to shrink one, so the tests make failing ones small
themselves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import TypeVar

from hypothesis import Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

Example = TypeVar("Example")
MINUTES = "BPFENCE_FUZZ_MINUTES"
ROUND = 10
"""examples of one seed: after so many hypothesis begins to vary those it has seen, and they become too much alike"""
PHASES = (Phase.explicit, Phase.generate)


def run_examples(examine: Callable[[Example], None], strategy: SearchStrategy[Example], examples: int) -> None:
    """The fixed examples; then, for as many minutes as asked, others. A failure says its seed."""
    for number in _seeds(-(-examples // ROUND)):
        try:
            seed(number)(settings(max_examples=min(ROUND, examples), phases=PHASES)(given(strategy)(examine)))()
        except AssertionError as error:
            error.add_note(f"found with seed {number}")
            raise


def _seeds(rounds: int) -> Iterator[int]:
    yield from range(rounds)
    end = time.monotonic() + 60 * float(os.environ.get(MINUTES, "0"))
    for number in count(time.time_ns() % 1_000_000_000):
        if time.monotonic() >= end:
            return
        yield number
