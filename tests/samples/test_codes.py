"""Every code has a sample: errors in policies/bad, warnings and notes in policies/lint, which are checked here.

Files in policies/lint are read beside policies/samples/cluster.yaml. Their first line promises a code and a line; the
second may have options of the compiler.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import check_program

ROOT = Path(__file__).parents[2]
CLUSTER = str(ROOT / "policies" / "samples" / "cluster.yaml")
SAMPLES = sorted((ROOT / "policies" / "lint").glob("*/*.yaml"))
PROMISE = re.compile(r"# expect: ([A-Z0-9]+\d{3}):(\d+)\n(?:# options: (.+)\n)?")
NO_FILE_CAN_SHOW = {
    "SRC001": "no such file",
    "SRC002": "a file that can't be read",
    "SRC003": "bytes that are no text",
    "SRC004": "a file that is too large",
    "SRC007": "more values than the limit",
    "SRC015": "a folder without files",
    "SRC031": "said by the command, about the other messages",
    "LNT008": "more policies than the limit",
    "K8S005": "reserved by the schema",
    "CIL005": "reserved by the schema",
    "CAL005": "reserved by the schema",
}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_lint_sample(path: Path) -> None:
    promise = PROMISE.match(path.read_text())
    assert promise
    values = dict(option.split("=") for option in (promise[3] or "").split())
    options = Options.model_validate(values)
    loaded = load_input([str(path), CLUSTER], options)
    check_program(loaded, options)
    found = loaded.diagnostics.sorted()
    assert not any(item.is_error for item in found), found
    assert (promise[1], int(promise[2])) in [(item.code, item.span.line) for item in found]


def codes_tool() -> ModuleType:
    """The program that lists all codes; it is no part of the package."""
    spec = importlib.util.spec_from_file_location("diagnostic_codes", ROOT / "tools" / "diagnostic_codes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_code_has_a_sample() -> None:
    codes = codes_tool().all_codes()
    without = {code for code, item in codes.items() if not item.samples}
    assert without == NO_FILE_CAN_SHOW.keys()


def test_errors_are_in_one_folder_and_the_rest_in_the_other() -> None:
    for code, item in codes_tool().all_codes().items():
        for sample in item.samples:
            folder = "bad" if item.severity.startswith("error") and code != "K8S061" else "lint"
            assert sample.startswith(f"policies/{folder}/"), (code, item.severity)
