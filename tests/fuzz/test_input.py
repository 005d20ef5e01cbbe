"""Whatever the input, the answer is a result or diagnostics: never another exception, never without end, never in
more memory than a small input deserves.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import strategies as st

from bpfence.cli.render_github import render_github
from bpfence.cli.render_json import diagnostic_fields
from bpfence.cli.render_markdown import render_markdown
from bpfence.cli.render_sarif import render_sarif
from bpfence.errors import BpfenceError
from bpfence.ir.illegal import IllegalProgram
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import analyse, check_program, compile_artefact
from bpfence.suppression import suppress
from support.fuzzing import run_examples
from support.mutations import as_json, broken_objects, broken_texts

CLUSTER = str(Path(__file__).parents[2] / "policies" / "samples" / "cluster.yaml")
SECONDS = 20
"""for one input; the machine may be busy"""
MEGABYTES = 500

Examine = Callable[[str, str, Options], None]
OPTIONS = st.builds(
    Options,
    engine=st.sampled_from(("auto", "kubernetes", "calico", "cilium")),
    cilium_profile=st.sampled_from(("1.18", "1.20")),
    ipblock_matches_pods=st.sampled_from(("never", "always", "dialect")),
    allow_unsupported=st.booleans(),
    wildcard_notrack=st.booleans(),
    node=st.just("worker-1"),
)


@pytest.fixture
def examine(tmp_path: Path) -> Examine:
    """Read, check and compile a text as a file of the name, within the limits of time and memory."""

    def run(name: str, text: str, options: Options) -> None:
        path = tmp_path / name
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with _time_limit():
            _answer([str(path), CLUSTER], options)
        assert _peak() - before < MEGABYTES

    before = _peak()
    return run


@contextmanager
def _time_limit() -> Iterator[None]:
    """Fails what takes longer than `SECONDS`, also what would never end."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"no answer within {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _peak() -> float:
    """Megabytes that this process has used at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _answer(paths: list[str], options: Options) -> None:
    loaded = load_input(paths, options)
    check_program(loaded, options)
    items = suppress(loaded.diagnostics.sorted(), (s for file in loaded.files for s in file.suppressions)).items
    for item in items:
        assert item.span.line > 0
        assert diagnostic_fields(item)["message"]
    render_github(items)
    render_markdown(items)
    render_sarif(items)
    if loaded.diagnostics.has_errors:
        return
    # What passes the check has a legal program; a compilation may still find tables too large.
    again = load_input(paths, options)
    analyse(again, options)
    try:
        compile_artefact(load_input(paths, options), options)
    except IllegalProgram:
        raise
    except BpfenceError:
        return


def test_texts(examine: Examine) -> None:
    names = st.sampled_from(("a.yaml", "a.json"))
    run_examples(lambda case: examine(*case), st.tuples(names, broken_texts(), OPTIONS), 60)


def test_objects(examine: Examine) -> None:
    names = st.sampled_from(("a.yaml", "a.json"))
    run_examples(lambda case: examine(*case), st.tuples(names, broken_objects().map(as_json), OPTIONS), 100)


def test_any_text(examine: Examine) -> None:
    run_examples(lambda case: examine(*case), st.tuples(st.just("a.yaml"), st.text(), OPTIONS), 60)
