"""What one run keeps for the next counts only when it is whole and nobody else could have written it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from bpfence import kept_files
from bpfence.kept_files import read_kept, write_kept


def test_a_document_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    write_kept(folder, "one", {"a": [1, "ü"]})
    assert read_kept(folder, "one") == {"a": [1, "ü"]}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "one").stat().st_mode) == 0o600


def test_nothing_is_kept_where_nothing_was_written(tmp_path: Path) -> None:
    assert read_kept(tmp_path, "one") is None


@pytest.mark.parametrize("place", [0, 30, 66, -1])
def test_a_damaged_document_is_none(tmp_path: Path, place: int) -> None:
    write_kept(tmp_path, "one", {"a": "text"})
    content = bytearray((tmp_path / "one").read_bytes())
    content[place] ^= 1
    (tmp_path / "one").write_bytes(content)
    assert read_kept(tmp_path, "one") is None


def test_a_document_that_others_can_write_to_is_none(tmp_path: Path) -> None:
    write_kept(tmp_path, "one", {"a": "text"})
    (tmp_path / "one").chmod(0o620)
    assert read_kept(tmp_path, "one") is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    write_kept(tmp_path, "one", {"a": "text"})
    (tmp_path / "two").symlink_to(tmp_path / "one")
    assert read_kept(tmp_path, "two") is None


def test_those_longest_unused_go(tmp_path: Path) -> None:
    for number in range(kept_files.MOST_FILES):
        write_kept(tmp_path, str(number), number)
        os.utime(tmp_path / str(number), (number, number))
    assert read_kept(tmp_path, "0") == 0
    write_kept(tmp_path, "new", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "2", "3", "new"]


def test_what_is_too_large_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_files, "MOST_BYTES", 2048)
    write_kept(tmp_path, "one", "x" * 1100)
    assert read_kept(tmp_path, "one") is None
    (tmp_path / "one").write_text(json.dumps("x" * 5000))
    (tmp_path / "one").chmod(0o600)
    assert read_kept(tmp_path, "one") is None
