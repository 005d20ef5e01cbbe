"""Every sample of bad input fails with the code, at the line, that its first comment promises."""

import re
from pathlib import Path

import pytest

from bpfence.loading import load_input
from bpfence.resources import resource_dir

SAMPLES = sorted((resource_dir("policies") / "bad" / "source").glob("*.yaml"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_sample_fails_as_promised(sample: Path) -> None:
    promise = re.match(r"# expect: ([A-Z]+\d+):(\d+)\n", sample.read_text())
    assert promise
    errors = [item for item in load_input([str(sample)]).diagnostics.sorted() if item.is_error]
    assert [(item.code, item.span.line) for item in errors] == [(promise[1], int(promise[2]))]
    assert errors[0].message


def test_there_are_samples() -> None:
    assert len(SAMPLES) > 20
