#!/usr/bin/env python3
"""Writes docs/coverage.md: which packet tables and refusals the tests have, per policy language and per rule of it.

Read from tests/packets/*.yaml, policies/samples, policies/bad and policies/lint; the rules from tools/rows/*.yaml.
``--check`` writes nothing and exits 1 when the file is out of date.
Run it with the Python of the virtual environment.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from rule_rows import RuleRow, languages, read_rows

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "coverage.md"
PROMISE = re.compile(r"^# (allow|deny|refused): (\S+)", re.MULTILINE)
EXPECT = re.compile(r"# expect: ([A-Z0-9]+\d{3}):\d+")
MARKDOWN = str.maketrans({character: f"\\{character}" for character in "|<*_[`"})
MOST_LINKS = 20
LANGUAGES = {
    "kubernetes": "Kubernetes NetworkPolicy",
    "cluster": "Kubernetes ClusterNetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy",
    "cilium": "Cilium",
    "calico": "Calico",
}
"""By the first word of a table file's name; files with another one come last."""


def main(arguments: list[str]) -> int:
    text = document()
    if "--check" not in arguments:
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_text(text)
        return 0
    current = TARGET.exists() and TARGET.read_text() == text
    print("docs/coverage.md is current" if current else "out of date: run tools/rule_coverage.py")
    return 0 if current else 1


def document() -> str:
    """The whole file."""
    lines = [
        "# Coverage of the languages",
        "",
        "Written by `tools/rule_coverage.py`; do not edit.",
        "",
        "A *packet table* is a policy, a world and packets with the verdict each must get. Every row is answered by",
        "the reference evaluator, by `explain`, by the emitted tables and by the program in the kernel; all four must",
        "say what the row says. Tables whose addresses have an IPv6 twin run a second time over IPv6.",
    ]
    lines += _rule_lines()
    groups: dict[str, list[Path]] = {}
    for path in sorted(ROOT.glob("tests/packets/*.yaml")):
        groups.setdefault(path.stem.partition("-")[0], []).append(path)
    known = [word for word in LANGUAGES if word in groups]
    for word in (*known, *sorted(groups.keys() - LANGUAGES)):
        lines += ["", f"## {LANGUAGES.get(word, word)}"]
        for path in groups[word]:
            lines += _table_lines(path)
    lines += [
        "",
        "## Samples",
        "",
        "Policies in the style of the languages' own documentation, with the verdicts they promise in their comments.",
        "`explain` and the evaluator must both keep them, and `check` must say no more than they announce.",
    ]
    for folder in sorted(path for path in ROOT.glob("policies/samples/*") if path.is_dir()):
        lines += _sample_lines(folder)
    lines += [
        "",
        "## Refusals",
        "",
        "Input that must fail, each with one code at one line. [diagnostics.md](diagnostics.md) has the messages.",
    ]
    for folder in sorted(path for path in ROOT.glob("policies/bad/*") if path.is_dir()):
        lines += _refusal_lines(folder)
    lines += [
        "",
        "## Warnings and notes",
        "",
        "Input that compiles and must be remarked on, with one code at one line.",
    ]
    for folder in sorted(path for path in ROOT.glob("policies/lint/*") if path.is_dir()):
        lines += _refusal_lines(folder)
    return "\n".join((*lines, ""))


def _rule_lines() -> Iterator[str]:
    """What each language says, row by row, and where it is tested."""
    yield ""
    yield "## Rules by name"
    yield ""
    yield "What the languages say, in sections and rows, and what covers each row: packet tables (by their short names,"
    yield "below), samples that must be refused, samples that must be remarked on, and other tests."
    for language in languages():
        rows = tuple(read_rows(language))
        yield ""
        yield f"### {LANGUAGES.get(language, language)}: {len(rows)} rows"
        yield ""
        yield "| section | row | packet tables | refused | remarked on | other tests |"
        yield "|---|---|---|---|---|---|"
        yield from map(_rule_line, rows)


def _rule_line(row: RuleRow) -> str:
    tables = ", ".join(row.tables)
    samples = [_listed(paths) for paths in (row.refused, row.noted, row.tests)]
    cells = (row.section.translate(MARKDOWN), row.name.translate(MARKDOWN), tables.translate(MARKDOWN), *samples)
    return f"| {' | '.join(cells)} |"


def _listed(paths: tuple[str, ...]) -> str:
    """Links; very many are counted."""
    if len(paths) > MOST_LINKS:
        folder = Path(paths[0]).parent.as_posix()
        return f"[{len(paths)} files](../{folder})"
    return ", ".join(f"[{Path(path).stem}](../{path})" for path in paths)


def _table_lines(path: Path) -> Iterator[str]:
    tables = [table for table in yaml.load_all(path.read_text(), yaml.CSafeLoader) if table]
    rows = sum(len(table["flows"]) for table in tables)
    yield ""
    yield f"[{path.name}](../{path.relative_to(ROOT).as_posix()}): {len(tables)} tables, {rows} packets"
    yield ""
    yield "| table | packets | allow | deny | over IPv6 too |"
    yield "|---|---|---|---|---|"
    yield from map(_table_line, tables)


def _table_line(table: dict[str, Any]) -> str:
    verdicts = [flow["expect"] for flow in table["flows"]]
    twin = "yes" if table.get("twin", True) else "no"
    name = str(table["name"]).translate(MARKDOWN)
    return f"| {name} | {len(verdicts)} | {verdicts.count('allow')} | {verdicts.count('deny')} | {twin} |"


def _sample_lines(folder: Path) -> Iterator[str]:
    samples = sorted(folder.glob("*.yaml"))
    yield ""
    yield f"### {folder.name}: {len(samples)} samples"
    yield ""
    for path in samples:
        words = PROMISE.findall(path.read_text())
        refused = [code for word, code in words if word == "refused"]
        verdicts = [word for word, _ in words]
        promise = (
            f"refused with {refused[0]}"
            if refused
            else f"{verdicts.count('allow')} allow, {verdicts.count('deny')} deny"
        )
        yield f"- [{path.stem}](../{path.relative_to(ROOT).as_posix()}): {promise}"


def _refusal_lines(folder: Path) -> Iterator[str]:
    samples = sorted(folder.glob("*.yaml"))
    yield ""
    yield f"### {folder.name}: {len(samples)} samples"
    yield ""
    for path in samples:
        found = EXPECT.match(path.read_text())
        yield f"- {found[1] if found else 'no code'} [{path.stem}](../{path.relative_to(ROOT).as_posix()})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
