"""Single calls that fail once: tried again where the kernel means that, and nothing is left open where it does not."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfence.errors import KernelError
from bpfence.loader import node as node_module
from bpfence.loader.bpffs import Pins, remove_pins, unmount_unused
from bpfence.loader.flow_keys import FlowEntries
from bpfence.loader.maps import create_array, create_map, open_pinned, pin, read_array
from bpfence.loader.node import Active, Node
from bpfence.loader.programs import XDP, load_programs, pin_programs
from bpfence.loader.refusals import node_refusals
from bpfence.loader.syscalls import Attributes, BpfCall, Command

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("kernel")]


def fail_once(patch: pytest.MonkeyPatch, command: Command, code: int) -> None:
    """Let the next call of a command fail."""
    kept, left = BpfCall.__call__, [command]

    def call(self: BpfCall, number: int, attributes: Attributes) -> int:
        if left and number == left[0]:
            left.pop()
            raise OSError(code, os.strerror(code))
        return kept(self, number, attributes)

    patch.setattr(BpfCall, "__call__", call)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def pinned(bpffs: Path) -> Iterator[Path]:
    path = bpffs / "fault_array"
    with create_array("fault_array", 8) as made:
        pin(made.fd, path)
    yield path
    path.unlink()


def test_a_program_is_loaded_again_when_a_signal_stopped_the_verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "int pass_all(struct xdp_md *context) { return 2; }"
    fail_once(monkeypatch, Command.PROG_LOAD, errno.EAGAIN)
    with load_programs(text, ["pass_all"], {}, kind=XDP)["pass_all"] as program:
        assert program.fd >= 0


def test_a_flow_is_removed_though_its_neighbours_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    with create_map("lru_hash", 8, 8, 64) as table:
        table.update(bytes(8), bytes(8))
        fail_once(monkeypatch, Command.MAP_DELETE_ELEM, errno.EBUSY)
        assert FlowEntries(table).remove(bytes(8))
        assert table.lookup(bytes(8)) is None


def test_a_map_that_tells_nothing_is_closed(pinned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_files()
    fail_once(monkeypatch, Command.OBJ_GET_INFO_BY_FD, errno.ENOMEM)
    with pytest.raises(KernelError), node_refusals():
        open_pinned(pinned)
    assert open_files() == before


def test_programs_are_closed_when_one_can_not_be_pinned(bpffs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "int one(struct xdp_md *context) { return 2; }\nint two(struct xdp_md *context) { return 2; }"
    before = open_files()
    programs = load_programs(text, ["one", "two"], {}, kind=XDP)
    fail_once(monkeypatch, Command.OBJ_PIN, errno.ENOMEM)
    with pytest.raises(KernelError):
        pin_programs(programs, {name: bpffs / f"fault_{name}" for name in programs})
    assert open_files() == before


def test_nothing_can_fail_between_the_store_and_the_word_that_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with create_array("active", 8) as active:
        node = Node(Pins(Path("/")), {"active": active}, {}, None, {})  # type: ignore[arg-type]
        told = []

        def mapped(*_: object) -> mmap.mmap:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

        node.set_active(Active(7, 1), lambda: told.append(node_module.mmap))
        assert told
        monkeypatch.setattr(node_module.mmap, "mmap", mapped)
        with pytest.raises(OSError, match="memory"):
            node.set_active(Active(8, 0), lambda: told.append("never"))
        monkeypatch.undo()
        assert Active.unpack(int.from_bytes(read_array(active)[:8], "little")).generation == 7
        assert "never" not in told


def test_what_says_that_the_rest_is_complete_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins, gone = Pins(tmp_path), []
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: gone.append(self.name))
    remove_pins(pins)
    assert gone[0] == "runtime"


def test_a_file_system_that_was_never_mounted_is_not_unmounted(tmp_path: Path) -> None:
    unmount_unused(str(tmp_path))
