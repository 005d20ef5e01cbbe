"""The fast way for many selectors gives the trees, and the mistakes, of the slow one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfence.selectors import Selector, SelectorError, parse_selector
from bpfence.selectors.shapes import ShapeParser
from support.calico_selectors import POD_POOL, selector_texts

TOKENS = (
    "a", "app", "in", "not in", "has(", "all()", "global()", "(", ")", "!", "&&", "||", "==", "!=", "{", "}", ",",
    "'b'", '"c"', "'0'", "''", "'\"'", '"\'"', "contains", "starts with", " ", "\n", "'", '"', "&",
)  # fmt: skip
BROKEN = st.lists(st.sampled_from(TOKENS), max_size=12).map(" ".join)


def outcome(parse: object, text: str) -> Selector | tuple[str, int]:
    try:
        return parse(text)  # type: ignore[operator, no-any-return]
    except SelectorError as error:
        return error.message, error.column


@settings(max_examples=300)
@given(st.lists(st.one_of(selector_texts(POD_POOL), BROKEN), min_size=1, max_size=4))
def test_shapes_change_nothing(texts: list[str]) -> None:
    parser = ShapeParser()
    for text in (*texts, *texts):
        assert outcome(parser.parse, text) == outcome(parse_selector, text)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a in {'b', 'c'}", "a in {'c', 'b'}"),
        ("a in {'b', 'c'}", "a in {'b', 'b'}"),
        ("a == '10' || b == '2'", "a == '1' || b == '0'"),
        ("a == 'b'", 'a == "b"'),
        ("a == 'b", "a == 'b'"),
        ("a == ''", "a == 'x' 'y'"),
        ("a == '" + "x" * 70_000 + "'", "a == 'y'"),
    ],
)
def test_one_shape_with_other_values(first: str, second: str) -> None:
    parser = ShapeParser()
    for text in (first, second, first):
        assert outcome(parser.parse, text) == outcome(parse_selector, text)
