"""Running a property: a fixed number of examples always, more of them with ``BPFENCE_FUZZ_MINUTES`` or
``BPFENCE_FUZZ_SECONDS`` in the environment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from hypothesis import Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

Example = TypeVar("Example")
MINUTES, SECONDS = "BPFENCE_FUZZ_MINUTES", "BPFENCE_FUZZ_SECONDS"
ROUND = 50
"""examples in each further round"""
PHASES = (Phase.explicit, Phase.generate)


def run_examples(examine: Callable[[Example], None], strategy: SearchStrategy[Example], examples: int) -> None:
    """The fixed examples; then, for as long as asked, rounds of others. The message of a failure has its seed."""
    settings(max_examples=examples, phases=PHASES)(given(strategy)(examine))()
    end = time.monotonic() + 60 * float(os.environ.get(MINUTES, "0")) + float(os.environ.get(SECONDS, "0"))
    first = time.time_ns() % 1_000_000
    for number in count(first):
        if time.monotonic() >= end:
            return
        try:
            seed(number)(settings(max_examples=ROUND, phases=PHASES, derandomize=False)(given(strategy)(examine)))()
        except Exception as error:
            error.add_note(f"found with seed {number}")
            raise
