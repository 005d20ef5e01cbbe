"""The documents tell the truth: generated ones are current, and what they name is there."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from bpfence.cli import run

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
GENERATED = {"docs/diagnostics.md": "diagnostic_codes", "docs/coverage.md": "rule_coverage"}
LINK = re.compile(r"\]\(([^)\s]+)\)")
MARKDOWN = str.maketrans({character: f"\\{character}" for character in "|<*_[`"})
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(r"(?:^|[\s|])bpfence ([a-z]+)", re.MULTILINE)
PATH = re.compile(r"[\w*.-]+(?:/[\w*.-]+)*(?:/|\.(?:py|h|md|yaml|lark))")


def test_the_documents_are_there() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in DOCUMENTS}
    assert names >= {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", *GENERATED}


@pytest.mark.parametrize("document", GENERATED)
def test_generated_documents_are_current(document: str) -> None:
    tool = load_tool(GENERATED[document])
    current = (ROOT / document).read_text() == tool.document()
    assert current, f"{document} is out of date: run .venv/bin/python tools/{GENERATED[document]}.py"


def test_every_row_of_the_rules_is_covered() -> None:
    rows = load_tool("rule_rows")
    found = {language: list(rows.read_rows(language)) for language in rows.languages()}
    assert found.keys() == {"kubernetes", "cilium", "calico"}
    assert all(len(items) > 100 for items in found.values())
    named = [(language, row) for language, items in found.items() for row in items]
    assert [(language, row.section, row.name, row.missing) for language, row in named if row.missing] == []
    assert [(language, row.section, row.name) for language, row in named if not row.covered] == []
    text = generated("docs/coverage.md")
    assert [row.name for _, row in named if row.name.translate(MARKDOWN) not in text] == []


def test_a_row_without_cover_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = load_tool("rule_rows")
    monkeypatch.setattr(rows, "ROWS", tmp_path)
    (tmp_path / "some.yaml").write_text("1 Section:\n  a: K1 bad/kubernetes/nothing-like-this\n  b: Z99*\n")
    first, second = rows.read_rows("some")
    assert (first.tables, first.covered, first.missing) == (("K1",), True, ("bad/kubernetes/nothing-like-this",))
    assert (second.covered, second.missing) == (False, ("Z99*",))


def test_every_sample_is_among_the_diagnostics() -> None:
    text = (ROOT / "docs/diagnostics.md").read_text()
    samples = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("policies/bad/*/*.yaml")]
    assert samples
    assert [name for name in samples if f"(../{name})" not in text] == []


def test_every_diagnostic_has_words() -> None:
    rows = re.findall(
        r"^\| ([A-Z0-9]+\d{3}) \| ([^|]+) \| ((?:\\.|[^|\\])*) \|", generated("docs/diagnostics.md"), re.MULTILINE
    )
    assert len(rows) > 100
    assert [
        code for code, severity, message in rows if not severity.strip() or not re.search(r"[a-z]{3}", message)
    ] == []
    assert len({code for code, _, _ in rows}) == len(rows)


def test_the_readme_names_exactly_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    offered = set(re.findall(r"^  ([a-z]+)  ", capsys.readouterr().out.partition("Commands:")[2], re.MULTILINE))
    assert commands_in("README.md") == offered


def test_other_documents_name_real_commands(capsys: pytest.CaptureFixture[str]) -> None:
    known = commands_in("README.md")
    named = {name for path in DOCUMENTS for name in commands_in(path.relative_to(ROOT).as_posix())}
    assert named <= known


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    broken = [link for link in links(path) if not resolves(path, link)]
    assert broken == []


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_named_files_exist(name: str) -> None:
    spans = SPAN.findall(FENCE.sub("", (ROOT / name).read_text()))
    paths = [span for span in spans if PATH.fullmatch(span) and "/" in span]
    assert len(paths) > 15
    assert [path for path in paths if not any(named_places(path))] == []


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"):
        text = (ROOT / name).read_text()
        assert {*re.findall(r"`make ([a-z]+)`", text), *re.findall(r"^make ([a-z]+)", text, re.MULTILINE)} <= targets


def load_tool(name: str) -> ModuleType:
    """A script of tools/ as a module of its own, which finds its neighbours as it does when it is run."""
    folder = str(ROOT / "tools")
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for the module of their class there
    spec.loader.exec_module(module)
    return module


def generated(name: str) -> str:
    return (ROOT / name).read_text()


def commands_in(name: str) -> set[str]:
    """Sub-commands named in the document's code."""
    text = (ROOT / name).read_text()
    code = [*FENCE.findall(text), *SPAN.findall(FENCE.sub("", text))]
    return {command for part in code for command in COMMAND.findall(part)}


def links(path: Path) -> list[str]:
    text = FENCE.sub("", path.read_text())
    return [link for link in LINK.findall(text) if not link.startswith(("https://", "http://"))]


def resolves(path: Path, link: str) -> bool:
    """A file of the repository, and in it the heading that the link names."""
    file, _, heading = link.partition("#")
    target = path.parent / file if file else path
    return target.exists() and (not heading or heading in anchors(target))


def anchors(path: Path) -> set[str]:
    """Headings as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named_places(path: str) -> Iterator[Path]:
    """Files that a path means: below the root, or below the package."""
    for base in (ROOT, ROOT / "compiler" / "bpfence"):
        yield from base.glob(path.rstrip("/"))
