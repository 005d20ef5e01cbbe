"""For any data: both readers give it back, and every place holds exactly the text of its value."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bpfence.diagnostics import Diagnostics
from bpfence.source.documents import Path
from bpfence.source.read import read_text

texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cf", "Zl", "Zp", "Co", "Cn")), max_size=6)
leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(-1e9, 1e9) | texts
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
documents = st.dictionaries(texts, values, max_size=4)


def paths(data: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, data
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in children:
        yield from paths(value, (*path, key))


@settings(max_examples=60, deadline=None)
@given(documents, st.sampled_from([None, 2]), st.booleans())
def test_places_hold_their_values(data: dict[str, Any], indent: int | None, as_yaml: bool) -> None:
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    diagnostics = Diagnostics()
    name, source = ("f.yaml", f"---\n{text}\n") if as_yaml else ("f.json", text)
    (document,) = read_text(name, source, diagnostics)
    assert not diagnostics.items
    assert document.data == data
    lines = source.split("\n")
    for path, value in paths(data):
        assert json.loads(_slice(lines, document.span(*path))) == value
        if path and isinstance(path[-1], str):
            assert json.loads(_slice(lines, document.key_span(*path))) == path[-1]


def _slice(lines: list[str], span: Any) -> str:
    part = lines[span.line - 1 : span.end_line]
    part[-1] = part[-1][: span.end_column - 1]
    part[0] = part[0][span.column - 1 :]
    return "\n".join(part)
