"""What the compiler makes of the cases below golden/, compared with what is written there.

``pytest tests/golden --update-golden`` rewrites it; CI refuses differences.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support.golden import golden_texts

ROOT = Path(__file__).parents[2] / "golden"
CASES = sorted(path.name for path in ROOT.iterdir() if path.is_dir())
INPUTS = (".yaml",)
FLOWS = "flows.txt"


@pytest.mark.parametrize("name", CASES)
def test_nothing_has_moved(name: str, monkeypatch: pytest.MonkeyPatch, update_golden: bool) -> None:
    folder = ROOT / name
    monkeypatch.chdir(folder)
    texts = {file: text.rstrip("\n") + "\n" for file, text in golden_texts(folder).items()}
    if update_golden:
        _rewrite(folder, texts)
    kept = {path.name: path.read_text() for path in _kept(folder)}
    for file in sorted(kept.keys() | texts.keys()):
        assert kept.get(file) == texts.get(file), f"golden/{name}/{file} differs; --update-golden rewrites it"


def test_there_is_a_case_for_every_language() -> None:
    assert {"kubernetes", "cluster", "cilium", "calico", "mixed", "diagnostics"} <= set(CASES)


def _kept(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix not in INPUTS and path.name != FLOWS]


def _rewrite(folder: Path, texts: dict[str, str]) -> None:
    for path in _kept(folder):
        path.unlink()
    for file, text in texts.items():
        (folder / file).write_text(text)
