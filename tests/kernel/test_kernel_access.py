"""The layer over bpf(2): maps, loading, errors with their reasons, and nothing left open or printed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bpfence.errors import FeatureMissing, KernelError, VerifierError
from bpfence.loader import clang
from bpfence.loader.kernel import (
    CompileError,
    TestRunner,
    create_array,
    create_map,
    kernel_hz,
    load_programs,
    map_info,
    open_pinned,
    pin,
    program_info,
    read_array,
    write_array,
)

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("kernel")]

EMPTY = "int answer(struct __sk_buff *skb) { return -1; }\n"
BOUNDLESS = """
struct cells_table { char bytes[64]; };
BPF_TABLE_PINNED("array", u32, struct cells_table, cells, 1, PIN_cells);
int answer(struct __sk_buff *skb)
{
	u32 zero = 0;
	struct cells_table *table = cells.lookup(&zero);

	return table ? table->bytes[skb->len] : 0;
}
"""
FRAME = bytes(12) + b"\x08\x06" + bytes(46)


def open_descriptors() -> set[int]:
    """Without the one that reads the list."""
    found = [int(name) for name in os.listdir("/proc/self/fd")]
    return {number for number in found if os.path.lexists(f"/proc/self/fd/{number}")}


def test_an_array_is_written_and_read_by_memory_map() -> None:
    with create_array("sample", 10_000) as made:
        write_array(made, b"abc", 9_997)
        write_array(made, memoryview(b"xyz"))
        content = read_array(made)
        assert (len(content), content[:4], content[-4:]) == (10_000, b"xyz\0", b"\0abc")
        assert made.lookup(bytes(4)) == content
        with pytest.raises(ValueError, match="no room for 2"):
            write_array(made, b"ab", 9_999)


def test_a_hash_map_finds_changes_and_lists_entries() -> None:
    with create_map("hash", 4, 8, 10_000, name="sample") as made:
        entries = {n.to_bytes(4, "little"): n.to_bytes(8, "big") for n in range(9_000)}
        for key, value in entries.items():
            made.update(key, value)
        assert dict(made.iterate()) == entries
        assert made.lookup(bytes(4)) == bytes(8)
        assert made.delete(bytes(4))
        assert not made.delete(bytes(4))
        assert made.lookup(bytes(4)) is None
        with pytest.raises(ValueError, match="a key has 4 bytes"):
            made.lookup(b"")


def test_next_key_walks_a_map() -> None:
    with create_map("hash", 4, 4, 4, name="sample") as made:
        assert made.next_key(None) is None
        made.update(b"aaaa", bytes(4))
        assert made.next_key(None) == b"aaaa"
        assert made.next_key(b"aaaa") is None


def test_a_pin_outlives_its_descriptor(bpffs: Path) -> None:
    path = bpffs / "pin-sample"
    with create_array("sample", 16) as made:
        write_array(made, b"kept")
        pin(made.fd, path)
        with pytest.raises(KernelError, match="can't pin"):
            pin(made.fd, path)
        number = made.info.id
    with open_pinned(path) as again:
        assert again.info.id == number
        assert read_array(again)[:4] == b"kept"
    path.unlink()
    with pytest.raises(KernelError, match="No such file"):
        open_pinned(path)


def test_a_pin_outside_a_bpf_file_system_is_refused(tmp_path: Path) -> None:
    with create_array("sample", 16) as made, pytest.raises(KernelError, match="bpf file system"):
        pin(made.fd, tmp_path / "pin")


def test_a_map_is_told_from_a_program(kernel: None) -> None:
    with load_programs(EMPTY, ["answer"], {})["answer"] as program, pytest.raises(KernelError, match="not a map"):
        map_info(program.fd)


def test_loading_leaves_nothing_open_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    load_programs(EMPTY, ["answer"], {})["answer"].close()
    before = open_descriptors()
    program = load_programs(EMPTY + "int unused;\n#warning noise\n", ["answer"], {})["answer"]
    assert open_descriptors() - before == {program.fd}
    info = program_info(program.fd)
    assert (info.name, info.map_ids) == ("answer", ())
    assert info.machine_code > 0
    assert TestRunner(program.fd).run(FRAME) == -1
    program.close()
    assert open_descriptors() == before
    assert capfd.readouterr() == ("", "")


def test_a_rejection_tells_why(bpffs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = bpffs / "cells-sample"
    before = open_descriptors()
    with create_array("cells", 64) as cells:
        pin(cells.fd, path)
        with pytest.raises(VerifierError, match="unbounded memory access") as caught:
            load_programs(BOUNDLESS, ["answer"], {"cells": path})
    path.unlink()
    assert "processed" in caught.value.log
    assert len(str(caught.value).splitlines()) < 15
    assert open_descriptors() == before
    assert capfd.readouterr() == ("", "")


def test_a_compile_error_tells_where(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CompileError, match="undeclared identifier 'nothing'") as caught:
        load_programs("int answer(struct __sk_buff *skb) { return nothing; }\n", ["answer"], {})
    assert "1 error generated" in caught.value.log
    assert capfd.readouterr() == ("", "")


def test_a_map_that_is_not_pinned_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"no map is pinned at .*/cells"):
        load_programs(BOUNDLESS, ["answer"], {"cells": tmp_path / "cells"})


def test_an_unknown_function_is_named() -> None:
    with pytest.raises(KernelError, match="no function missing"):
        load_programs(EMPTY, ["missing"], {})


def test_bcc_brings_no_neighbours_along(kernel: None) -> None:
    assert clang.bcc_library() is clang.bcc_library()
    assert not set(clang.BCC_FOLDERS) & set(sys.path)


def test_without_bcc_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clang, "BCC_FOLDERS", ("/nonexistent",))
    monkeypatch.delitem(sys.modules, "bcc", raising=False)
    with pytest.raises(FeatureMissing, match="apt-get install python3-bpfcc"):
        clang.bcc_library()


def test_the_tick_is_a_known_one(kernel: None) -> None:
    assert kernel_hz() in (100, 250, 300, 1000)
