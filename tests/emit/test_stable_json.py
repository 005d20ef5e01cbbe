"""Our JSON text is that of the standard library."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfence.emit.stable_json import stable_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_it_is_the_text_of_the_standard_library(value: Any) -> None:
    assert stable_json(value) == json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)


@pytest.mark.parametrize("value", [{1: 2}, [float("nan")], {"a": float("inf")}, [{1, 2}], b"text"])
def test_what_json_has_no_form_for_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        stable_json(value)
