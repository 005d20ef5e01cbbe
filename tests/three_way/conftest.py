"""The kernel as a third voice, where it can be had."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bpfence.emit.program import emit_dispatcher_program
from bpfence.errors import KernelError
from bpfence.loader.kernel import require_kernel
from bpfence.loader.trial import Trial, trial


@pytest.fixture(scope="session")
def kernel_trial() -> Iterator[Trial]:
    """A place in the kernel to run emitted programs; not run without root or bcc."""
    try:
        require_kernel()
    except KernelError as error:
        pytest.skip(f"not run: {error}")
    with trial(emit_dispatcher_program()) as place:
        yield place
