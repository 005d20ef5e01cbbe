"""The processes of a node that take generations back at their deadline."""

from __future__ import annotations

import os
from pathlib import Path


def timers() -> list[int]:
    """Processes that wait to take a generation back in the current network namespace."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
                same = os.readlink(folder / "ns/net") == os.readlink("/proc/thread-self/ns/net")
            except OSError:
                continue
            if b"bpfence.loader.confirm_timer" in command and same:
                found.append(int(folder.name))
    return found
