"""The rows of the languages' rules, and what covers each: tools/rows/LANGUAGE.yaml in, `RuleRow`s out.

A row's value is a list of words: the short name of a packet table; ``bad/``, ``lint/`` and the path of a sample below
policies; ``test/`` and the path of a module below tests. Each may have ``*``. A word that finds nothing is a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "tools" / "rows"


@dataclass(frozen=True, slots=True)
class RuleRow:
    """``tables``: short names; ``refused``, ``noted``, ``tests``: paths below the root; ``missing``: words that find
    nothing.
    """

    section: str
    name: str
    tables: tuple[str, ...]
    refused: tuple[str, ...]
    noted: tuple[str, ...]
    tests: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def covered(self) -> bool:
        return bool(self.tables or self.refused or self.noted or self.tests)


def languages() -> tuple[str, ...]:
    """The names of the files."""
    return tuple(path.stem for path in sorted(ROWS.glob("*.yaml")))


def read_rows(language: str) -> Iterator[RuleRow]:
    """The rows of one language, in the order of its file."""
    sections = yaml.load((ROWS / f"{language}.yaml").read_text(), yaml.CSafeLoader)
    for section, rows in sections.items():
        for name, words in rows.items():
            yield _row(str(section), str(name), str(words).split())


def _row(section: str, name: str, words: list[str]) -> RuleRow:
    found = {word: _find(word) for word in words}

    def of(kind: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for word in words if _kind(word) == kind for path in found[word]))

    missing = tuple(word for word in words if not found[word])
    return RuleRow(section, name, of("table"), of("bad"), of("lint"), of("test"), missing)


def _kind(word: str) -> str:
    kind = word.partition("/")[0]
    return kind if kind in ("bad", "lint", "test") else "table"


def _find(word: str) -> tuple[str, ...]:
    match _kind(word):
        case "table":
            return tuple(name for name in table_names() if fnmatchcase(name, word))
        case "test":
            return _paths(ROOT / "tests", f"{word.removeprefix('test/')}.py")
        case _:
            return _paths(ROOT / "policies", f"{word}.yaml")


def _paths(folder: Path, pattern: str) -> tuple[str, ...]:
    return tuple(path.relative_to(ROOT).as_posix() for path in sorted(folder.glob(pattern)))


@cache
def table_names() -> tuple[str, ...]:
    """The short names of all packet tables, by file and place."""
    documents = (
        document
        for path in sorted(ROOT.glob("tests/packets/*.yaml"))
        for document in yaml.load_all(path.read_text(), yaml.CSafeLoader)
        if document
    )
    return tuple(str(document["name"]).split()[0] for document in documents)
