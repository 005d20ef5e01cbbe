"""What every test may use: a fixed hypothesis profile, the kernel as a voice, and the switch that rewrites the
goldens.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from bpfence.emit.program import emit_dispatcher_program
from bpfence.errors import KernelError
from bpfence.loader.kernel import require_kernel
from bpfence.loader.trial import Trial, trial

settings.register_profile(
    "fixed",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
)
settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected files below golden/")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether expected files are rewritten instead of compared."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def kernel_trial() -> Iterator[Trial]:
    """A place in the kernel to run emitted programs; not run without root or bcc."""
    try:
        require_kernel()
    except KernelError as error:
        pytest.skip(f"not run: {error}")
    with trial(emit_dispatcher_program()) as place:
        yield place
