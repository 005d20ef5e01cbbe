from bpfence.diagnostics import Diagnostics
from bpfence.source.documents import Document
from bpfence.source.limits import Limits
from bpfence.source.read import read_text

TEXT = """\
# a comment
kind: Pod
metadata:
  name: web   # the name
  labels: {app: "web", 'tier': front}
spec:
  list:
  - one
  - {two: [2, 3]}
  empty:
"""


def read(text: str, limits: Limits | None = None) -> tuple[tuple[Document, ...], list[tuple[str, int, int]]]:
    diagnostics = Diagnostics()
    documents = read_text("file.yaml", text, diagnostics, limits)
    return documents, [(item.code, item.span.line, item.span.column) for item in diagnostics.sorted()]


def place(document: Document, *path: str | int) -> tuple[int, int, int, int]:
    span = document.span(*path)
    return span.line, span.column, span.end_line, span.end_column


def test_data() -> None:
    (document,), errors = read(TEXT)
    assert not errors
    assert document.data["spec"] == {"list": ["one", {"two": [2, 3]}], "empty": None}


def test_spans_of_values_and_keys() -> None:
    (document,), _ = read(TEXT)
    assert place(document, "metadata", "name") == (4, 9, 4, 12)
    assert place(document, "metadata", "labels") == (5, 11, 5, 38)
    assert place(document, "metadata", "labels", "tier") == (5, 32, 5, 37)
    assert place(document, "spec", "list", 1, "two", 1) == (9, 15, 9, 16)
    assert str(document.key_span("spec", "list")) == "file.yaml:7:3"
    assert str(document.key_span("spec", "list", 0)) == "file.yaml:8:5"


def test_a_block_ends_with_its_last_value() -> None:
    (document,), _ = read(TEXT)
    assert place(document, "metadata") == (4, 3, 5, 38)


def test_missing_paths_mean_the_nearest_ancestor() -> None:
    (document,), _ = read(TEXT)
    assert document.span("spec", "list", 7, "x") == document.span("spec", "list")
    assert document.key_span("metadata", "uid") == document.span("metadata")
    assert document.span("kind", "x") == document.span("kind")


def test_many_documents_and_empty_ones() -> None:
    documents, errors = read("---\n# nothing\n---\na: 1\n---\n---\nb: 2\n...\n")
    assert [document.data for document in documents] == [{"a": 1}, {"b": 2}]
    assert not errors


def test_a_doubled_key_names_both_places_and_shifts_nothing() -> None:
    diagnostics = Diagnostics()
    (document,) = read_text("f.yaml", "a: {k: 1}\nb: 2\na: {m: [1, 2]}\nc: 3\n", diagnostics)
    (error,) = diagnostics.items
    assert (error.code, str(error.span)) == ("SRC009", "f.yaml:3:1")
    assert "f.yaml:1:1" in error.message
    assert document.data == {"a": {"k": 1}, "b": 2, "c": 3}
    assert str(document.span("c")) == "f.yaml:4:4"


def test_aliases_are_copied() -> None:
    (document,), errors = read("a: &x {k: [1]}\nb: *x\nc: 5\n")
    assert not errors
    assert document.data["a"] == document.data["b"]
    assert document.data["a"] is not document.data["b"]
    assert document.data["a"]["k"] is not document.data["b"]["k"]
    assert str(document.span("b")) == "file.yaml:2:4"
    assert str(document.span("b", "k", 0)) == "file.yaml:1:12"
    assert str(document.span("c")) == "file.yaml:3:4"


def test_nested_aliases_keep_their_places() -> None:
    (document,), errors = read("a: &a [1]\nb: &b {k: *a, m: *a}\nc: [*b, *a]\nd: 9\n")
    assert not errors
    assert document.data["c"] == [{"k": [1], "m": [1]}, [1]]
    assert str(document.span("c", 0, "m", 0)) == "file.yaml:1:8"
    assert str(document.span("c", 1)) == "file.yaml:3:9"
    assert str(document.span("d")) == "file.yaml:4:4"


def test_aliases_are_part_of_the_depth() -> None:
    text = "a: &a {k: {m: 1}}\nb: {c: {d: *a}}\n"
    assert read(text, Limits(depth=5))[1] == []
    assert read(text, Limits(depth=4))[1] == [("SRC006", 2, 12)]


def test_anchors_end_with_their_document() -> None:
    assert read("a: &x 1\n---\nb: *x\n")[1] == [("SRC008", 3, 4)]


def test_core_tags() -> None:
    (document,), errors = read("a: !!str 010\nb: !!int 5\nc: ! yes\nd: !!map {}\n")
    assert not errors
    assert document.data == {"a": "010", "b": 5, "c": "yes", "d": {}}
    for text in ("a: !!int web", "a: !!binary aGk=", "a: !foo {}", "a: !!set {x}"):
        assert [code for code, _, _ in read(text)[1]] == ["SRC012"], text


def test_keys_must_be_text() -> None:
    for text in ("1: a", "yes: a", "~: a", "2024-01-01: a", "? [a]\n: b", "? {a: b}\n: c"):
        assert [code for code, _, _ in read(text)[1]] == ["SRC010"], text
    assert read('"1": a\n"<<": b\n')[1] == []


def test_a_mistake_of_syntax_leaves_the_documents_before_it() -> None:
    documents, errors = read("a: 1\n---\nb: [1\n")
    assert [document.data for document in documents] == [{"a": 1}]
    assert [code for code, _, _ in errors] == ["SRC005"]


def test_lines_count_as_editors_do() -> None:
    (document,), _ = read("a: 1\r\nb: 2\r\n")
    assert str(document.span("b")) == "file.yaml:2:4"
    (document,), _ = read("\ufeffa: 1\n")
    assert str(document.span("a")) == "file.yaml:1:4"


def test_control_characters_are_refused_at_their_line() -> None:
    assert read("a: 1\nb: \x1b[31m\n")[1][0][:2] == ("SRC005", 2)
