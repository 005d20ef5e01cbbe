import hashlib
import io
import os
from pathlib import Path

import pytest

from bpfence.diagnostics import Diagnostics
from bpfence.source.limits import Limits
from bpfence.source.read import Sources, read_sources


def read(*paths: Path | str, limits: Limits | None = None, stdin: str | None = None) -> tuple[Sources, list[str]]:
    diagnostics = Diagnostics()
    stream = io.StringIO(stdin) if stdin is not None else None
    sources = read_sources([str(path) for path in paths], diagnostics, limits, stream)
    return sources, [item.code for item in diagnostics.sorted()]


def names(sources: Sources) -> list[str]:
    return [document.data["file"] for document in sources.documents]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("z.yaml", "a.yml", "b/c.json", "b/d.YAML", "notes.txt", ".hidden.yaml", ".git/x.yaml"):
        (tmp_path / name).write_text(f'{{"file": "{name}"}}')
    return tmp_path


def test_folders_are_walked_in_sorted_order(tree: Path) -> None:
    sources, codes = read(tree)
    assert names(sources) == ["a.yml", "b/c.json", "b/d.YAML", "z.yaml"]
    assert [file.relative for file in sources.files] == names(sources)
    assert sources.files[0].path == str(tree / "a.yml")
    assert sources.documents[1].span().relative == "b/c.json"
    assert not codes


def test_a_file_is_read_once_and_any_name_may_be_given(tree: Path) -> None:
    os.symlink(tree / "z.yaml", tree / "again.yaml")
    sources, codes = read(tree / "z.yaml", tree / "notes.txt", tree, tree / "b" / "c.json")
    assert names(sources) == ["z.yaml", "notes.txt", "a.yml", "b/c.json", "b/d.YAML"]
    assert not codes


def test_circles_of_links_end(tree: Path) -> None:
    os.symlink(tree, tree / "b" / "loop")
    assert names(read(tree)[0]) == ["a.yml", "b/c.json", "b/d.YAML", "z.yaml"]


def test_hash_is_of_the_bytes(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbffile: 1\r\n"
    (tmp_path / "a.yaml").write_bytes(content)
    (file,) = read(tmp_path)[0].files
    assert file.sha256 == hashlib.sha256(content).hexdigest()


def test_what_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9t\xe9\n")
    (tmp_path / "large.yaml").write_text("a: " + "x" * 100)
    (tmp_path / "empty").mkdir()
    os.symlink(tmp_path / "nowhere", tmp_path / "dangling.yaml")
    assert read(tmp_path / "latin.yaml")[1] == ["SRC003"]
    assert read(tmp_path / "large.yaml", limits=Limits(yaml_bytes=50))[1] == ["SRC004"]
    assert read(tmp_path / "missing.yaml")[1] == ["SRC001"]
    assert read(tmp_path / "dangling.yaml")[1] == ["SRC002"]
    assert read(tmp_path / "empty")[1] == ["SRC015"]


def test_not_utf8_is_told_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9t\xe9\n")
    diagnostics = Diagnostics()
    read_sources([str(tmp_path)], diagnostics)
    assert diagnostics.items[0].span.line == 2


def test_standard_input() -> None:
    sources, codes = read("-", stdin="file: one\n---\nfile: two\n")
    assert names(sources) == ["one", "two"]
    assert sources.files[0].path == "<stdin>"
    assert not codes


LIST = """\
kind: List
apiVersion: v1
items:
- kind: PodList
  apiVersion: v1
  items:
  - {file: deep}
- {file: flat}
"""


def test_lists_of_lists() -> None:
    sources, codes = read("-", stdin=LIST)
    assert names(sources) == ["deep", "flat"]
    assert sources.documents[0].kind == "Pod"
    assert str(sources.documents[0].span("file")) == "<stdin>:7:12"
    assert not codes


def test_empty_lists_hold_nothing() -> None:
    for items in ("null", "[]"):
        sources, codes = read("-", stdin=f"kind: PodList\napiVersion: v1\nitems: {items}\n")
        assert sources.documents == ()
        assert not codes
