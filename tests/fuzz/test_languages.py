"""Selectors and name patterns: any text is refused with a place, or means something, in bounded time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import strategies as st

from bpfence.loading import load_input
from bpfence.options import NameProfile, Options
from bpfence.pipeline import analyse, check_program
from bpfence.selectors import SelectorError, canonical, matches, parse_selector
from bpfence.selectors.fqdn import parse_pattern
from support.fuzzing import run_examples

LABELS = {"a": "b", "app": "web", "in": "x", "has": ""}
TOKENS = (
    "a", "app", "in", "not", "has(", "all()", "global()", "(", ")", "!", "&&", "||", "==", "!=", "{", "}", ",", "'b'",
    '"c"', "contains", "starts with", "ends with", " ", "\t", "\n", "'", '"', "é", "\x00", "a" * 513, "&", "|", "=",
)  # fmt: skip
SELECTORS = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(TOKENS), max_size=30).map(" ".join))
DEEP = st.tuples(st.sampled_from(("!(a == 'b' && ", "(", "!", "!(", "(a == 'b' || (")), st.integers(0, 600))
PARTS = st.sampled_from(("*", ".", "a", "-", "_", "**.", "B", "é"))
NAMES = st.one_of(st.text(max_size=40), st.lists(PARTS, max_size=40).map("".join))
FIELDS = ("selector: {}", "namespaceSelector: {}", "notSelector: {}", "serviceAccounts: {{selector: {}}}")
SECONDS = 5
CLUSTER = str(Path(__file__).parents[2] / "policies" / "samples" / "cluster.yaml")


def _selector(text: str) -> None:
    start = time.monotonic()
    try:
        tree = parse_selector(text)
    except SelectorError as error:
        if not 1 <= error.column <= len(text) + 1:
            raise
        return
    finally:
        assert time.monotonic() - start < SECONDS
    assert parse_selector(canonical(tree)) == parse_selector(canonical(parse_selector(canonical(tree))))
    assert matches(tree, LABELS) == matches(parse_selector(canonical(tree)), LABELS)


def test_selectors() -> None:
    run_examples(_selector, SELECTORS, 300)


def test_deep_selectors() -> None:
    run_examples(_selector, DEEP.map(_nested), 60)


def _nested(shape: tuple[str, int]) -> str:
    opening, levels = shape
    return opening * levels + "has(c)" + ")" * (opening.count("(") * levels)


@pytest.mark.parametrize("levels", [1, 20, 40, 48, 49, 60, 66])
@pytest.mark.parametrize(
    "field", ["selector: {}", "namespaceSelector: {}", "notSelector: {}", "serviceAccounts: {{selector: {}}}"]
)
def test_a_selector_within_the_length_is_refused_or_compiles(levels: int, field: str, tmp_path: Path) -> None:
    text = _nested(("!(a == 'b' || ", levels))
    (tmp_path / "p.yaml").write_text(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: p}\n"
        f"spec: {{ingress: [{{action: Allow, source: {{{field.format(chr(34) + text + chr(34))}}}}}]}}\n"
    )
    loaded = load_input([str(tmp_path), CLUSTER], Options())
    check_program(loaded, Options())
    if not loaded.diagnostics.has_errors:
        analyse(loaded, Options())
    else:
        assert levels > 20


@pytest.mark.parametrize("profile", ["1.18", "1.20", "kubernetes"])
def test_name_patterns(profile: NameProfile) -> None:
    def examine(case: tuple[str, str]) -> None:
        start = time.monotonic()
        try:
            pattern = parse_pattern(case[0], profile)
        except ValueError:
            return
        pattern.matches(case[1])
        assert time.monotonic() - start < SECONDS

    run_examples(examine, st.tuples(NAMES, NAMES), 200)
