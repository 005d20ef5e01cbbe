"""What a node keeps on disk."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from bpfence.errors import KernelError
from bpfence.loader.lock import LockHeld, node_lock
from bpfence.loader.node import Active
from bpfence.loader.state import KEEP_GENERATIONS, GenerationRecord, NodeState, StateFolder, locked_folder


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path / "state")
    made.ensure()
    return made


def test_only_root_may_look(folder: StateFolder) -> None:
    folder.write(NodeState(last_generation=3))
    assert folder.root.stat().st_mode & 0o777 == 0o700
    assert (folder.root / "node.json").stat().st_mode & 0o777 == 0o600
    assert folder.read() == NodeState(last_generation=3)


def test_damaged_state_is_refused(folder: StateFolder) -> None:
    (folder.root / "node.json").write_text('{"last_generation": "many"}')
    with pytest.raises(KernelError, match="damaged"):
        folder.read()


def test_undo_puts_the_state_back(folder: StateFolder) -> None:
    folder.write(NodeState(last_generation=1))
    with ExitStack() as undo:
        folder.restore_on(undo, folder.read())
        folder.write(NodeState(last_generation=2))
    assert folder.read().last_generation == 1


def test_a_folder_that_keeps_nothing_goes_again(tmp_path: Path) -> None:
    made = StateFolder(tmp_path / "state")
    with pytest.raises(KernelError, match="refused"), locked_folder(made):
        raise KernelError("refused")
    assert not made.root.exists()
    with locked_folder(made):
        made.write(NodeState(last_generation=1))
    assert made.read().last_generation == 1


def test_a_folder_that_another_uses_stays(tmp_path: Path) -> None:
    """Both find no folder; the second gets the lock first. The first must not take its things away."""
    made = StateFolder(tmp_path / "state")
    made.ensure()
    with locked_folder(made):
        with pytest.raises(LockHeld), locked_folder(made):
            pass
        made.write(NodeState(last_generation=1))
    assert made.read().last_generation == 1


def test_who_waits_gets_the_lock_of_a_folder_made_anew(folder: StateFolder) -> None:
    """The holder removes the folder with the lock in it."""
    with ThreadPoolExecutor(1) as threads, ExitStack() as held:
        held.enter_context(locked_folder(folder))

        def second() -> bool:
            with locked_folder(folder, 5.0), pytest.raises(LockHeld), node_lock(folder.root):
                pass
            return True

        waiting = threads.submit(second)
        time.sleep(0.1)
        folder.remove()
        held.close()
        assert waiting.result(5)


def test_the_last_generations_are_kept_and_the_active_one(folder: StateFolder) -> None:
    for number in range(1, 12):
        folder.generation(number).mkdir()
    folder.forget_generations(active=2)
    assert folder.kept() == (2, *range(12 - KEEP_GENERATIONS + 1, 12))


def test_generations_that_were_only_refreshed_make_room(folder: StateFolder) -> None:
    for number in range(1, 10):
        folder.generation(number).mkdir()
    record = GenerationRecord(number=0, since=0.0, content="", shape="", slot=0)
    records = [record.model_copy(update={"number": n, "refreshes": n - 1 if n > 3 else 0}) for n in range(1, 10)]
    folder.forget_generations(9, records)
    assert folder.kept() == (1, 2, 9)


def test_a_generation_takes_over_the_files_of_another(folder: StateFolder) -> None:
    old, new = folder.generation(1), folder.generation(2)
    (old / "tables").mkdir(parents=True)
    (old / "tables" / "cells.bin").write_bytes(b"cells")
    assert not folder.link_generation(1, 2, "this")
    for text in ("{}", "", '{"content": "other", "format_version": "1.0"}'):
        (old / "manifest.json").write_text(text)
        assert not folder.link_generation(1, 2, "this")
        assert folder.kept() == (1,)
    (old / "manifest.json").write_text('{"content": "this", "format_version": "1.0"}')
    assert folder.link_generation(1, 2, "this")
    folder.forget(1)
    assert (new / "tables" / "cells.bin").read_bytes() == b"cells"
    assert not folder.link_generation(7, 8, "this")


def test_removal_leaves_files_of_others(folder: StateFolder) -> None:
    (folder.root / "notes").write_text("not ours")
    folder.remove()
    assert [path.name for path in folder.root.iterdir()] == ["notes"]


def test_lock_is_free_again_after_its_holder(folder: StateFolder) -> None:
    with node_lock(folder.root), pytest.raises(LockHeld), node_lock(folder.root):
        pass
    with node_lock(folder.root):
        pass


@pytest.mark.parametrize("active", [Active(0, 0), Active(1, 0), Active(7, 1, 3, 2), Active((1 << 32) - 1, 1)])
def test_active_word_reads_back(active: Active) -> None:
    assert Active.unpack(active.word) == active
