import json

import pytest

from bpfence.diagnostics import Diagnostics
from bpfence.source.documents import Document
from bpfence.source.limits import Limits
from bpfence.source.read import read_text

PODS = {
    "apiVersion": "v1",
    "kind": "PodList",
    "metadata": {"resourceVersion": ""},
    "items": [
        {"metadata": {"name": "a", "labels": {"x": '"}], {'}}},
        {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "b"}, "spec": {"list": [1, [2, {"k": None}]]}},
    ],
}


def read(text: str, name: str = "f.json", limits: Limits | None = None) -> tuple[tuple[Document, ...], Diagnostics]:
    diagnostics = Diagnostics()
    return read_text(name, text, diagnostics, limits), diagnostics


@pytest.mark.parametrize("indent", [None, 1, 4])
def test_places_are_those_of_the_yaml_reader(indent: int | None) -> None:
    """JSON is YAML too: both readers must agree on every place."""
    text = json.dumps(PODS, indent=indent)
    as_json, _ = read(text)
    as_yaml, _ = read(f"# no JSON\n{text}", "f.yaml")
    paths: list[tuple[str | int, ...]] = [(), ("metadata", "name"), ("spec", "list", 1, 1, "k"), ("spec", "list", 0)]
    for one, other in zip(as_json, as_yaml, strict=True):
        assert one.data == other.data
        for path in paths:
            for ours, theirs in ((one.span(*path), other.span(*path)), (one.key_span(*path), other.key_span(*path))):
                assert (ours.line, ours.column) == (theirs.line - 1, theirs.column), path
                assert (ours.end_line, ours.end_column) == (theirs.end_line - 1, theirs.end_column), path


def test_typed_lists_give_kind_and_version() -> None:
    documents, diagnostics = read(json.dumps(PODS))
    assert [(document.api_version, document.kind, document.name) for document in documents] == [
        ("v1", "Pod", "a"),
        ("v1", "Pod", "b"),
    ]
    assert not diagnostics.items
    assert documents[0].span("kind") == documents[0].span()


def test_several_values_in_one_file() -> None:
    documents, _ = read('{"a": 1}\n{"b": 2}\n')
    assert [document.data for document in documents] == [{"a": 1}, {"b": 2}]
    assert str(documents[1].span("b")) == "f.json:2:7"


def test_doubled_keys_at_every_level() -> None:
    text = '{"a": 1,\n"a": 2, "items": [{"x": 1,\n"x": 2}], "b": {"y": 1,\n "y": 2}}'
    _, diagnostics = read(text)
    assert [(item.code, str(item.span)) for item in diagnostics.sorted()] == [
        ("SRC009", "f.json:2:1"),
        ("SRC009", "f.json:3:1"),
        ("SRC009", "f.json:4:2"),
    ]


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ('{"a": }', "SRC005", "f.json:1:7"),
        ('{"a": 1', "SRC005", "f.json:1:8"),
        ("{\n 'a': 1}", "SRC005", "f.json:2:2"),
        ('{"items": [1 2]}', "SRC005", "f.json:1:14"),
        ('{"a": NaN}', "SRC013", "f.json:1:7"),
        ('{"a": 1e999}', "SRC013", "f.json:1:7"),
        ('{"a": ' + "1" * 5000 + "}", "SRC013", "f.json:1:7"),
        ('{"a": "\\ud800"}', "SRC003", "f.json:1:7"),
        ("[1]", "SRC014", "f.json:1:1"),
        ('"text"', "SRC014", "f.json:1:1"),
    ],
)
def test_broken_json(text: str, code: str, place: str) -> None:
    _, diagnostics = read(text)
    assert [(item.code, str(item.span)) for item in diagnostics.items] == [(code, place)]


def test_surrogate_pairs_are_text() -> None:
    (document,), diagnostics = read('{"a": "\\ud83d\\ude00"}')
    assert document.data == {"a": "\N{GRINNING FACE}"}
    assert not diagnostics.items


def test_depth_is_the_same_as_for_yaml() -> None:
    fits, deep = "[" * 63 + "]" * 63, "[" * 64 + "]" * 64
    for name, start in (("f.json", ""), ("f.yaml", "# YAML\n")):
        assert not read(f'{start}{{"a": {fits}}}', name)[1].items
        (error,) = read(f'{start}{{"a": {deep}}}', name)[1].items
        assert (error.code, error.span.column) == ("SRC006", 7 + 63)


def test_yaml_that_looks_like_json_is_read_as_yaml() -> None:
    (document,), diagnostics = read('{"kind": Pod, "spec": {}}', "f.yaml")
    assert document.data == {"kind": "Pod", "spec": {}}
    assert not diagnostics.items


def test_number_of_values_is_limited() -> None:
    _, diagnostics = read('{"a": [1, 2, 3, 4]}', limits=Limits(json_nodes=4))
    assert [item.code for item in diagnostics.items] == ["SRC007"]
