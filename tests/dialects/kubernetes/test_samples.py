"""Sample policies compile; every bad one fails with its code at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfence.dialects.kubernetes import codes

POLICIES = Path(__file__).parents[3] / "policies"
GOOD = sorted((POLICIES / "kubernetes").glob("*.yaml"))
BAD = sorted((POLICIES / "bad" / "kubernetes").glob("*.yaml"))
LOWERING = {codes.IGNORED_RULES_REFUSED, codes.PORT_NAME_TWICE, codes.EQUAL_PRIORITY}
SCHEMA = {"K8S001", "K8S002", "K8S003", "K8S004"}


def expected(path: Path) -> tuple[str, int]:
    code, line = path.read_text().splitlines()[0].removeprefix("# expect: ").split(":")
    return code, int(line)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_sample_compiles(path, load):
    loaded = load(path)
    lowered = (*loaded.network_policies(), *loaded.cluster_policies()[0], *loaded.cluster_policies()[1])
    assert loaded.errors == []
    assert len(lowered) == len(loaded.objects) > 0


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_sample_is_refused(path, load):
    loaded = load(path)
    code, line = expected(path)
    if code in LOWERING:
        assert loaded.errors == []
        loaded.network_policies("cilium" if code == codes.IGNORED_RULES_REFUSED else "kubernetes")
        loaded.cluster_policies()
    else:
        assert loaded.objects == ()
    assert (code, line) in loaded.errors


def test_every_error_code_has_a_bad_sample():
    error_codes = {code for name, code in vars(codes).items() if name.isupper() and code < codes.UNKNOWN_FIELD}
    assert {expected(path)[0] for path in BAD} == error_codes | SCHEMA
