"""What a watch is made of: bursts, files, news of the network, the word to a service manager."""

from __future__ import annotations

import struct
import time
from ipaddress import ip_address
from pathlib import Path

import pytest

from bpfence.loader.boot_timer import timer_at
from bpfence.loader.inotify import Inotify
from bpfence.loader.net_events import _matters, packed_addresses
from bpfence.loader.service_manager import notify
from bpfence.loader.watch import Burst
from bpfence.loader.watch_files import WatchedFiles

OURS = packed_addresses(["10.0.0.1", "fd00::1"])


def message(kind: int, address: str = "", before: bytes = b"") -> bytes:
    body = bytes(12) + before
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
