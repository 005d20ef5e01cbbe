"""Sample policies compile; every bad one fails with its code at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfence.dialects.calico import codes

POLICIES = Path(__file__).parents[3] / "policies"
GOOD = sorted((POLICIES / "calico").glob("*.yaml"))
BAD = sorted((POLICIES / "bad" / "calico").glob("*.yaml"))
NEEDS_OTHER_OBJECTS = {
    codes.TIER_MISSING,
    codes.INVENTORY_MISSING,
    codes.PROFILE_MISSING,
    codes.WILDCARD_NOTRACK,
    codes.UNTRACKED_CATCH_ALL,
    codes.MIRROR_MISSING,
}
SCHEMA = {"CAL001", "CAL002", "CAL003", "CAL004"}


def expected(path: Path) -> tuple[str, int]:
    code, line = path.read_text().splitlines()[0].removeprefix("# expect: ").split(":")
    return code, int(line)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_sample_compiles(path, load):
    loaded = load(path)
    tiers = loaded.lower()
    assert loaded.errors == []
    assert any(tier.policies for tier in tiers)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_sample_is_refused(path, load):
    loaded = load(path)
    code, line = expected(path)
    if code in NEEDS_OTHER_OBJECTS:
        assert loaded.objects
        loaded.lower()
    else:
        assert loaded.objects == ()
    assert loaded.errors == [(code, line)]


def test_every_error_code_has_a_bad_sample():
    error_codes = {code for name, code in vars(codes).items() if name.isupper() and code < codes.DEFAULT_NAMESPACE}
    assert {expected(path)[0] for path in BAD} == error_codes | SCHEMA
