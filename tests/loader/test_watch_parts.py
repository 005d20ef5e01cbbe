"""What a watch is made of: bursts, files, news of the network, the word to a service manager."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from bpfence.loader.boot_timer import timer_at
from bpfence.loader.inotify import Inotify
from bpfence.loader.net_events import _matters, packed_addresses
from bpfence.loader.node import NodePaths
from bpfence.loader.service_manager import notify
from bpfence.loader.watch import Burst, Outlet, Watch, WatchSettings
from bpfence.loader.watch_files import WRITE_PATIENCE, WatchedFiles

OURS = packed_addresses(["10.0.0.1", "fd00::1"])


def message(kind: int, address: str = "", before: bytes = b"", head: bytes = bytes(12)) -> bytes:
    body = head + before
    if address:
        packed = ip_address(address).packed
        body += struct.pack("=HH", 4 + len(packed), 1) + packed
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_a_burst_is_over_after_a_silence_or_when_it_takes_too_long() -> None:
    burst = Burst(0.01, 0.05)
    assert burst.due == float("inf")
    burst.add(1.0)
    assert burst.due == pytest.approx(1.01)
    for step in range(1, 8):
        burst.add(1.0 + step * 0.009)
    assert burst.due == pytest.approx(1.05)
    burst.clear()
    assert burst.due == float("inf")


def test_only_neighbours_of_ours_matter() -> None:
    other = struct.pack("=HH", 5, 2) + b"xyz\0"  # an attribute of five bytes, padded
    assert _matters(message(16), OURS)
    assert _matters(message(24), OURS)
    assert not _matters(message(28, "10.0.0.2"), OURS)
    assert _matters(message(28, "10.0.0.1"), OURS)
    assert _matters(message(29, "fd00::1", other), OURS)
    assert not _matters(message(28), OURS)
    learnt = struct.pack("=BxxxiHBB", socket.AF_BRIDGE, 3, 2, 2, 0)
    assert _matters(message(28, head=learnt), OURS), "a bridge has learnt where somebody is"
    assert not _matters(message(29, head=learnt), OURS)
    assert _matters(message(28, "10.0.0.2") + message(17), OURS)
    assert _matters(struct.pack("=IHHII", 3, 28, 0, 0, 0), OURS), "what can't be read matters"


@pytest.fixture
def files(tmp_path: Path) -> WatchedFiles:
    (tmp_path / "policies").mkdir()
    (tmp_path / "single.txt").write_text("")
    made = WatchedFiles([tmp_path / "policies", tmp_path / "single.txt"], Inotify())
    made.add()
    return made


def test_files_that_are_input_matter(files: WatchedFiles, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    assert not files.changed()
    (folder / "a.yaml").write_text("a")
    assert files.changed()
    (folder / "sub").mkdir()
    assert files.changed()
    files.add()
    (folder / "sub" / "b.json").write_text("b")
    assert files.changed()
    (tmp_path / "single.txt").write_text("named, so its suffix is no matter")
    assert files.changed()
    (folder / "a.yaml").unlink()
    assert files.changed()
    assert not files.changed()


def test_other_files_do_not(files: WatchedFiles, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    (folder / ".a.yaml.swp").write_text("")
    (folder / ".hidden.yaml").write_text("")
    (folder / "notes.txt").write_text("")
    (tmp_path / "beside.yaml").write_text("")
    assert not files.changed()


def test_a_mounted_volume_changes_by_its_link(files: WatchedFiles, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    for name in ("..1", "..2"):
        (folder / name).mkdir()
    (folder / "..data").symlink_to("..1")
    files.changed()
    (folder / "..fresh").symlink_to("..2")
    (folder / "..fresh").replace(folder / "..data")
    assert files.changed()


def test_nothing_is_free_while_somebody_writes(files: WatchedFiles, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    for name in ("policies/new.yaml", "single.txt"):
        path = tmp_path / name
        for mode in ("w", "w", "a", "r+"):
            files.torn = False
            with path.open(mode) as file:
                file.write("half")
                file.flush()
                files.changed()
                assert files.free_at == float("inf")
                assert files.torn
                file.write("whole")
            assert files.changed()
            assert files.free_at == 0
    # replaced, moved away or removed, whatever its writer does then
    for action in (lambda path: path.unlink(), lambda path: path.rename(tmp_path / "away"), put_in_place):
        with (folder / "b.yaml").open("w") as file:
            file.write("half")
            file.flush()
            files.changed()
            assert files.free_at == float("inf")
            action(folder / "b.yaml")
            files.changed()
            assert files.free_at == 0
    with (folder / "notes.txt").open("w") as file, (folder / ".c.yaml.swp").open("w") as other:
        for one in (file, other):
            one.write("text")
            one.flush()
        files.changed()
        assert files.free_at == 0, "that is no input"


def put_in_place(path: Path) -> None:
    fresh = path.with_name(".fresh")
    fresh.write_text("whole")
    fresh.replace(path)


def test_a_folder_that_goes_takes_its_writers_along(files: WatchedFiles, tmp_path: Path) -> None:
    (tmp_path / "policies" / "sub").mkdir()
    files.changed()
    files.add()
    with (tmp_path / "policies" / "sub" / "a.yaml").open("w") as file:
        file.write("half")
        file.flush()
        files.changed()
        assert files.free_at == float("inf")
        (tmp_path / "policies" / "sub").rename(tmp_path / "gone")
        assert files.changed()
        assert files.free_at == 0


def test_a_new_file_that_stays_empty_is_waited_for_only_so_long(files: WatchedFiles, tmp_path: Path) -> None:
    with (tmp_path / "policies" / "a.yaml").open("w"):
        assert files.changed()
        assert time.monotonic() + WRITE_PATIENCE - 1 < files.free_at <= time.monotonic() + WRITE_PATIENCE
        assert files.overdue(time.monotonic() + WRITE_PATIENCE + 1) == ()
    # a second name of a whole file is whole
    files.changed()
    (tmp_path / "whole").write_text("a: 1")
    os.link(tmp_path / "whole", tmp_path / "policies" / "b.yaml")
    assert files.changed()
    assert files.free_at == 0


def test_a_file_that_is_open_for_long_is_told_of_once(files: WatchedFiles, tmp_path: Path) -> None:
    notes: list[str] = []
    path = tmp_path / "policies" / "a.yaml"
    watch = Watch(WatchSettings(NodePaths(), ()), unwanted, Outlet(unwanted, unwanted, notes.append))
    with path.open("w") as file:
        file.write("half")
        file.flush()
        files.changed()
        watch.files.add(time.monotonic())
        for seconds in (0.0, WRITE_PATIENCE / 2, WRITE_PATIENCE + 1, WRITE_PATIENCE + 2):
            assert bool(notes) == (seconds > WRITE_PATIENCE + 1)
            watch._see_to(time.monotonic() + seconds, files)
        assert len(notes) == 1
        assert str(path) in notes[0]
        assert files.overdue_at == float("inf")
        file.write("more")
        file.flush()
        files.changed()
        assert files.overdue_at < float("inf"), "it goes on"


def unwanted(*_: object) -> Any:
    raise AssertionError("nobody asked for it")


def test_every_link_on_the_way_is_watched(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text(name)
    (tmp_path / "current").symlink_to("one")
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "folder").symlink_to("../current")
    (tmp_path / "three" / "back").symlink_to("../input")
    (tmp_path / "input" / "around").symlink_to("self")
    (tmp_path / "input" / "self").symlink_to("around")
    (tmp_path / "named.yaml").symlink_to(tmp_path / "hop")
    (tmp_path / "hop").symlink_to(tmp_path / "three" / "a.yaml")
    with Inotify() as inotify:
        files = WatchedFiles([tmp_path / "input", tmp_path / "named.yaml"], inotify)

        def seen(change: Callable[[], object]) -> bool:
            files.add()
            files.changed()
            change()
            return files.changed()

        def exchange(link: Path, target: str) -> None:
            fresh = link.with_name(".fresh")
            fresh.symlink_to(target)
            fresh.replace(link)

        assert seen(lambda: (tmp_path / "one" / "a.yaml").write_text("other"))
        assert seen(lambda: exchange(tmp_path / "current", "two"))
        assert seen(lambda: (tmp_path / "two" / "a.yaml").write_text("other"))
        assert not seen(lambda: (tmp_path / "one" / "a.yaml").write_text("nobody's any more"))
        assert seen(lambda: (tmp_path / "three" / "a.yaml").write_text("other"))
        assert seen(lambda: exchange(tmp_path / "hop", "two/a.yaml"))
        assert not seen(lambda: (tmp_path / "three" / "a.yaml").write_text("nobody's any more"))
        assert seen(lambda: exchange(tmp_path / "input" / "folder", "../three"))
        assert seen(lambda: (tmp_path / "three" / "a.yaml").write_text("other"))
        assert seen(lambda: (tmp_path / "input" / "folder").unlink())
        # a target that comes later
        assert seen(lambda: (tmp_path / "input" / "later.yaml").symlink_to("../three/later.txt"))
        assert seen(lambda: (tmp_path / "three" / "later.txt").write_text("there"))


def test_a_folder_that_is_not_there_is_not_watched(tmp_path: Path) -> None:
    with Inotify() as watched:
        assert not watched.add(tmp_path / "missing")
        assert watched.add(tmp_path)


def test_the_timer_rings_at_its_moment() -> None:
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    for moment in (now + 0.05, now - 5, 0.0):
        descriptor = timer_at(moment)
        with open(descriptor, "rb", buffering=0) as timer:
            assert len(timer.read(8)) == 8
        assert time.clock_gettime(time.CLOCK_BOOTTIME) >= moment


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("READY=1")
