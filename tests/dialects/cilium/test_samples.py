"""The samples that must compile do; each bad sample fails with the code and line it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

POLICIES = Path(__file__).parents[3] / "policies"
GOOD = sorted((POLICIES / "cilium").glob("*.yaml"))
BAD = sorted((POLICIES / "bad" / "cilium").glob("*.yaml"))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_sample(path: Path, compile_policy: Callable) -> None:
    outcome = compile_policy(path.read_text())
    assert outcome.errors == []
    assert outcome.policies


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_sample(path: Path, compile_policy: Callable) -> None:
    text = path.read_text()
    code, line = text.splitlines()[0].removeprefix("# expect: ").split(":")
    assert (code, int(line)) in compile_policy(text).errors


def test_there_are_samples() -> None:
    assert len(GOOD) >= 5
    assert len(BAD) >= 40
