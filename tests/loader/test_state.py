"""What a node keeps on disk."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from bpfence.errors import KernelError
from bpfence.loader.lock import LockHeld, node_lock
from bpfence.loader.node import Active
from bpfence.loader.state import KEEP_GENERATIONS, NodeState, StateFolder


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path / "state")
    with ExitStack() as undo:
        made.ensure(undo)
        undo.pop_all()
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
        folder.restore_on(undo)
        folder.write(NodeState(last_generation=2))
    assert folder.read().last_generation == 1


def test_undo_removes_a_folder_that_was_not_there(tmp_path: Path) -> None:
    with ExitStack() as undo:
        StateFolder(tmp_path / "state").ensure(undo)
    assert not (tmp_path / "state").exists()


def test_the_last_generations_are_kept_and_the_active_one(folder: StateFolder) -> None:
    for number in range(1, 12):
        folder.generation(number).mkdir()
    folder.forget_generations(active=2)
    assert folder.kept() == (2, *range(12 - KEEP_GENERATIONS + 1, 12))


def test_removal_leaves_files_of_others(folder: StateFolder) -> None:
    (folder.root / "notes").write_text("not ours")
    folder.remove()
    assert [path.name for path in folder.root.iterdir()] == ["notes"]


def test_lock_is_free_again_after_its_holder(folder: StateFolder) -> None:
    with node_lock(folder.root), pytest.raises(LockHeld), node_lock(folder.root):
        pass
    with node_lock(folder.root):
        pass


@pytest.mark.parametrize("active", [Active(0, 0), Active(1, 0), Active(7, 1), Active(1 << 40, 1)])
def test_active_word_reads_back(active: Active) -> None:
    assert Active.unpack(active.word) == active
