#!/usr/bin/env python3
"""Writes docs/diagnostics.md: every stable diagnostic code with its severity, one message and its samples.

A code is a constant of a ``codes.py``, or a literal such as ``"SRC005"`` where it is reported. Its message is
what its sample gets; without a sample, the text in the code. ``--check`` writes nothing and exits 1 when the file
is out of date. Run it with the Python of the virtual environment.
"""

from __future__ import annotations

import ast
import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import check_program

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "compiler" / "bpfence"
TARGET = ROOT / "docs" / "diagnostics.md"

LITERAL = re.compile(r"[A-Z][A-Z0-9]{1,2}\d{3}")
OPTIONS = re.compile(r"^# options: (.+)$", re.MULTILINE)
CLUSTER = ROOT / "policies" / "samples" / "cluster.yaml"
"""the inventory beside samples of warnings and notes"""
EXPECT = re.compile(r"# expect: ([A-Z0-9]+\d{3}):\d+")
SCHEMA = {
    "001": "unknown field",
    "002": "null where a value is meant",
    "003": "wrong type",
    "004": "required field missing",
    "005": "value not allowed",
}
"""Numbers that every language's schema check has in common (see dialects/validation.py)."""
TITLES = {
    "SRC": "Source: files, YAML, JSON, kinds",
    "INV": "Inventory: pods, nodes, services",
    "IR0": "Program: all languages together",
    "LNT": "Program: what the compiled rules show",
    "K8S": "Kubernetes policies",
    "CIL": "Cilium policies",
    "CAL": "Calico policies",
}
LENIENT = "error (a warning with --allow-unsupported)"
SEVERITIES = {
    "warning": "warning",
    "Finding": "warning",
    "note": "note",
    "refuse": LENIENT,
    "unsupported": LENIENT,
    "Unsupported": LENIENT,
    "Feature": LENIENT,
}
"""By the name of the function that is called with the code; every other one reports an error."""
MARKDOWN = str.maketrans({character: f"\\{character}" for character in "|<*_[`"})
ORDER = ("error", LENIENT, "warning", "note")


@dataclass(slots=True)
class Code:
    """``meaning``: the constant's name in words. ``messages``: texts found where the code is reported."""

    code: str
    meaning: str = ""
    severities: set[str] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)

    @property
    def severity(self) -> str:
        found = self.severities or {"error"}
        if LENIENT in found:
            return LENIENT
        return " or ".join(severity for severity in ORDER if severity in found)

    @property
    def text(self) -> str:
        return sample_message(self) or (self.messages[0] if self.messages else self.meaning)


def main(arguments: list[str]) -> int:
    text = document()
    if "--check" not in arguments:
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_text(text)
        return 0
    current = TARGET.exists() and TARGET.read_text() == text
    print("docs/diagnostics.md is current" if current else "out of date: run tools/diagnostic_codes.py")
    return 0 if current else 1


def document() -> str:
    """The whole file."""
    codes = all_codes()
    lines = [
        "# Diagnostics",
        "",
        "Written by `tools/diagnostic_codes.py`; do not edit. Codes are stable: a code keeps its meaning, and a code",
        "that is no longer used is not given out again. Messages may change. The message shown is what the first",
        "sample gets; where there is no sample, `…` stands for a part of the input.",
    ]
    for prefix, title in TITLES.items():
        own = [codes[name] for name in sorted(codes) if name.startswith(prefix)]
        lines += ["", f"## {title}", "", "| code | severity | message | samples |", "|---|---|---|---|"]
        lines += [_line(item) for item in own]
    return "\n".join((*lines, ""))


def all_codes() -> dict[str, Code]:
    """Every code by its name."""
    codes: dict[str, Code] = {}
    for path in sorted(PACKAGE.rglob("codes.py")):
        for name, code in constants(path).items():
            codes.setdefault(code, Code(code)).meaning = name.lower().replace("_", " ")
    for path in sorted(PACKAGE.rglob("*.py")):
        _add_uses(path, codes)
    for path in sorted((*ROOT.glob("policies/bad/*/*.yaml"), *ROOT.glob("policies/lint/*/*.yaml"))):
        if found := EXPECT.match(path.read_text()):
            codes.setdefault(found[1], Code(found[1])).samples.append(path.relative_to(ROOT).as_posix())
    for prefix, (number, meaning) in itertools.product(("K8S", "CIL", "CAL"), SCHEMA.items()):
        codes.setdefault(prefix + number, Code(prefix + number)).meaning = meaning
    return codes


def sample_message(item: Code) -> str:
    """What the first sample of the code is told; empty when it takes more than the file to get it."""
    for name, engine in itertools.product(item.samples, ("auto", "cilium")):
        text = (ROOT / name).read_text()
        own = dict(option.split("=") for found in OPTIONS.findall(text) for option in found.split())
        options = Options.model_validate({"engine": engine, **own})
        beside = [str(CLUSTER)] if name.startswith("policies/lint/") else []
        loaded = load_input([str(ROOT / name), *beside], options)
        check_program(loaded, options)
        for found in loaded.diagnostics.sorted():
            if found.code == item.code:
                return found.message.replace(f"{ROOT}/", "")
    return ""


def constants(path: Path) -> dict[str, str]:
    """The codes of a ``codes.py``: constant -> code."""
    return {
        node.targets[0].id: node.value.value
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def _add_uses(path: Path, codes: dict[str, Code]) -> None:
    """Severity and message of every call in the file that is given a code."""
    names = constants(path.parent / "codes.py") if (path.parent / "codes.py").exists() else {}
    for scope in ast.walk(ast.parse(path.read_text())):
        if not isinstance(scope, ast.FunctionDef):
            continue
        for call in (node for node in ast.walk(scope) if isinstance(node, ast.Call)):
            for place, argument in enumerate(call.args):
                if code := _code(argument, names):
                    item = codes.setdefault(code, Code(code))
                    item.severities.add(SEVERITIES.get(_called(call), "error"))
                    item.messages += _message(call.args[place + 1 :], scope)


def _code(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "codes":
        return names.get(node.attr, "")
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and LITERAL.fullmatch(node.value):
        return node.value
    return ""


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def _message(arguments: list[ast.expr], scope: ast.FunctionDef) -> Iterator[str]:
    """The first text behind the code, or what a name behind it was given last in the same function."""
    for argument in arguments:
        given = _assigned(argument.id, scope, argument.lineno) if isinstance(argument, ast.Name) else argument
        if given is not None and (text := _text(given)):
            yield text
            return


def _assigned(name: str, scope: ast.FunctionDef, before: int) -> ast.expr | None:
    found = [
        node
        for node in ast.walk(scope)
        if isinstance(node, ast.Assign)
        and node.lineno < before
        and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
    ]
    return max(found, key=lambda node: node.lineno).value if found else None


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        return "".join(map(str, parts))
    return ""


def _line(item: Code) -> str:
    samples = ", ".join(f"[{Path(name).stem}](../{name})" for name in item.samples)
    text = " ".join(item.text.split()).translate(MARKDOWN)
    return f"| {item.code} | {item.severity} | {text} | {samples} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
