"""Compiled programs kept on disk: found again, and not trusted when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfence.loader.objects import ObjectStore, Relocatable

pytestmark = pytest.mark.kernel

TEXT = "int answer(struct __sk_buff *skb) { return VALUE; }"


def answer(folder: Path, value: int = 7) -> tuple[Relocatable, ...]:
    return ObjectStore(folder).objects(TEXT, ("answer",), {"VALUE": value}, {})


def test_what_is_kept_is_what_was_compiled(kernel: None, tmp_path: Path) -> None:
    compiled = answer(tmp_path / "objects")
    (kept,) = (tmp_path / "objects").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "objects").stat().st_mode & 0o777 == 0o700
    before = kept.stat().st_ino
    assert answer(tmp_path / "objects") == compiled
    assert kept.stat().st_ino == before  # read, not written again
    assert answer(tmp_path / "objects", 8) != compiled


def test_a_damaged_file_is_compiled_anew(kernel: None, tmp_path: Path) -> None:
    compiled = answer(tmp_path)
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    code = compiled[0].code.hex().encode()
    assert code in whole
    for damaged in (whole.replace(code, code[:8] + b"08" + code[10:]), whole[: len(whole) // 2], b"", b"\xff\n{}"):
        assert damaged != whole
        kept.write_bytes(damaged)
        assert answer(tmp_path) == compiled
        assert kept.read_bytes() == whole
