"""Input made to exhaust time, memory or the stack ends in one diagnostic, quickly."""

import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfence.diagnostics import Diagnostics
from bpfence.source.read import read_sources

MIB = 1 << 20


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 12)]
    return "\n".join(lines)


HOSTILE: dict[str, tuple[str, Callable[[], str], str]] = {
    "100 MB of brackets": ("f.yaml", lambda: "[" * (100 * MIB), "SRC004"),
    "100 MB of brackets in JSON": ("f.json", lambda: "[" * (100 * MIB), "SRC007"),
    "nested JSON lists": ("f.json", lambda: "[" * (10 * MIB), "SRC006"),
    "nested JSON mappings": ("f.json", lambda: '{"a":' * (10 * MIB), "SRC006"),
    "closed nested JSON": ("f.json", lambda: '{"a":' * 500 + "1" + "}" * 500, "SRC006"),
    "nested flow lists": ("f.yaml", lambda: "a: " + "[" * (30 * MIB), "SRC006"),
    "nested flow mappings": ("f.yaml", lambda: "{a: " * (7 * MIB), "SRC006"),
    "nested block lists": ("f.yaml", lambda: "- " * (15 * MIB), "SRC006"),
    "nested block mappings": ("f.yaml", lambda: "\n".join(" " * depth + "a:" for depth in range(3000)), "SRC006"),
    "alias bomb": ("f.yaml", bomb, "SRC008"),
    "complex keys": ("f.yaml", lambda: "? " * (15 * MIB), "SRC010"),
    "open quote": ("f.yaml", lambda: 'a: "' + "x\\\n" * (7 * MIB), "SRC005"),
    "open JSON text": ("f.json", lambda: '{"a": "' + '\\"' * (20 * MIB), "SRC005"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_one_diagnostic_in_bounded_time_and_memory(case: str, tmp_path: Path) -> None:
    name, text, code = HOSTILE[case]
    path = tmp_path / name
    path.write_text(text())
    diagnostics = Diagnostics()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    sources = read_sources([str(path)], diagnostics)
    assert time.perf_counter() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 800 * 1024
    assert [item.code for item in diagnostics.items] == [code]
    assert not sources.documents


def test_many_doubled_keys_are_cut_short(tmp_path: Path) -> None:
    for name, text in (
        ("f.yaml", "a: {" + "x: 1, " * MIB + "}"),
        ("f.json", '{"a": {' + '"x": 1, ' * MIB + '"x": 1}}'),
    ):
        path = tmp_path / name
        path.write_text(text)
        diagnostics = Diagnostics()
        start = time.perf_counter()
        read_sources([str(path)], diagnostics)
        assert time.perf_counter() - start < 10
        assert 90 < len(diagnostics.items) < 110


def test_many_anchors_take_linear_time(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("a:\n" + "".join(f"- &a{number} {{}}\n" for number in range(100_000)))
    start = time.perf_counter()
    assert len(read_sources([str(path)], Diagnostics()).documents) == 1
    assert time.perf_counter() - start < 10


def test_two_thousand_small_files_are_read_quickly(tmp_path: Path) -> None:
    text = (
        "kind: NetworkPolicy\nmetadata:\n  name: x\nspec:\n"
        + "  a: {b: [c, d]}\n" * 1
        + "".join(f"  k{number}:\n  - x: y\n" for number in range(14))
    )
    for number in range(2000):
        (tmp_path / f"{number}.yaml").write_text(text)
    start = time.perf_counter()
    assert len(read_sources([str(tmp_path)], Diagnostics()).documents) == 2000
    assert time.perf_counter() - start < 6
