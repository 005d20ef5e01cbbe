"""The pipeline's order in the imports: a module imports what comes before it, never what comes after; its size and
docstring.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import bpfence

ROOT = Path(bpfence.__file__).parent
MAX_LINES = 500

ORDER: tuple[tuple[str, ...], ...] = (
    (
        "errors",
        "diagnostics",
        "source.spans",
        "options",
        "flows",
        "resources",
        "timing",
        "collection",
        "version",
        "kept_files",
    ),
    ("source",),
    ("selectors", "suppression"),
    ("ir",),
    ("dialects",),
    ("identity",),
    ("dialects.kubernetes", "dialects.cilium", "dialects.calico"),
    ("dialects.registry",),
    ("loading", "lowering"),
    ("passes",),
    ("plan.layout",),
    ("classify",),
    ("plan",),
    ("emit",),
    ("analyse.lint",),
    ("assembly",),
    ("pipeline",),
    ("kept_programs",),
    ("prepare",),
    ("semantics",),
    ("simulate",),
    ("analyse",),
    ("loader",),
    ("demo",),
    ("bench",),
    ("cli",),
    ("__main__",),
)
"""Each step may import the earlier ones. Units of one step do not import each other, those of the first may."""

LIBRARIES: dict[str, tuple[str, ...]] = {
    "bcc": ("loader",),
    "click": ("cli",),
    "lark": ("ir", "selectors"),
    "networkx": ("analyse",),
    "pyroute2": ("loader", "demo", "bench"),
    "yaml": ("source",),
}
"""Who may import what is meant for one purpose."""

FOUNDATION = frozenset(ORDER[0])
APART = (
    "ir", "passes", "classify", "plan", "emit", "simulate", "analyse", "selectors", "lowering", "assembly", "pipeline"
)  # fmt: skip
"""what the reference evaluator must not share with the compiler"""
MODULES = sorted(ROOT.rglob("*.py"))
RANK = {unit: rank for rank, units in enumerate(ORDER) for unit in units}


def module_name(path: Path) -> str:
    """The dotted name below the package; empty for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def unit_of(name: str) -> str:
    """The longest prefix of the name that the table has. The package itself holds only the version."""
    if not name:
        return "version"
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in RANK:
            return ".".join(parts[:length])
    raise AssertionError(f"{name} has no place in the order: add it to the table")


def imports_of(path: Path) -> Iterator[str]:
    """Full names of imported modules, those of ``from x import y`` as ``x.y``: y may be a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_units(path: Path) -> set[str]:
    """The units that a module imports from."""
    names = [name.removeprefix("bpfence").removeprefix(".") for name in imports_of(path) if _is_own(name)]
    return {unit_of("" if name == "__version__" else name) for name in names}


def _is_own(name: str) -> bool:
    return name.partition(".")[0] == "bpfence"


def test_modules_import_only_what_comes_before_them() -> None:
    wrong = []
    for path in MODULES:
        unit = unit_of(module_name(path))
        others = own_units(path) - {unit} - (FOUNDATION if unit in FOUNDATION else set())
        wrong += [f"{path.relative_to(ROOT)} imports {other}" for other in sorted(others) if RANK[other] >= RANK[unit]]
    assert not wrong, "\n".join(wrong)


def test_libraries_stay_in_their_place() -> None:
    wrong = []
    for path in MODULES:
        unit = unit_of(module_name(path))
        used = {name.partition(".")[0] for name in imports_of(path)} & LIBRARIES.keys()
        strange = [name for name in sorted(used) if not any(_below(unit, place) for place in LIBRARIES[name])]
        wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in strange]
    assert not wrong, "\n".join(wrong)


def _below(unit: str, place: str) -> bool:
    return unit == place or unit.startswith(f"{place}.")


def test_the_reference_evaluator_stands_apart() -> None:
    used = {unit for path in (ROOT / "semantics").glob("*.py") for unit in own_units(path)}
    assert not sorted(unit for unit in used if any(_below(unit, item) for item in APART))


def test_no_file_is_too_long() -> None:
    assert not [str(path) for path in MODULES if len(path.read_text().splitlines()) > MAX_LINES]


def test_every_module_says_what_it_is() -> None:
    assert not [str(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))]
