"""The demonstration: everything as expected, and nothing left behind however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from bpfence.demo.runner import compile_chapters, run_demo
from bpfence.demo.sandbox import run_isolated
from bpfence.demo.scene import demo_folder
from bpfence.errors import KernelError
from support.netns import hooks

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("kernel")]


def machine() -> tuple[object, ...]:
    """What a demonstration could leave behind on the machine; what other tests do meanwhile is not looked at."""
    return (
        hooks(),
        [line for line in Path("/proc/mounts").read_text().splitlines() if "pytest" not in line],
        sorted(name for name in os.listdir("/sys/fs/bpf") if not name.startswith(("bpfence-trial-", "bpfence-bench-"))),
        sorted(os.listdir("/sys/class/net")),
    )


def test_kernel_answers_as_expected() -> None:
    before = machine()
    report = run_isolated(partial(run_demo, compile_chapters(demo_folder())))
    assert report.differing == ()
    assert report.pods >= 6
    first, second = report.scenes
    for scene in report.scenes:
        assert {row.expected for row in scene.rows} == {True, False}
    assert [row.seen for row in second.connections] == [False, True]
    assert {row.flow for row in first.rows if row.seen} != {row.flow for row in second.rows if row.seen}
    assert all(".yaml:" in row.rule for row in first.rows if not row.expected)
    assert machine() == before


def test_difference_is_seen() -> None:
    """With the tables of the change and the evaluator of before, the rows of the change must differ."""
    before, after = compile_chapters(demo_folder())
    mixed = type(before)(before.loaded, after.artefact, before.reference)
    report = run_isolated(partial(run_demo, (mixed, after)))
    assert any("shop/cart -> data/db" in row.flow for row in report.differing)


def test_failure_of_the_child_is_told() -> None:
    def work(_: object) -> None:
        raise KernelError("no room")

    with pytest.raises(KernelError, match="no room"):
        run_isolated(work)


def test_interrupted_demo_leaves_nothing() -> None:
    before = machine()
    # a background job of a shell ignores the interrupt, and so would its children
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = [sys.executable, "-m", "bpfence", "demo"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=listening)
    time.sleep(2.0)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert machine() == before
    assert not [line for line in _children() if "bpfence demo" in line]


def test_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bpfence", "demo", "-o", "json"], capture_output=True, text=True, check=True
    )
    document = json.loads(done.stdout)
    assert document["format_version"] == "1.0"
    assert document["differing"] == 0


def _children() -> list[str]:
    """Command lines of all processes."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return lines
