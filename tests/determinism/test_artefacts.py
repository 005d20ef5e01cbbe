"""Two compiles of one input give the same bytes: whatever the order of the files, the folder they lie in, or the
process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bpfence.emit.folder import write_artefact
from bpfence.loading import load_input
from bpfence.options import Options
from bpfence.pipeline import compile_artefact

ROOT = Path(__file__).parents[2]
SAMPLES = {
    "kubernetes": ROOT / "golden" / "kubernetes",
    "cluster": ROOT / "golden" / "cluster",
    "cilium": ROOT / "golden" / "cilium",
    "calico": ROOT / "golden" / "calico",
    "mixed": ROOT / "golden" / "mixed",
}
NODE = "n1"

each_sample = pytest.mark.parametrize("name", SAMPLES)


def compiled_bytes(paths: list[str], folder: Path) -> dict[str, bytes]:
    """Every file of the artefact."""
    loaded = load_input(paths)
    write_artefact(compile_artefact(loaded, Options(node=NODE)), folder)
    return read_all(folder)


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def inputs_of(name: str) -> list[Path]:
    return sorted(SAMPLES[name].glob("*.yaml"))


@each_sample
def test_twice_the_same(name: str, tmp_path: Path) -> None:
    paths = [str(path) for path in inputs_of(name)]
    first = compiled_bytes(paths, tmp_path / "one")
    assert {"manifest.json", "ir.txt", "identities.json", "report.txt"} <= first.keys()
    assert first == compiled_bytes(paths, tmp_path / "two")


@each_sample
def test_the_order_of_the_files_does_not_matter(name: str, tmp_path: Path) -> None:
    """Every document in a file of its own."""
    documents = [text for path in inputs_of(name) for text in path.read_text().split("\n---\n")]
    paths = [tmp_path / f"{number}.yaml" for number in range(len(documents))]
    for path, text in zip(paths, documents, strict=True):
        path.write_text(text)
    in_order = [str(path) for path in paths]
    assert len(in_order) > 2
    first = compiled_bytes(in_order, tmp_path / "one")
    assert first == compiled_bytes(in_order[::-1], tmp_path / "two")
    assert first == compiled_bytes(in_order[1::2] + in_order[::2], tmp_path / "three")


@each_sample
def test_the_place_of_the_folder_does_not_matter(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as a folder below another root, from another working directory, by a relative path."""
    for place in ("a", "somewhere/else"):
        (tmp_path / place).mkdir(parents=True)
        for path in inputs_of(name):
            shutil.copy(path, tmp_path / place)
    first = compiled_bytes([str(tmp_path / "a")], tmp_path / "one")
    monkeypatch.chdir(tmp_path / "somewhere")
    assert first == compiled_bytes(["else"], tmp_path / "two")


def test_another_process_gives_the_same(tmp_path: Path) -> None:
    """Hash seeds differ between processes."""
    paths = [str(path) for path in inputs_of("mixed")]
    found = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        command = [sys.executable, "-m", "bpfence", "compile", *paths, "-o", str(folder), "--node", NODE]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
        found.append(read_all(folder))
    assert found[0] == found[1]
